package index

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

func (a *applier) addHealed(o op) error {
	_, offset, err := chunkfmt.ParseHealedKey(o.key)
	if err == nil && !o.del {
		_, err = chunkfmt.ParseHealed(offset, o.val)
	}
	if err != nil {
		return err
	}
	a.healed = append(a.healed, o)
	return nil
}

// flushBad writes which groups are damaged, and from where their blocks are healed: the one goes with
// the group, the other with the damage.
func (a *applier) flushBad() error {
	whole := len(a.bad) // behind these are groups that are gone
	for _, o := range a.groups {
		if o.del {
			a.bad = append(a.bad, o)
		}
	}
	if len(a.bad) == 0 && len(a.healed) == 0 {
		return nil
	}
	gone := map[string]int{} // when it was last said of a group that it is not damaged
	b, h := a.bucket(bad.now), a.bucket(healed.now)
	for i, o := range a.bad {
		if !o.del {
			continue
		}
		if i >= whole {
			gone[string(o.key)] = max(gone[string(o.key)], o.n)
			continue
		}
		seq, err := chunkfmt.ParseGroupKey(o.key)
		if err != nil {
			return err
		}
		// One that was moved is read from others, whatever becomes of what is left of it.
		moved, err := a.goneBefore(seq, o.n)
		if err != nil {
			return err
		}
		if !moved {
			gone[string(o.key)] = max(gone[string(o.key)], o.n)
		}
	}
	for _, o := range fold(a.bad) {
		if err := a.write(b, &o, 0); err != nil {
			return err
		}
	}
	for key := range gone {
		if err := wipePrefix(h, []byte(key)); err != nil {
			return err
		}
	}
	for _, o := range fold(a.healed) {
		if o.n < gone[string(o.key[:8])] {
			continue
		}
		if err := a.write(h, &o, 0); err != nil {
			return err
		}
	}
	return nil
}

// wipePrefix deletes the keys with a prefix.
func wipePrefix(b *bolt.Bucket, prefix []byte) error {
	var keys [][]byte // a cursor is not to be used while its bucket loses keys
	c := b.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && k != nil; k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Healed gives the blocks of a damaged group that are to be read from other groups,
// ascending by their offset in it. As long as no group is healed it costs nothing.
func (x *Index) Healed(seq chunkfmt.Seq) (blocks []chunkfmt.Healed, err error) {
	if !x.heals.Load() {
		return nil, nil
	}
	prefix := chunkfmt.BadKey(seq)
	err = x.from(healed, prefix, func(key, payload []byte, _ *section) (bool, error) {
		if !bytes.HasPrefix(key, prefix) {
			return false, nil
		}
		_, block, err := parseHealed(key, payload)
		blocks = append(blocks, block)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("where group %v is healed from: %w", seq, err)
	}
	return blocks, nil
}

// HealedBlocks calls f with every block of a damaged group that is to be read from another
// group, ascending by the damaged group and the offset in it, until f returns false.
func (x *Index) HealedBlocks(f func(damaged chunkfmt.Seq, block chunkfmt.Healed) bool) error {
	if !x.heals.Load() {
		return nil
	}
	err := x.each(healed, func(key, payload []byte, s *section) (bool, error) {
		seq, block, err := parseHealed(key, payload)
		if err != nil {
			return false, err
		}
		return call(s, func() bool { return f(seq, block) }), nil
	})
	if err != nil {
		return fmt.Errorf("healed groups: %w", err)
	}
	return nil
}

// Needs calls f, once each, with the groups that reading the group takes beside it: those
// that its blocks are healed from, and those that these are healed from. Whoever keeps a
// group keeps these. It ends when f returns false.
func (x *Index) Needs(seq chunkfmt.Seq, f func(chunkfmt.Seq) bool) error {
	seen := map[chunkfmt.Seq]bool{seq: true}
	for todo := []chunkfmt.Seq{seq}; len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		blocks, err := x.Healed(next)
		if err != nil {
			return err
		}
		for _, b := range blocks {
			if seen[b.Group] {
				continue
			}
			seen[b.Group] = true
			todo = append(todo, b.Group)
			if !f(b.Group) {
				return nil
			}
		}
	}
	return nil
}

func parseHealed(key, payload []byte) (chunkfmt.Seq, chunkfmt.Healed, error) {
	seq, offset, err := chunkfmt.ParseHealedKey(key)
	if err != nil {
		return 0, chunkfmt.Healed{}, damaged(err)
	}
	block, err := chunkfmt.ParseHealed(offset, payload)
	return seq, block, damaged(err)
}
