package mover

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media/cleaner"
)

// cleaning takes off the media what the index says to be removed.
type cleaning struct {
	o       *Options
	volume  chunkfmt.VolumeID
	index   *index.Index
	catalog cleaner.Catalog
}

func (s *Source) cleaning() *cleaning {
	return &cleaning{o: &s.o, volume: s.keys.ID, index: s.index, catalog: s.catalog}
}

// Clean takes off the media what was removed. It needs no tree: all that could read or refer to
// it is gone. It may be ended at any time, and called again.
func (s *Source) Clean(ctx context.Context) (cleaner.Result, error) {
	head := s.index.Head()
	result, err := s.cleaning().run(ctx)
	if err != nil {
		return result, err
	}
	return result, s.index.Cleaned(head)
}

// Unclean says whether there may be something to clean, as a prune was ended before its time.
func (s *Source) Unclean() bool { return s.index.Unclean() }

// PlanPrune says what Prune would do if archives were forgotten before, and does nothing.
func (s *Source) PlanPrune(ctx context.Context, without ...uint32) (Pruned, error) {
	return s.cleaning().plan(ctx, without)
}

// PlanPrune says what Source.Prune would do if archives were forgotten before.
func (r *Reader) PlanPrune(ctx context.Context, without ...uint32) (Pruned, error) {
	c, err := r.cleaning(ctx)
	if err != nil {
		return Pruned{}, err
	}
	return c.plan(ctx, without)
}

func (c *cleaning) run(ctx context.Context) (cleaner.Result, error) { return c.local(c.index).Run(ctx) }

// plan says what a prune would do without some archives.
func (c *cleaning) plan(ctx context.Context, without []uint32) (Pruned, error) {
	f, err := NamelessFile(c.o.StateDir)
	if err != nil {
		return Pruned{}, err
	}
	p, err := c.planIn(ctx, f, without)
	if err = errors.Join(err, f.Close()); err != nil {
		return Pruned{}, fmt.Errorf("plan to prune: %w", err)
	}
	return p, nil
}

func (c *cleaning) planIn(ctx context.Context, f *os.File, without []uint32) (p Pruned, err error) {
	w, err := cleaner.WriteList(f, c.volume, func(add func(chunkfmt.Removed) error) error {
		p.Removed, err = listGarbage(ctx, c.index, without, add)
		return err
	})
	if err != nil {
		return p, err
	}
	l, err := cleaner.OpenList(f, w.Size(), c.volume)
	if err != nil {
		return p, err
	}
	p.Result, err = c.local(l).Plan(ctx)
	return p, err
}

func (c *cleaning) local(removed cleaner.Removed) *cleaner.Cleaner {
	return cleaner.New(cleaner.Config{
		Medium: c.o.Medium, Volume: c.volume, Catalog: c.catalog, Removed: removed, Log: c.o.Log,
	})
}

// listGarbage lists what was removed and what nothing refers to, and says how many groups the latter are.
func listGarbage(ctx context.Context, x *index.Index, without []uint32, add func(chunkfmt.Removed) error) (groups int, err error) {
	last := chunkfmt.Seq(math.MaxUint64)
	for after, more := chunkfmt.Seq(0), true; more; {
		g, err := x.Garbage(ctx, after, without...)
		if err != nil {
			return 0, err
		}
		groups += g.Len()
		next, again := g.After()
		upTo := next
		if !again {
			upTo = last
		}
		if err := mergeRemoved(x, g, after+1, upTo, add); err != nil {
			return 0, err
		}
		after, more = next, again
	}
	return groups, nil
}

// mergeRemoved lists, ascending, what was removed and begins in [first, last], and the ranges of g.
func mergeRemoved(x *index.Index, g *index.Garbage, first, last chunkfmt.Seq, add func(chunkfmt.Removed) error) error {
	next, stop := iter.Pull(func(yield func(chunkfmt.Removed) bool) {
		g.Ranges(math.MaxInt, func(r chunkfmt.Removed, _ int) bool { return yield(r) })
	})
	defer stop()
	dead, more := next()
	var err error
	failed := x.Removed(first, last, func(r chunkfmt.Removed) bool {
		if r.First < first {
			return true // listed with those before
		}
		for ; err == nil && more && dead.First < r.First; dead, more = next() {
			err = add(dead)
		}
		if err == nil {
			err = add(r)
		}
		return err == nil
	})
	for ; failed == nil && err == nil && more; dead, more = next() {
		err = add(dead)
	}
	return errors.Join(failed, err)
}
