package index

import (
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// Place is where a group is.
type Place struct {
	Seq chunkfmt.Seq
	At  chunkfmt.Location
}

// Relocate notes where groups were moved to, in one commit for each few thousand of them. What is
// not known is passed over. Nothing hangs on it but the time that it takes to find them.
func (x *Index) Relocate(places []Place) error {
	const step = 5000
	for len(places) > 0 {
		some := places[:min(len(places), step)]
		places = places[len(some):]
		err := x.commit(func(tx *bolt.Tx, _ *state) error {
			b := tx.Bucket(groups.now)
			for _, p := range some {
				if err := relocate(b, p); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("note where groups were moved to: %w", err)
		}
	}
	return nil
}

func relocate(b *bolt.Bucket, p Place) error {
	key := chunkfmt.GroupKey(p.Seq)
	v := b.Get(key)
	if v == nil {
		return nil
	}
	_, payload, err := unseal(key, v)
	if err != nil {
		return err
	}
	if len(payload) < locationSize {
		return fmt.Errorf("%w: group %v is too short", ErrRebuild, p.Seq)
	}
	moved := slices.Clone(v)
	putLocation(moved[valueHead:], p.At)
	finish(key, moved, binary.BigEndian.Uint32(v[4:]))
	return b.Put(key, moved)
}
