package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// garbageWords bounds what is looked for at a time, in words of 64 numbers: 16 TiB of large
// groups, in 16 MiB of memory. Tests lower it.
var garbageWords = 1 << 20

const (
	// garbageGap is how many words without a group are cheaper than a stretch of its own.
	garbageGap = 64
	lookEvery  = 1 << 16 // keys between two looks at the context
)

// Garbage is a set of groups to which nothing referred at one state of the index. It never
// changes, and may be used concurrently.
type Garbage struct {
	stretches []stretch // ascending
	groups    int
	after     chunkfmt.Seq // where to go on; 0: nowhere
}

// stretch is a stretch of numbers of one session.
type stretch struct {
	first chunkfmt.Seq // a multiple of 64
	known []uint64     // a bit for each number: a group was looked at
	live  []uint64     // something refers to it
}

// Garbage finds groups with numbers above after that neither the tree refers to, unlinked
// files that are open included, nor an archive. Those in without count as forgotten. It looks
// at a bounded number of groups: see Garbage.After. It reads every extent of the index, in one
// read of one state.
func (x *Index) Garbage(ctx context.Context, after chunkfmt.Seq, without ...uint32) (*Garbage, error) {
	g := &Garbage{}
	err := x.view(func(tx *bolt.Tx, _ *section) error {
		if err := g.look(ctx, tx, after); err != nil {
			return err
		}
		return g.mark(ctx, tx, without)
	})
	if err != nil {
		return nil, fmt.Errorf("look for groups that nothing refers to: %w", err)
	}
	return g, nil
}

// Still finds those of the groups in g to which nothing refers now either.
func (x *Index) Still(ctx context.Context, g *Garbage) (*Garbage, error) {
	now := &Garbage{after: g.after}
	for _, s := range g.stretches {
		// Those that were live stay what keeps ranges apart.
		s.live = slices.Clone(s.live)
		now.stretches = append(now.stretches, s)
	}
	err := x.view(func(tx *bolt.Tx, _ *section) error { return now.mark(ctx, tx, nil) })
	if err != nil {
		return nil, fmt.Errorf("look again for groups that nothing refers to: %w", err)
	}
	return now, nil
}

// look finds the groups to look at.
func (g *Garbage) look(ctx context.Context, tx *bolt.Tx, after chunkfmt.Seq) error {
	var s *stretch
	words := 0
	more, err := eachGroup(ctx, tx, after, func(seq chunkfmt.Seq, _, _ []byte) (bool, error) {
		if s == nil || uint64(seq-s.first)/64 >= uint64(len(s.known)+garbageGap) {
			if words >= garbageWords {
				return false, nil
			}
			g.stretches = append(g.stretches, stretch{first: seq &^ 63})
			s = &g.stretches[len(g.stretches)-1]
		}
		at := int(seq-s.first) / 64
		if more := at + 1 - len(s.known); more > 0 {
			if words += more; words > garbageWords && at > 0 {
				return false, nil
			}
			s.known = append(s.known, make([]uint64, more)...)
			s.live = append(s.live, make([]uint64, more)...)
		}
		s.known[at] |= 1 << (seq % 64)
		g.after = seq
		return true, nil
	})
	if !more {
		g.after = 0
	}
	return err
}

// eachGroup calls f with the groups with numbers above after, ascending, their keys and what stands there, until f returns
// false: then there are more.
func eachGroup(
	ctx context.Context, tx *bolt.Tx, after chunkfmt.Seq, f func(seq chunkfmt.Seq, key, payload []byte) (bool, error),
) (more bool, err error) {
	keys := 0
	c := tx.Bucket(groups.now).Cursor()
	for k, v := c.Seek(chunkfmt.GroupKey(after + 1)); k != nil; k, v = c.Next() {
		if keys%lookEvery == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		keys++
		seq, err := chunkfmt.ParseGroupKey(k)
		if err != nil {
			return false, damaged(err)
		}
		_, payload, err := unseal(k, v)
		if err != nil {
			return false, err
		}
		if on, err := f(seq, k, payload); err != nil || !on {
			return err == nil, err
		}
	}
	return false, nil
}

// mark finds out which of the groups something refers to, and counts the others.
func (g *Garbage) mark(ctx context.Context, tx *bolt.Tx, without []uint32) error {
	err := eachReferred(ctx, tx, without, func(e span) {
		if s, at := g.find(e.group); s != nil {
			s.live[at/64] |= 1 << (at % 64)
		}
	})
	if err != nil {
		return err
	}
	if err := g.markHealed(tx); err != nil {
		return err
	}
	for i := range g.stretches {
		s := &g.stretches[i]
		for k := range s.known {
			g.groups += bits.OnesCount64(s.known[k] &^ s.live[k])
		}
	}
	return nil
}

