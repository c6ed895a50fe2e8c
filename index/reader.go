package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// Reader answers questions about one state of the volume: the present, or that of
// a sealed archive. It is a few words, holds no resources, and may be used by many
// goroutines. Each call sees one committed state of the index and never waits for
// a commit. A key that is not there is no error. Callbacks run inside the read and
// must be brief; they may read, but not call Apply or Close. Errors wrap ErrRebuild
// where the file is damaged.
type Reader struct {
	x  *Index
	at uint32
}

// Inode gives an inode's attributes and symlink target.
func (r *Reader) Inode(ino chunkfmt.Ino) (i chunkfmt.Inode, ok bool, err error) {
	err = r.get(inodes, inoKey(ino), func(payload []byte) error {
		i, err = chunkfmt.ParseInode(payload)
		ok = err == nil
		return damaged(err)
	})
	if err != nil {
		return chunkfmt.Inode{}, false, fmt.Errorf("inode %d: %w", ino, err)
	}
	return i, ok, nil
}

// Dirent gives the entry of a name in a directory.
func (r *Reader) Dirent(parent chunkfmt.Ino, name string) (d chunkfmt.Dirent, ok bool, err error) {
	err = r.get(dirents, nameKey(parent, name), func(payload []byte) error {
		d, err = chunkfmt.ParseDirent(payload)
		ok = err == nil
		return damaged(err)
	})
	if err != nil {
		return chunkfmt.Dirent{}, false, fmt.Errorf("entry %q of directory %d: %w", name, parent, err)
	}
	return d, ok, nil
}

// Xattr gives the value of an extended attribute; it is the caller's.
func (r *Reader) Xattr(ino chunkfmt.Ino, name string) (value []byte, ok bool, err error) {
	err = r.get(xattrs, nameKey(ino, name), func(payload []byte) error {
		value, ok = append([]byte{}, payload...), true
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("attribute %q of inode %d: %w", name, ino, err)
	}
	return value, ok, nil
}

// Xattrs calls f with each extended attribute of an inode, ascending by name, until
// f returns false. The value lasts until f returns.
func (r *Reader) Xattrs(ino chunkfmt.Ino, f func(name string, value []byte) bool) error {
	err := r.x.view(func(tx *bolt.Tx, s *section) error {
		type attribute struct {
			name  string
			value []byte
		}
		var all []attribute
		err := r.scan(tx, xattrs, inoKey(ino), 8, func(key, payload []byte) (bool, error) {
			all = append(all, attribute{string(key[8:]), payload})
			return true, nil
		})
		if err != nil {
			return err
		}
		// Present and past come in one order only for keys of one length.
		slices.SortFunc(all, func(a, b attribute) int { return strings.Compare(a.name, b.name) })
		for _, a := range all {
			if !call(s, func() bool { return f(a.name, a.value) }) {
				break
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("attributes of inode %d: %w", ino, err)
	}
	return nil
}

// ReadDir calls f with the entries of a directory whose cookies are greater than
// after, ascending by cookie, at most limit of them (0: no limit), until f returns
// false. "." and ".." are not among them. A cookie stays what it is while other
// entries come and go.
func (r *Reader) ReadDir(parent chunkfmt.Ino, after uint64, limit int, f func(name string, d chunkfmt.Dirent) bool) error {
	if after == math.MaxUint64 {
		return nil
	}
	err := r.x.view(func(tx *bolt.Tx, s *section) error {
		return r.scan(tx, cookies, pairKey(parent, after+1), 8, func(key, payload []byte) (bool, error) {
			name, d, err := parseCookie(key, payload)
			if err != nil {
				return false, err
			}
			limit--
			return call(s, func() bool { return f(name, d) }) && limit != 0, nil
		})
	})
	if err != nil {
		return fmt.Errorf("read directory %d: %w", parent, err)
	}
	return nil
}

// Parents calls f with each directory entry that names an inode, ascending by
// directory and name, until f returns false.
func (r *Reader) Parents(ino chunkfmt.Ino, f func(parent chunkfmt.Ino, name string) bool) error {
	err := r.x.view(func(tx *bolt.Tx, s *section) error {
		var keys [][]byte
		err := r.scan(tx, parents, inoKey(ino), 8, func(key, _ []byte) (bool, error) {
			if len(key) < 16 {
				return false, fmt.Errorf("%w: parent key %x", ErrRebuild, key)
			}
			keys = append(keys, key)
			return true, nil
		})
		if err != nil {
			return err
		}
		slices.SortFunc(keys, bytes.Compare) // see Xattrs
		for _, k := range keys {
			parent, name := chunkfmt.Ino(binary.BigEndian.Uint64(k[8:])), string(k[16:])
			if !call(s, func() bool { return f(parent, name) }) {
				break
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("parents of inode %d: %w", ino, err)
	}
	return nil
}

// IsEmptyDir says whether a directory has no entries; what is no directory has none.
func (r *Reader) IsEmptyDir(ino chunkfmt.Ino) (bool, error) {
	empty := true
	err := r.ReadDir(ino, 0, 1, func(string, chunkfmt.Dirent) bool {
		empty = false
		return false
	})
	return empty, err
}

// Extents calls f with the data of a file within [off, off+n), in bytes, clipped to
// it, ascending, until f returns false. What it leaves out are holes.
func (r *Reader) Extents(ino chunkfmt.Ino, off, n uint64, f func(chunkfmt.Extent) bool) error {
	if n == 0 || off >= endOfFile {
		return nil
	}
	end := off + min(n, endOfFile-off)
	err := r.x.view(func(tx *bolt.Tx, s *section) error {
		start := r.firstPart(tx, ino, off)
		return r.scan(tx, extents, start, 8, func(key, payload []byte) (bool, error) {
			at := binary.BigEndian.Uint64(key[8:])
			if at >= end {
				return false, nil
			}
			part, err := parsePacked(segmentOf(at), payload)
			if err != nil {
				return false, err
			}
			for i := part.find(off); i < part.len(); i++ {
				e := part.at(i)
				if e.start >= end {
					break
				}
				e = e.clip(max(e.start, off), end)
				x := chunkfmt.Extent{Offset: e.start, Length: e.end - e.start, Group: e.group, GroupOffset: e.offset}
				if !call(s, func() bool { return f(x) }) {
					return false, nil
				}
			}
			return true, nil
		})
	})
	if err != nil {
		return fmt.Errorf("extents of inode %d at %d: %w", ino, off, err)
	}
	return nil
}

// firstPart gives the key to begin at to find the data from off on. Of the past it
// is not known which parts were there, so that begins with the segment.
func (r *Reader) firstPart(tx *bolt.Tx, ino chunkfmt.Ino, off uint64) []byte {
	first := pairKey(ino, segmentOf(off))
	if r.at != Present {
		return first
	}
	c := tx.Bucket(extents.now).Cursor()
	want := pairKey(ino, off)
	k, _ := c.Seek(want)
	if bytes.Equal(k, want) {
		return want
	}
	if k == nil {
		k, _ = c.Last()
	} else {
		k, _ = c.Prev()
	}
	if bytes.Compare(k, first) > 0 {
		return bytes.Clone(k)
	}
	return first
}

// call runs the caller's code.
func call(s *section, f func() bool) bool {
	s.calling = true
	more := f()
	s.calling = false
	return more
}

// damaged marks an error over a stored value.
func damaged(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrRebuild, err)
}
