// Package cleaner takes out of the chunks of a volume what was removed from it. It needs no
// key: which groups were removed it is told, and what is left it moves as it is, sealed.
//
// A chunk of which enough is gone is written anew, as the next generation of the same chunk:
// its tags in their order, and in place of what was removed gone tags. Only when that is on
// stable storage, and the catalog knows it, the old one is deleted, so that at any instant
// there is one good place of everything; whoever reads and finds the old place gone finds the
// new one. Metadata stays, whatever it says. What is damaged stays too, as it is: it is not
// the cleaner's to decide what becomes of it.
//
// It may be ended, or killed, at any time, and run again: what it left half done it finds.
// Others read the volume meanwhile, and one session may write it.
//
// Start reading at Cleaner.Run, then rewrite.go.
package cleaner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"coffer/chunkfmt"
	"coffer/media"
)

// Removed knows which groups were removed.
type Removed interface {
	// Removed calls f with the ranges of removed groups that reach into [first, last],
	// ascending, until f returns false. f is brief.
	Removed(first, last chunkfmt.Seq, f func(chunkfmt.Removed) bool) error
}

// Catalog is the catalog of the volume, which whoever writes the volume uses too;
// *media.Catalog is one.
type Catalog interface {
	Refresh(ctx context.Context) error
	Chunks() []media.Chunk
	AddChunk(h chunkfmt.ChunkHeader) error
	Extend(id chunkfmt.ChunkID, tags []chunkfmt.Tag)
	SealChunk(id chunkfmt.ChunkID, size int64) error
	RemoveChunk(id chunkfmt.ChunkID)
}

// Config says what to clean. Log may be nil, and so may Progress.
type Config struct {
	Medium  media.Medium
	Volume  chunkfmt.VolumeID
	Catalog Catalog
	Removed Removed
	// Progress is called after each chunk with what was done so far.
	Progress func(Result)
	Log      *slog.Logger
}

// Result says what there is to clean, or what was cleaned.
type Result struct {
	Chunks int   `json:"chunks"` // written anew, or deleted as they were left over
	Groups int   `json:"groups"` // that are gone
	Bytes  int64 `json:"bytes"`  // that the medium gets back, net
	// Left are chunks that were worth it and were not cleaned, as they are damaged or there
	// is no room for what is left of them.
	Left int `json:"left,omitempty"`
}

// worth is which part of a chunk must be gone for it to be written anew: one in so many bytes.
const worth = 10

// Cleaner cleans one volume. One goroutine at a time.
type Cleaner struct {
	cfg    Config
	chunks []media.Chunk // by chunkfmt.ChunkID.Compare
	result Result
	anew   []chunkfmt.ChunkID
	buf    []byte
}

// New makes a cleaner, which does nothing yet.
func New(cfg Config) *Cleaner {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Progress == nil {
		cfg.Progress = func(Result) {}
	}
	return &Cleaner{cfg: cfg}
}

// task is a chunk that is worth being written anew.
type task struct {
	chunk media.Chunk
	work
}

// Plan says what Run would do, and does nothing.
func (c *Cleaner) Plan(ctx context.Context) (Result, error) {
	c.result = Result{}
	tasks, err := c.plan(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("plan to clean volume %v: %w", c.cfg.Volume, err)
	}
	for _, t := range tasks {
		c.count(&t.work)
	}
	for _, old := range c.outdated() {
		c.result.Chunks++
		c.result.Bytes += old.Size
	}
	return c.result, nil
}

// Run cleans the volume. What is done when it ends with an error is in the result.
func (c *Cleaner) Run(ctx context.Context) (Result, error) {
	c.result = Result{}
	if err := c.run(ctx); err != nil {
		return c.result, fmt.Errorf("clean volume %v: %w", c.cfg.Volume, err)
	}
	return c.result, nil
}

// Anew lists the chunks that Run has written anew, as they are now.
func (c *Cleaner) Anew() []chunkfmt.ChunkID { return c.anew }

func (c *Cleaner) run(ctx context.Context) error {
	if err := c.cfg.Catalog.Refresh(ctx); err != nil {
		return err
	}
	c.list()
	if err := c.tidy(ctx); err != nil {
		return err
	}
	tasks, err := c.plan(ctx)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		err := c.rewrite(ctx, &t)
		switch {
		case err == nil:
			c.count(&t.work)
			c.anew = append(c.anew, t.chunk.ID.Of(t.chunk.ID.Generation()+1))
		case ctx.Err() != nil:
			return err
		case errors.Is(err, media.ErrFull), errors.Is(err, errDamaged):
			c.result.Left++
			c.cfg.Log.Warn("a chunk is not cleaned", "chunk", t.chunk.ID, "cause", err)
		default:
			return err
		}
		c.cfg.Progress(c.result)
	}
	return nil
}

func (c *Cleaner) count(w *work) {
	c.result.Chunks++
	c.result.Groups += w.groups
	c.result.Bytes += w.gain
}

func (c *Cleaner) list() { c.chunks = c.cfg.Catalog.Chunks() }

// plan finds the chunks that are worth it, those first that give the most back for what has to
// be written: on a medium that is full that makes room for the others.
func (c *Cleaner) plan(ctx context.Context) ([]task, error) {
	c.list()
	var tasks []task
	for i := range c.chunks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		k := &c.chunks[i]
		if k.ID.Mirror() || k.ID.Generation() == chunkfmt.MaxGeneration || k.First == 0 || c.superseded(i) || c.unfinished(i) {
			continue
		}
		dead, err := c.removed(k)
		if err != nil {
			return nil, err
		}
		if len(dead) == 0 {
			continue
		}
		tags, err := c.tags(ctx, k)
		if err != nil {
			return nil, err
		}
		if w := workOn(tags, dead, k.Size); w.groups > 0 && (w.gain*worth >= k.Size || w.empty) {
			tasks = append(tasks, task{*k, w})
		}
	}
	slices.SortStableFunc(tasks, func(a, b task) int {
		return cmp.Compare(a.chunk.Size-a.gain, b.chunk.Size-b.gain)
	})
	return tasks, nil
}

// removed are the ranges that reach into a chunk.
func (c *Cleaner) removed(k *media.Chunk) (dead []chunkfmt.Removed, err error) {
	err = c.cfg.Removed.Removed(k.First, k.Last, func(r chunkfmt.Removed) bool {
		dead = append(dead, r)
		return true
	})
	return dead, err
}
