package index

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// fillAscending is how full pages are left in buckets whose new keys come in
// ascending order: they will see few insertions. Those of the past of names come after each name.
const fillAscending = 0.95

// bucket opens a bucket for writing.
func (a *applier) bucket(name []byte) *bolt.Bucket {
	b := a.tx.Bucket(name)
	if b == nil {
		panic("bucket missing: " + string(name)) // checked at open; becomes ErrRebuild
	}
	if !bytes.Equal(name, dirents.past) && !bytes.Equal(name, cookies.past) {
		b.FillPercent = fillAscending
	}
	return b
}

// value makes a value of the payload's parts, in memory that lasts until the commit.
func (a *applier) value(key []byte, since uint32, head, tail []byte) []byte {
	v := a.arena.take(valueHead + len(head) + len(tail))
	copy(v[valueHead+copy(v[valueHead:], head):], tail)
	finish(key, v, since)
	return v
}

// fold sorts the operations and leaves the last one of each key.
func fold(ops []op) []op {
	slices.SortFunc(ops, func(a, b op) int {
		if c := compareKeys(a.key, b.key); c != 0 {
			return c
		}
		return cmp.Compare(b.n, a.n)
	})
	return slices.CompactFunc(ops, func(a, b op) bool { return bytes.Equal(a.key, b.key) })
}

// compareKeys is bytes.Compare for keys that mostly differ in the number that they begin
// with. Sorting is a good part of what a rebuild does.
func compareKeys(a, b []byte) int {
	if len(a) >= 8 && len(b) >= 8 {
		if x, y := binary.BigEndian.Uint64(a), binary.BigEndian.Uint64(b); x != y {
			return cmp.Compare(x, y)
		}
	}
	return bytes.Compare(a, b)
}

// flush writes the changes of one archive.
func (a *applier) flush() error {
	if len(a.inodes)+len(a.dirents)+len(a.xattrs)+len(a.deltas) > 0 {
		a.st.changed = true
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"inodes", a.flushInodes},
		{"directory entries", a.flushDirents},
		{"attributes", a.flushXattrs},
		{"extents", a.flushExtents},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	a.st.maxIno = max(a.st.maxIno, a.seen)
	a.known = a.st.maxIno
	return nil
}

// finish writes what is left, and what has no history.
func (a *applier) finish(locate Locate) error {
	if err := a.flush(); err != nil {
		return err
	}
	if err := a.flushGroups(locate); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	if err := a.flushBad(); err != nil {
		return fmt.Errorf("damaged groups: %w", err)
	}
	if err := a.flushArchives(); err != nil {
		return fmt.Errorf("archives: %w", err)
	}
	if err := a.flushRemoved(); err != nil {
		return fmt.Errorf("removed groups: %w", err)
	}
	for _, f := range []struct {
		t   table
		ops []op
	}{{orphans, a.orphans}, {records, a.records}} {
		if len(f.ops) == 0 {
			continue
		}
		b := a.bucket(f.t.now)
		for _, o := range fold(f.ops) {
			if err := a.write(b, &o, 0); err != nil {
				return fmt.Errorf("%s: %w", f.t.now, err)
			}
		}
	}
	return nil
}

// write does one operation.
func (a *applier) write(b *bolt.Bucket, o *op, since uint32) error {
	if o.del {
		return b.Delete(o.key)
	}
	return b.Put(o.key, a.value(o.key, since, o.val, nil))
}

// supersede puts a version into the history if it dates from an earlier archive.
func (a *applier) supersede(past *bolt.Bucket, key []byte, since uint32, payload []byte) error {
	if since >= a.st.archive {
		return nil
	}
	a.key = a.historyKey(a.key[:0], key, since)
	return past.Put(a.key, a.value(a.key, since, payload, nil))
}

func (a *applier) historyKey(dst, key []byte, since uint32) []byte {
	dst = append(dst, key...)
	dst = binary.BigEndian.AppendUint32(dst, since)
	return binary.BigEndian.AppendUint32(dst, a.st.archive)
}

