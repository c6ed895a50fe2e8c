package index

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// What is looked at at a time: 32 GiB of groups of small blocks, in 20 MiB of memory. Tests lower it.
var (
	sparseGroups = 1 << 17
	sparseBlocks = 1 << 20
)

// Sparse is a set of groups of which something refers to less than half at one state of the index, but not to nothing:
// room comes back if these blocks are moved to other groups. It never changes, and may be used concurrently.
type Sparse struct {
	groups []sparse // ascending; all that were looked at
	n      int      // in the set
	after  chunkfmt.Seq
}

// sparse is a group of more than one block.
type sparse struct {
	seq    chunkfmt.Seq
	stored uint32       // bytes on the medium; 0: not known
	fixed  bool         // damaged, or moved already: it is never in the set
	in     bool         // the set
	ends   []uint32     // of its blocks, in its plaintext
	live   []bool       // for each of them: something refers to it
	names  []blockOfOne // of a group in the set: what is read from it for another group
}

// blockOfOne is a place, and the number of a block of the group at hand.
type blockOfOne struct {
	block int
	place BlockPlace
}

// BlockPlace is where a block begins.
type BlockPlace struct {
	Group  chunkfmt.Seq
	Offset uint32 // in the group's plaintext
}

// SparseGroup is a group in a Sparse.
type SparseGroup struct {
	Seq    chunkfmt.Seq
	Live   []LiveBlock // ascending
	Stored uint32      // bytes that it takes on the medium; 0: not known
	RawLen uint32
}

// LiveBlock is a block to which something refers.
type LiveBlock struct {
	Offset, Length uint32
	// Names are the places by which it is referred to: here, and where it was read from before.
	Names []BlockPlace
}

// Sparse finds groups with numbers above after of which less than half is needed. Archives in without count as
// forgotten. It looks at a bounded number of groups: see Sparse.After. It reads every extent of the index, in one read
// of one state. Damaged groups are left alone, and those that were moved already.
func (x *Index) Sparse(ctx context.Context, after chunkfmt.Seq, without ...uint32) (*Sparse, error) {
	s := &Sparse{}
	err := x.view(func(tx *bolt.Tx, _ *section) error {
		if err := s.look(ctx, tx, after); err != nil {
			return err
		}
		return s.mark(ctx, tx, without)
	})
	if err != nil {
		return nil, fmt.Errorf("look for groups of which little is needed: %w", err)
	}
	return s, nil
}

// StillSparse looks at the same groups again, and finds those of the set of which less than half is needed now too.
func (x *Index) StillSparse(ctx context.Context, before *Sparse) (*Sparse, error) {
	s := &Sparse{after: before.after, groups: slices.Clone(before.groups)}
	for i := range s.groups {
		g := &s.groups[i]
		g.fixed = g.fixed || !g.in
		g.in, g.live, g.names = false, make([]bool, len(g.ends)), nil
	}
	if err := x.view(func(tx *bolt.Tx, _ *section) error { return s.mark(ctx, tx, nil) }); err != nil {
		return nil, fmt.Errorf("look again for groups of which little is needed: %w", err)
	}
	return s, nil
}

// look finds the groups to look at.
func (s *Sparse) look(ctx context.Context, tx *bolt.Tx, after chunkfmt.Seq) error {
	gone := goneIn(tx)
	damagedOnes := tx.Bucket(bad.now)
	blocks := 0
	more, err := eachGroup(ctx, tx, after, func(seq chunkfmt.Seq, key, payload []byte) (bool, error) {
		rec, at, err := parseGroup(seq, payload)
		if err != nil || len(rec.Blocks) < 2 {
			return err == nil, err
		}
		if len(s.groups) > 0 && (len(s.groups) == sparseGroups || blocks+len(rec.Blocks) > sparseBlocks) {
			return false, nil
		}
		blocks += len(rec.Blocks)
		moved, err := gone(seq)
		if err != nil {
			return false, err
		}
		g := sparse{
			seq: seq, stored: at.Length, fixed: moved || damagedOnes.Get(key) != nil,
			ends: make([]uint32, len(rec.Blocks)), live: make([]bool, len(rec.Blocks)),
		}
		end := uint32(0)
		for i := range rec.Blocks {
			end += rec.Blocks[i].Length
			g.ends[i] = end
		}
		s.groups = append(s.groups, g)
		return true, nil
	})
	if more {
		s.after = s.groups[len(s.groups)-1].seq
	}
	return err
}

