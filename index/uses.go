package index

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// Use says that a file had data in a group in the archives From ≤ T < To; To is Present
// if it has it now.
type Use struct {
	Ino      chunkfmt.Ino
	Group    chunkfmt.Seq
	From, To uint32
}

// Uses calls f with the uses of the groups that of selects, by file only within the
// present and within the past, until f returns false. One use of a file may come in
// several pieces. It reads all extents of all times.
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
	last := chunkfmt.Seq(0)
	for i := range part.len() {
		g := part.at(i).group
		if g == last || !call(s, func() bool { return of(g) }) {
			continue
		}
		last, u.Group = g, g
		if !call(s, func() bool { return f(u) }) {
			return false, nil
		}
	}
	return true, nil
}