// current gives the version that a key has now; payload is nil if it has none.
func (a *applier) current(b *bolt.Bucket, key []byte) (since uint32, payload []byte, err error) {
	if chunkfmt.Ino(binary.BigEndian.Uint64(key)) > a.known {
		return 0, nil, nil
	}
	v := b.Get(key)
	if v == nil {
		return 0, nil, nil
	}
	return unseal(key, v)
}

func (a *applier) flushInodes() error {
	if len(a.inodes) == 0 {
		return nil
	}
	now, past := a.bucket(inodes.now), a.bucket(inodes.past)
	for _, o := range fold(a.inodes) {
		since, old, err := a.current(now, o.key)
		if err != nil {
			return err
		}
		if old != nil {
			if err := a.count(old, false); err != nil {
				return err
			}
			if err := a.supersede(past, o.key, since, old); err != nil {
				return err
			}
		}
		if !o.del {
			if err := a.count(o.val, true); err != nil {
				return fmt.Errorf("inode %x: %w", o.key, err)
			}
		} else if old == nil {
			continue
		}
		if err := a.write(now, &o, a.st.archive); err != nil {
			return err
		}
	}
	a.inodes = a.inodes[:0]
	return nil
}

// count adds an inode to the volume's numbers or takes it out.
func (a *applier) count(payload []byte, in bool) error {
	i, err := chunkfmt.ParseInode(payload)
	if err != nil {
		return err
	}
	var size uint64
	if isRegular(i.Mode) {
		size = i.Size
	}
	if in {
		a.st.inodes++
		a.st.bytes += size
	} else {
		a.st.inodes--
		a.st.bytes -= size
	}
	return nil
}

// flushXattrs also takes out the attributes of deleted inodes.
func (a *applier) flushXattrs() error {
	if len(a.xattrs) == 0 && len(a.wipes) == 0 {
		return nil
	}
	now, past := a.bucket(xattrs.now), a.bucket(xattrs.past)
	for _, w := range a.wipes {
		if w.ino > a.known {
			continue
		}
		prefix := inoKey(w.ino)
		c := now.Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			a.xattrs = append(a.xattrs, op{key: bytes.Clone(k), n: w.n, del: true})
		}
	}
	wiped := make(map[chunkfmt.Ino]int, len(a.wipes))
	for _, w := range a.wipes {
		wiped[w.ino] = w.n // the last wins
	}
	for _, o := range fold(a.xattrs) {
		if n, ok := wiped[chunkfmt.Ino(binary.BigEndian.Uint64(o.key))]; ok && o.n < n {
			o.del = true
		}
		since, old, err := a.current(now, o.key)
		if err != nil {
			return err
		}
		if old != nil {
			if err := a.supersede(past, o.key, since, old); err != nil {
				return err
			}
		} else if o.del {
			continue
		}
		if err := a.write(now, &o, a.st.archive); err != nil {
			return err
		}
	}
	a.xattrs, a.wipes = a.xattrs[:0], a.wipes[:0]
	return nil
}

// flushGroups writes group records behind the hint where the group is.
func (a *applier) flushGroups(locate Locate) error {
	if len(a.groups) == 0 {
		return nil
	}
	b := a.bucket(groups.now)
	var hint [locationSize]byte
	for _, o := range fold(a.groups) {
		if o.del {
			if err := b.Delete(o.key); err != nil {
				return err
			}
			continue
		}
		seq := chunkfmt.Seq(binary.BigEndian.Uint64(o.key))
		if _, err := chunkfmt.ParseGroup(seq, o.val); err != nil {
			return err
		}
		var at chunkfmt.Location
		if locate != nil {
			at, _ = locate(seq)
		}
		putLocation(hint[:], at)
		if err := b.Put(o.key, a.value(o.key, 0, hint[:], o.val)); err != nil {
			return err
		}
	}
	return nil
}