// markHealed marks the groups that damaged groups are read from to which something refers. Of one that was not looked
// at nothing is known, so it counts as one, if it is there.
func (g *Garbage) markHealed(tx *bolt.Tx) error {
	for more := true; more; { // they may be damaged too, and read from others
		more = false
		c := tx.Bucket(healed.now).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			_, payload, err := unseal(k, v)
			if err != nil {
				return err
			}
			seq, block, err := parseHealed(k, payload)
			if err != nil {
				return err
			}
			if !g.Has(seq) && g.Has(block.Group) && tx.Bucket(groups.now).Get(k[:8]) != nil {
				s, at := g.find(block.Group)
				s.live[at/64] |= 1 << (at % 64)
				more = true
			}
		}
	}
	return nil
}

// find gives the stretch that has a number, and where in it; nil if none has.
func (g *Garbage) find(seq chunkfmt.Seq) (*stretch, uint64) {
	i, found := slices.BinarySearchFunc(g.stretches, seq, func(s stretch, seq chunkfmt.Seq) int {
		switch {
		case s.first > seq:
			return 1
		case s.first == seq:
			return 0
		}
		return -1
	})
	if !found {
		i--
	}
	if i < 0 {
		return nil, 0
	}
	s := &g.stretches[i]
	at := uint64(seq - s.first)
	if at/64 >= uint64(len(s.known)) {
		return nil, 0
	}
	return s, at
}

// Len is the number of groups in the set.
func (g *Garbage) Len() int { return g.groups }

// After says above which number more is to be looked for; false: all was.
func (g *Garbage) After() (chunkfmt.Seq, bool) { return g.after, g.after != 0 }

// Has says whether a group is in the set.
func (g *Garbage) Has(seq chunkfmt.Seq) bool {
	s, at := g.find(seq)
	if s == nil {
		return false
	}
	bit := uint64(1) << (at % 64)
	return s.known[at/64]&bit != 0 && s.live[at/64]&bit == 0
}

// Ranges calls f with ranges of numbers, ascending, that hold all groups of the set and no other
// group, and how many, at most most in one, until f returns false.
func (g *Garbage) Ranges(most int, f func(r chunkfmt.Removed, groups int) bool) {
	var r chunkfmt.Removed
	n := 0
	end := func() bool {
		more := n == 0 || f(r, n)
		n = 0
		return more
	}
	for i := range g.stretches {
		s := &g.stretches[i]
		for k, known := range s.known {
			for ; known != 0; known &= known - 1 {
				bit := known & -known
				seq := s.first + chunkfmt.Seq(64*k+bits.TrailingZeros64(bit))
				dead := s.live[k]&bit == 0
				if n > 0 && (!dead || n == most || seq.Ordinal() != r.First.Ordinal()) && !end() {
					return
				}
				if !dead {
					continue
				}
				if n++; n == 1 {
					r.First = seq
				}
				r.Last = seq
			}
		}
	}
	end()
}

// eachReferred calls f with every span of the present, and of the past of archives but those in without.
func eachReferred(ctx context.Context, tx *bolt.Tx, without []uint32, f func(span)) error {
	kept, err := sealedNumbers(tx)
	if err != nil {
		return err
	}
	kept = slices.DeleteFunc(kept, func(n uint32) bool { return slices.Contains(without, n) })
	for _, b := range [][]byte{extents.now, extents.past} {
		past, keys := bytes.Equal(b, extents.past), 0
		c := tx.Bucket(b).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if keys%lookEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			keys++
			if past && (len(k) < historySuffix || !kept.within(interval(k))) {
				continue
			}
			if err := eachOfPart(k, v, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachOfPart calls f with the spans of one part.
func eachOfPart(key, value []byte, f func(span)) error {
	_, payload, err := unseal(key, value)
	if err != nil {
		return err
	}
	if len(key) < 16 {
		return fmt.Errorf("%w: extent key %x", ErrRebuild, key)
	}
	part, err := parsePacked(segmentOf(binary.BigEndian.Uint64(key[8:])), payload)
	if err != nil {
		return err
	}
	for i := range part.len() {
		f(part.at(i))
	}
	return nil
}
