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

// The removed bucket holds ranges of numbers whose groups were removed or moved, its values the
// last number of each. Ranges between which there is no group are one, so that there are never
// more of them than groups, however much was removed.

// movedRange is the range of a moved record, and which operation that is.
type movedRange struct {
	chunkfmt.Removed
	n int
}

func removedOf(o op) (chunkfmt.Removed, error) {
	if o.del {
		return chunkfmt.Removed{}, fmt.Errorf("what was removed does not come back: %w", chunkfmt.ErrDamaged)
	}
	first, err := chunkfmt.ParseGroupKey(o.key)
	if err != nil {
		return chunkfmt.Removed{}, err
	}
	return chunkfmt.ParseRemoved(first, o.val)
}

// flushRemoved deletes the records of removed groups, and notes their numbers and those of moved
// ones. The groups of the same batches were written before.
func (a *applier) flushRemoved() error {
	if len(a.removed)+len(a.moved) == 0 {
		return nil
	}
	a.st.unclean = true
	for _, t := range []table{groups, bad, healed} {
		if err := a.deleteNumbers(t); err != nil {
			return err
		}
	}
	b := a.bucket(removed.now)
	// All is looked up before anything is deleted: see merger.next.
	ranges := slices.Clone(a.removed)
	for _, r := range a.moved {
		ranges = append(ranges, r.Removed)
	}
	ranges = a.joined(ranges)
	var old [][]byte
	for i := range ranges {
		keys, err := widen(b, &ranges[i], a.apart)
		if err != nil {
			return err
		}
		old = append(old, keys...)
	}
	ranges = a.joined(ranges)
	for _, k := range old {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	for _, r := range ranges {
		key := chunkfmt.RemovedKey(r.First)
		if err := b.Put(key, a.value(key, 0, r.Append(nil), nil)); err != nil {
			return err
		}
	}
	a.removed, a.moved = a.removed[:0], a.moved[:0]
	return nil
}

// goneBefore says whether the log has removed or moved a group before operation n.
func (a *applier) goneBefore(seq chunkfmt.Seq, n int) (bool, error) {
	for _, r := range a.moved {
		if r.n < n && r.First <= seq && seq <= r.Last {
			return true, nil
		}
	}
	c := a.bucket(removed.now).Cursor()
	k, _ := c.Seek(chunkfmt.RemovedKey(seq + 1))
	var v []byte
	if k == nil {
		k, v = c.Last()
	} else {
		k, v = c.Prev()
	}
	if k == nil {
		return false, nil
	}
	r, err := parseRemoved(k, v)
	return seq <= r.Last, err
}

// deleteNumbers deletes what belongs to removed groups from a bucket whose keys begin with their numbers.
func (a *applier) deleteNumbers(t table) error {
	b := a.bucket(t.now)
	var keys [][]byte
	for _, r := range a.removed {
		c := b.Cursor()
		last := chunkfmt.GroupKey(r.Last)
		for k, _ := c.Seek(chunkfmt.GroupKey(r.First)); k != nil && bytes.Compare(k[:8], last) <= 0; k, _ = c.Next() {
			keys = append(keys, bytes.Clone(k))
		}
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// apart says whether a group lies between the ends of two ranges, which must be of one session.
func (a *applier) apart(last, first chunkfmt.Seq) bool {
	if last.Ordinal() != first.Ordinal() {
		return true
	}
	k, _ := a.bucket(groups.now).Cursor().Seek(chunkfmt.GroupKey(last + 1))
	return k != nil && bytes.Compare(k, chunkfmt.GroupKey(first)) < 0
}

// joined sorts ranges and makes those one between which there is no group.
func (a *applier) joined(ranges []chunkfmt.Removed) []chunkfmt.Removed {
	slices.SortFunc(ranges, func(a, b chunkfmt.Removed) int { return cmp.Compare(a.First, b.First) })
	var all []chunkfmt.Removed
	for _, r := range ranges {
		if n := len(all); n > 0 && (r.First <= all[n-1].Last || !a.apart(all[n-1].Last, r.First)) {
			all[n-1].Last = max(all[n-1].Last, r.Last)
			continue
		}
		all = append(all, r)
	}
	return all
}

// widen takes into r the ranges of the bucket from which no group keeps it apart, and gives
// their keys.
func widen(b *bolt.Bucket, r *chunkfmt.Removed, apart func(last, first chunkfmt.Seq) bool) (old [][]byte, err error) {
	c := b.Cursor()
	k, v := c.Seek(chunkfmt.RemovedKey(r.First))
	for ; k != nil; k, v = c.Next() {
		next, err := parseRemoved(k, v)
		if err != nil {
			return nil, err
		}
		if next.First > r.Last && apart(r.Last, next.First) {
			break
		}
		r.Last = max(r.Last, next.Last)
		old = append(old, bytes.Clone(k))
	}
	back := c.Prev
	if k, _ := c.Seek(chunkfmt.RemovedKey(r.First)); k == nil {
		back = c.Last
	}
	for k, v := back(); k != nil; k, v = c.Prev() {
		before, err := parseRemoved(k, v)
		if err != nil {
			return nil, err
		}
		if before.Last < r.First && apart(before.Last, r.First) {
			break
		}
		r.First, r.Last = before.First, max(r.Last, before.Last)
		old = append(old, bytes.Clone(k))
	}
	return old, nil
}

func parseRemoved(key, value []byte) (chunkfmt.Removed, error) {
	_, payload, err := unseal(key, value)
	if err != nil {
		return chunkfmt.Removed{}, err
	}
	if len(key) != 8 {
		return chunkfmt.Removed{}, fmt.Errorf("%w: key %x of removed groups", ErrRebuild, key)
	}
	r, err := chunkfmt.ParseRemoved(chunkfmt.Seq(binary.BigEndian.Uint64(key)), payload)
	return r, damaged(err)
}

// Removed calls f with the ranges of removed and moved groups that reach into [first, last],
// ascending, until f returns false: the media need not have them. Other numbers than those of
// groups may lie in a range.
func (x *Index) Removed(first, last chunkfmt.Seq, f func(chunkfmt.Removed) bool) error {
	err := x.view(func(tx *bolt.Tx, s *section) error {
		c := tx.Bucket(removed.now).Cursor()
		k, v := c.Seek(chunkfmt.RemovedKey(first))
		if k == nil {
			k, v = c.Last()
		} else if binary.BigEndian.Uint64(k) > uint64(first) {
			k, v = c.Prev()
		}
		if k == nil { // none begins before first
			k, v = c.Seek(chunkfmt.RemovedKey(first))
		}
		for ; k != nil; k, v = c.Next() {
			r, err := parseRemoved(k, v)
			if err != nil {
				return err
			}
			if r.First > last {
				return nil
			}
			if r.Last >= first && !call(s, func() bool { return f(r) }) {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("removed groups: %w", err)
	}
	return nil
}

// Gone says whether a group was removed or moved, so that nobody may refer to it anew.
func (x *Index) Gone(seq chunkfmt.Seq) (gone bool, err error) {
	err = x.Removed(seq, seq, func(chunkfmt.Removed) bool {
		gone = true
		return false
	})
	return gone, err
}

// goneIn gives a function that says of ascending numbers whether a group was removed or moved.
func goneIn(tx *bolt.Tx) func(chunkfmt.Seq) (bool, error) {
	c := tx.Bucket(removed.now).Cursor()
	k, v := c.First()
	var last chunkfmt.Removed
	return func(seq chunkfmt.Seq) (_ bool, err error) {
		for k != nil && last.Last < seq {
			if last, err = parseRemoved(k, v); err != nil {
				return false, err
			}
			k, v = c.Next()
		}
		return last.First <= seq && seq <= last.Last, nil
	}
}

// Known calls f with every group from first on that may be referred to anew, and where it was last known to be,
// ascending, until f returns false: all of which the media have to have.
func (x *Index) Known(first chunkfmt.Seq, f func(chunkfmt.GroupRecord, chunkfmt.Location) bool) error {
	err := x.view(func(tx *bolt.Tx, s *section) error {
		gone := goneIn(tx)
		c := tx.Bucket(groups.now).Cursor()
		for k, v := c.Seek(chunkfmt.GroupKey(first)); k != nil; k, v = c.Next() {
			seq, err := chunkfmt.ParseGroupKey(k)
			if err != nil {
				return damaged(err)
			}
			_, payload, err := unseal(k, v)
			if err != nil {
				return err
			}
			moved, err := gone(seq)
			if err != nil {
				return err
			}
			if moved {
				continue
			}
			g, at, err := parseGroup(seq, payload)
			if err != nil {
				return err
			}
			if !call(s, func() bool { return f(g, at) }) {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	return nil
}

// Unclean says whether groups were removed since Cleaned was last called: the media may still
// have them.
func (x *Index) Unclean() bool { return x.state.Load().unclean }

// Cleaned notes that the media have nothing more of the groups that were removed when the
// index stood at head, or as little as will be.
func (x *Index) Cleaned(head Head) error {
	err := x.commit(func(_ *bolt.Tx, st *state) error {
		if st.head == head {
			st.unclean = false
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note that the media are clean: %w", err)
	}
	return nil
}
