package index

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// Orphans gives the inodes that were unlinked while open and not yet deleted,
// ascending.
func (x *Index) Orphans() ([]chunkfmt.Ino, error) {
	var all []chunkfmt.Ino
	err := x.each(orphans, func(key, _ []byte, _ *section) (bool, error) {
		all = append(all, chunkfmt.Ino(binary.BigEndian.Uint64(key)))
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("orphans: %w", err)
	}
	return all, nil
}

// Group gives what a group contains, and a hint where it is: the zero Location if
// that was not known. The tag at the place must be checked, for groups move.
func (x *Index) Group(seq chunkfmt.Seq) (g chunkfmt.GroupRecord, at chunkfmt.Location, ok bool, err error) {
	err = x.get(groups, chunkfmt.GroupKey(seq), func(payload []byte) error {
		g, at, err = parseGroup(seq, payload)
		ok = err == nil
		return err
	})
	if err != nil {
		return chunkfmt.GroupRecord{}, chunkfmt.Location{}, false, fmt.Errorf("group %v: %w", seq, err)
	}
	return g, at, ok, nil
}

// Groups calls f with every group, ascending, until f returns false.
func (x *Index) Groups(f func(chunkfmt.GroupRecord, chunkfmt.Location) bool) error {
	err := x.each(groups, func(key, payload []byte, s *section) (bool, error) {
		seq, err := chunkfmt.ParseGroupKey(key)
		if err != nil {
			return false, damaged(err)
		}
		g, at, err := parseGroup(seq, payload)
		if err != nil {
			return false, err
		}
		return call(s, func() bool { return f(g, at) }), nil
	})
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	return nil
}

func parseGroup(seq chunkfmt.Seq, payload []byte) (chunkfmt.GroupRecord, chunkfmt.Location, error) {
	if len(payload) < locationSize {
		return chunkfmt.GroupRecord{}, chunkfmt.Location{}, fmt.Errorf("%w: group %v is too short", ErrRebuild, seq)
	}
	g, err := chunkfmt.ParseGroup(seq, payload[locationSize:])
	return g, parseLocation(payload), damaged(err)
}

// Bad says whether a group is known to be damaged and not to be referred to again,
// and why.
func (x *Index) Bad(seq chunkfmt.Seq) (why string, is bool, err error) {
	err = x.get(bad, chunkfmt.BadKey(seq), func(payload []byte) error {
		why, is = string(payload), true
		return nil
	})
	if err != nil {
		return "", false, fmt.Errorf("bad group %v: %w", seq, err)
	}
	return why, is, nil
}

// BadGroups calls f with every group known to be damaged, ascending, until f returns
// false.
func (x *Index) BadGroups(f func(seq chunkfmt.Seq, why string) bool) error {
	err := x.each(bad, func(key, payload []byte, s *section) (bool, error) {
		seq, err := chunkfmt.ParseGroupKey(key)
		if err != nil {
			return false, damaged(err)
		}
		return call(s, func() bool { return f(seq, string(payload)) }), nil
	})
	if err != nil {
		return fmt.Errorf("bad groups: %w", err)
	}
	return nil
}

// Meta gives the value of one of the log's meta records; it is the caller's.
func (x *Index) Meta(name string) (value []byte, ok bool, err error) {
	err = x.get(records, chunkfmt.MetaKey(name), func(payload []byte) error {
		value, ok = append([]byte{}, payload...), true
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("meta record %q: %w", name, err)
	}
	return value, ok, nil
}

// each calls f with all keys of a current bucket.
func (x *Index) each(t table, f func(key, payload []byte, s *section) (bool, error)) error {
	return x.from(t, nil, f)
}

// from calls f with all keys of a current bucket from start on.
func (x *Index) from(t table, start []byte, f func(key, payload []byte, s *section) (bool, error)) error {
	return x.view(func(tx *bolt.Tx, s *section) error {
		c := tx.Bucket(t.now).Cursor()
		for k, v := c.Seek(start); k != nil; k, v = c.Next() {
			_, payload, err := unseal(k, v)
			if err != nil {
				return err
			}
			if more, err := f(k, payload, s); err != nil || !more {
				return err
			}
		}
		return nil
	})
}
