package index

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// Use says that a file had data in part of a group in the archives From ≤ T < To; To is
// Present if it has it now.
type Use struct {
	Ino            chunkfmt.Ino
	Group          chunkfmt.Seq
	Offset, Length uint32 // of the part, bytes of the group's plaintext
	From, To       uint32
}

// Uses calls f with the uses of the groups that of selects, until f returns false: first
// those of the present, by file, then those of the past. One use may come in several
// pieces. It reads all extents of all times.
func (x *Index) Uses(of func(chunkfmt.Seq) bool, f func(Use) bool) error {
	err := x.view(func(tx *bolt.Tx, s *section) error {
		more := true
		for _, bucket := range [][]byte{extents.now, extents.past} {
			c := tx.Bucket(bucket).Cursor()
			for k, v := c.First(); k != nil && more; k, v = c.Next() {
				since, payload, err := unseal(k, v)
				if err != nil {
					return err
				}
				u := Use{From: since, To: Present}
				key := k
				if len(k) == 16+historySuffix {
					u.From, u.To = interval(k)
					key = k[:16]
				}
				if len(key) != 16 {
					return fmt.Errorf("%w: extent key %x", ErrRebuild, k)
				}
				u.Ino = chunkfmt.Ino(binary.BigEndian.Uint64(key))
				if more, err = usesOf(key, payload, u, of, s, f); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("uses of groups: %w", err)
	}
	return nil
}

// usesOf tells the uses of one part.
func usesOf(key, payload []byte, u Use, of func(chunkfmt.Seq) bool, s *section, f func(Use) bool) (bool, error) {
	part, err := parsePacked(segmentOf(binary.BigEndian.Uint64(key[8:])), payload)
	if err != nil {
		return false, err
	}
	for i := range part.len() {
		e := part.at(i)
		if !call(s, func() bool { return of(e.group) }) {
			continue
		}
		u.Group, u.Offset, u.Length = e.group, e.offset, uint32(e.end-e.start)
		if !call(s, func() bool { return f(u) }) {
			return false, nil
		}
	}
	return true, nil
}