// mark finds out which blocks something refers to, and so which groups are in the set.
func (s *Sparse) mark(ctx context.Context, tx *bolt.Tx, without []uint32) error {
	err := eachReferred(ctx, tx, without, func(e span) {
		if g := s.find(e.group); g != nil {
			end := e.offset + uint32(e.end-e.start)
			for i := g.block(e.offset); i < len(g.ends) && g.start(i) < end; i++ {
				g.live[i] = true
			}
		}
	})
	if err != nil {
		return err
	}
	if err := s.markHealed(tx); err != nil {
		return err
	}
	for i := range s.groups {
		g := &s.groups[i]
		live := uint32(0)
		for k := range g.live {
			if g.live[k] {
				live += g.ends[k] - g.start(k)
			}
		}
		if g.in = !g.fixed && live > 0 && 2*live < g.rawLen(); g.in {
			s.n++
		}
	}
	return s.name(tx)
}

// markHealed marks the blocks that are read for blocks of other groups to which something refers. Of a group that was
// not looked at nothing is known, so all its blocks count as such, if it is there.
func (s *Sparse) markHealed(tx *bolt.Tx) error {
	for more := true; more; { // they may be read from others in turn
		more = false
		err := s.eachHealed(tx, func(_ BlockPlace, g *sparse, i int) {
			if !g.live[i] {
				g.live[i], more = true, true
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// name notes for the groups in the set by which other places their blocks are read.
func (s *Sparse) name(tx *bolt.Tx) error {
	if s.n == 0 {
		return nil
	}
	return s.eachHealed(tx, func(from BlockPlace, g *sparse, i int) {
		if g.in {
			g.names = append(g.names, blockOfOne{i, from})
		}
	})
}

// eachHealed calls f for all blocks i of groups g that are read for another place that something may refer to.
func (s *Sparse) eachHealed(tx *bolt.Tx, f func(from BlockPlace, g *sparse, i int)) error {
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
		g := s.find(block.Group)
		if g == nil {
			continue
		}
		i := g.block(block.GroupOffset)
		if i == len(g.ends) {
			continue
		}
		if from := s.find(seq); from == nil {
			if tx.Bucket(groups.now).Get(k[:8]) == nil {
				continue
			}
		} else if j := from.block(block.Offset); j == len(from.ends) || !from.live[j] {
			continue
		}
		f(BlockPlace{seq, block.Offset}, g, i)
	}
	return nil
}

// find gives a group that was looked at; nil if it was not.
func (s *Sparse) find(seq chunkfmt.Seq) *sparse {
	i, ok := slices.BinarySearchFunc(s.groups, seq, func(g sparse, seq chunkfmt.Seq) int {
		return cmp.Compare(g.seq, seq)
	})
	if !ok {
		return nil
	}
	return &s.groups[i]
}

// block gives the number of the block that has the byte at off; that of the blocks if none has.
func (g *sparse) block(off uint32) int {
	i, found := slices.BinarySearch(g.ends, off)
	if found { // where a block ends, the next one begins
		i++
	}
	return i
}

func (g *sparse) start(i int) uint32 {
	if i == 0 {
		return 0
	}
	return g.ends[i-1]
}

func (g *sparse) rawLen() uint32 { return g.ends[len(g.ends)-1] }

// Len is the number of groups in the set.
func (s *Sparse) Len() int { return s.n }

// After says above which number more is to be looked for; false: all was.
func (s *Sparse) After() (chunkfmt.Seq, bool) { return s.after, s.after != 0 }

// Has says whether a group is in the set.
func (s *Sparse) Has(seq chunkfmt.Seq) bool {
	g := s.find(seq)
	return g != nil && g.in
}

// Each calls f with the groups of the set, ascending, until f returns false.
func (s *Sparse) Each(f func(SparseGroup) bool) {
	for i := range s.groups {
		if g := &s.groups[i]; g.in && !f(g.tell()) {
			return
		}
	}
}

func (g *sparse) tell() SparseGroup {
	out := SparseGroup{Seq: g.seq, Stored: g.stored, RawLen: g.rawLen()}
	for i, live := range g.live {
		if !live {
			continue
		}
		b := LiveBlock{Offset: g.start(i), Length: g.ends[i] - g.start(i)}
		b.Names = append(b.Names, BlockPlace{g.seq, b.Offset})
		for _, n := range g.names {
			if n.block == i {
				b.Names = append(b.Names, n.place)
			}
		}
		out.Live = append(out.Live, b)
	}
	return out
}
