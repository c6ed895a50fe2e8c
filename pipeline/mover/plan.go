package mover

import (
	"context"
	"iter"
	"math"

	"coffer/chunkfmt"
	"coffer/index"
)

// planning finds what a prune without some archives would take off the media.
type planning struct {
	ctx            context.Context
	index          *index.Index
	without        []uint32
	removed, moved int   // groups
	written        int64 // bytes of the groups that what is moved would be in
}

// list adds, ascending, what may go already, and what would be removed or moved.
func (p *planning) list(add func(chunkfmt.Removed) error) error {
	var last chunkfmt.Removed // not added yet
	for r, err := range merged(merged(p.gone, p.garbage), p.sparse) {
		if err == nil && last.First != 0 && r.First > last.Last {
			err = add(last)
		}
		if err != nil {
			return err
		}
		if last.First == 0 || r.First > last.Last {
			last = r
		}
		last.Last = max(last.Last, r.Last)
	}
	if last.First == 0 {
		return nil
	}
	return add(last)
}

// ranges are ranges of numbers, ascending by the first; an error is the last.
type ranges = iter.Seq2[chunkfmt.Removed, error]

// goneAtOnce is how many ranges are read at a time: no read of the index may begin within another.
const goneAtOnce = 10_000

// gone are the groups that may go already.
func (p *planning) gone(yield func(chunkfmt.Removed, error) bool) {
	for first := chunkfmt.Seq(0); ; {
		var some []chunkfmt.Removed
		err := p.index.Removed(first, math.MaxUint64, func(r chunkfmt.Removed) bool {
			some = append(some, r)
			return len(some) < goneAtOnce
		})
		if err != nil {
			yield(chunkfmt.Removed{}, err)
			return
		}
		for _, r := range some {
			if !yield(r, nil) {
				return
			}
		}
		if len(some) < goneAtOnce {
			return
		}
		first = some[len(some)-1].Last + 1
	}
}

// garbage are the groups to which nothing refers.
func (p *planning) garbage(yield func(chunkfmt.Removed, error) bool) {
	for after, more := chunkfmt.Seq(0), true; more; {
		g, err := p.index.Garbage(p.ctx, after, p.without...)
		if err != nil {
			yield(chunkfmt.Removed{}, err)
			return
		}
		p.removed += g.Len()
		ok := true
		g.Ranges(math.MaxInt, func(r chunkfmt.Removed, _ int) bool {
			ok = yield(r, nil)
			return ok
		})
		if !ok {
			return
		}
		after, more = g.After()
	}
}

// sparse are the groups of which less than half is needed.
func (p *planning) sparse(yield func(chunkfmt.Removed, error) bool) {
	for after, more := chunkfmt.Seq(0), true; more; {
		s, err := p.index.Sparse(p.ctx, after, p.without...)
		if err != nil {
			yield(chunkfmt.Removed{}, err)
			return
		}
		ok := true
		s.Each(func(g index.SparseGroup) bool {
			p.moved++
			p.written += expected(&g)
			ok = yield(chunkfmt.Removed{First: g.Seq, Last: g.Seq}, nil)
			return ok
		})
		if !ok {
			return
		}
		after, more = s.After()
	}
}

// merged are the ranges of both.
func merged(a, b ranges) ranges {
	return func(yield func(chunkfmt.Removed, error) bool) {
		nextA, stopA := iter.Pull2(a)
		defer stopA()
		nextB, stopB := iter.Pull2(b)
		defer stopB()
		ra, errA, moreA := nextA()
		rb, errB, moreB := nextB()
		for moreA || moreB {
			if moreA && (!moreB || ra.First <= rb.First) {
				if !yield(ra, errA) {
					return
				}
				ra, errA, moreA = nextA()
				continue
			}
			if !yield(rb, errB) {
				return
			}
			rb, errB, moreB = nextB()
		}
	}
}

// expected is how much the live blocks of a group will take on the medium.
func expected(g *index.SparseGroup) (n int64) {
	for _, b := range g.Live {
		n += int64(b.Length)
	}
	if g.Stored > 0 {
		n = n * int64(g.Stored) / int64(g.RawLen)
	}
	return n
}
