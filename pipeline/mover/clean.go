package mover

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
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
func (s *Source) Clean(ctx context.Context) (Pruned, error) {
	head := s.index.Head()
	if s.spool != nil {
		// What the log says of groups, and those that others were moved to, must not be near by only.
		if err := s.spool.f.Await(ctx, head.Seq); err != nil {
			return Pruned{}, fmt.Errorf("wait for the spool before anything is taken off the server's medium: %w", err)
		}
	}
	p, anew, err := s.cleaning().run(ctx)
	if err != nil {
		return p, err
	}
	for _, id := range anew {
		if err := s.relocate(ctx, id); err != nil {
			return p, err
		}
	}
	return p, s.index.Cleaned(head)
}

// relocate notes in the index where the groups of a chunk are that was written anew, so that they are found at once.
func (s *Source) relocate(ctx context.Context, id chunkfmt.ChunkID) error {
	name := media.ChunkName(s.keys.ID, id)
	list, err := s.o.Medium.List(ctx, name)
	if err != nil {
		return err
	}
	var places []index.Place
	for _, info := range list {
		if info.Name != name {
			continue
		}
		tags, err := chunkfmt.ReadFooter(media.Reader(ctx, s.o.Medium, name), info.Size)
		if err != nil {
			s.o.Log.Warn("where groups were moved to is not noted", "chunk", id, "cause", err)
			return ctx.Err()
		}
		for at, t := range chunkfmt.Places(tags) {
			if t.Kind == chunkfmt.KindData {
				at := chunkfmt.Location{Chunk: id, Offset: uint64(at), Length: uint32(t.StoredLen())}
				places = append(places, index.Place{Seq: t.Seq, At: at})
			}
		}
	}
	return s.index.Relocate(places)
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

// run takes off the media, here or on a server, what the index says to be removed, and says which chunks were written
// anew.
func (c *cleaning) run(ctx context.Context) (p Pruned, anew []chunkfmt.ChunkID, err error) {
	if c.o.Far == nil {
		local := c.local(c.index)
		p.Result, err = local.Run(ctx)
		return p, local.Anew(), err
	}
	all := func(add func(chunkfmt.Removed) error) (err error) {
		failed := c.index.Removed(0, math.MaxUint64, func(r chunkfmt.Removed) bool {
			err = add(r)
			return err == nil
		})
		return errors.Join(failed, err)
	}
	err = c.list(all, func(f *os.File, size int64) (err error) {
		anew, err = c.far(ctx, &p, f, size, false)
		return err
	})
	return p, anew, err
}

// plan says what a prune would do without some archives.
func (c *cleaning) plan(ctx context.Context, without []uint32) (p Pruned, err error) {
	planned := planning{ctx: ctx, index: c.index, without: without}
	err = c.list(planned.list, func(f *os.File, size int64) error {
		if c.o.Far != nil {
			_, err := c.far(ctx, &p, f, size, true)
			return err
		}
		l, err := cleaner.OpenList(f, size, c.volume)
		if err == nil {
			p.Result, err = c.local(l).Plan(ctx)
		}
		return err
	})
	if err != nil {
		return Pruned{}, fmt.Errorf("plan to prune: %w", err)
	}
	p.Removed, p.Moved, p.Bytes = planned.removed, planned.moved, p.Bytes-planned.written
	return p, nil
}

// list calls f with a list of what each gives, in a file that goes then.
func (c *cleaning) list(each func(add func(chunkfmt.Removed) error) error, f func(list *os.File, size int64) error) error {
	file, err := NamelessFile(c.o.StateDir)
	if err != nil {
		return err
	}
	w, err := cleaner.WriteList(file, c.volume, each)
	if err == nil {
		err = f(file, w.Size())
	}
	return errors.Join(err, file.Close())
}

// far has the server clean, or plan to.
func (c *cleaning) far(ctx context.Context, p *Pruned, list *os.File, size int64, dryRun bool) ([]chunkfmt.ChunkID, error) {
	if c.o.Far.Removals == nil {
		return nil, fmt.Errorf("the server takes nothing off its medium: %w", errors.ErrUnsupported)
	}
	r, err := c.o.Far.Removals.RemoveGroups(ctx, list, size, dryRun)
	p.Result = cleaner.Result{Chunks: r.Chunks, Groups: r.Groups, Bytes: r.Bytes, Left: r.Left}
	p.Until = r.Until
	return r.Anew, err
}

func (c *cleaning) local(removed cleaner.Removed) *cleaner.Cleaner {
	return cleaner.New(cleaner.Config{
		Medium: c.o.Medium, Volume: c.volume, Catalog: c.catalog, Removed: removed, Log: c.o.Log,
	})
}
