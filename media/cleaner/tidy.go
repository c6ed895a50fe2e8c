package cleaner

import (
	"context"
	"errors"
	"fmt"

	"coffer/chunkfmt"
	"coffer/media"
)

// outdated are chunks that have a finished later generation: the cleaner was ended before it
// had deleted them.
func (c *Cleaner) outdated() (all []media.Chunk) {
	for i := range c.chunks {
		if c.superseded(i) {
			all = append(all, c.chunks[i])
		}
	}
	return all
}

// superseded says whether chunk i has a finished later generation.
func (c *Cleaner) superseded(i int) bool {
	for k := i + 1; k < len(c.chunks) && c.chunks[k].ID.Of(0) == c.chunks[i].ID.Of(0); k++ {
		if c.chunks[k].Complete {
			return true
		}
	}
	return false
}

// unfinished says whether chunk i is a generation that was not finished. Without the one before,
// it is all that there is, and has been damaged.
func (c *Cleaner) unfinished(i int) bool {
	return i > 0 && !c.chunks[i].Complete && c.chunks[i-1].ID.Of(0) == c.chunks[i].ID.Of(0)
}

// tidy takes away what a run left that was ended: generations that were not finished, and
// those before one that was.
func (c *Cleaner) tidy(ctx context.Context) error {
	for i := range c.chunks {
		if !c.unfinished(i) {
			continue
		}
		k := &c.chunks[i]
		c.cfg.Log.Info("a chunk that was half written anew is removed", "chunk", k.ID)
		if err := c.delete(ctx, k); err != nil {
			return err
		}
	}
	c.list()
	for _, old := range c.outdated() {
		next := old
		for _, k := range c.chunks {
			if k.ID.Of(0) == old.ID.Of(0) && k.Complete {
				next = k // the last one
			}
		}
		if err := c.supersede(ctx, &old, &next); err != nil {
			return err
		}
	}
	return nil
}

// supersede deletes a chunk in favour of a later generation, if that has all of it; else the later one.
func (c *Cleaner) supersede(ctx context.Context, old, next *media.Chunk) error {
	// Whoever was killed may have left it in the page cache; and after a power cut its footer may be there, and what is
	// before it not.
	syncer, ok := c.cfg.Medium.(media.Syncer)
	if !ok {
		return nil
	}
	if err := syncer.Sync(ctx, next.Name); err != nil {
		return err
	}
	before, err := c.tags(ctx, old)
	if err != nil {
		return err
	}
	after, err := c.tags(ctx, next)
	if err != nil {
		return err
	}
	err = covers(after, before)
	if err == nil {
		err = c.verify(ctx, next, after)
	}
	if errors.Is(err, errDamaged) {
		c.cfg.Log.Warn("a chunk is not as it was written anew, and is removed", "chunk", old.ID, "anew", next.ID, "cause", err)
		return c.delete(ctx, next)
	}
	if err != nil {
		return err
	}
	if err := c.delete(ctx, old); err != nil {
		return err
	}
	c.result.Chunks++
	c.result.Bytes += old.Size
	c.cfg.Progress(c.result)
	return nil
}

// covers says why not every tag of before stands, or is gone, in after.
func covers(after, before []chunkfmt.Tag) error {
	i := 0
	for k := range before {
		t := &before[k]
		for i < len(after) && after[i].Last() < t.Last() {
			i++
		}
		switch {
		case i < len(after) && after[i].Kind == chunkfmt.KindGone && after[i].Seq <= t.Seq:
		case i < len(after) && after[i].Seq == t.Seq && after[i].Kind == t.Kind && after[i].CRC == t.CRC && after[i].SealedLen == t.SealedLen:
		default:
			return fmt.Errorf("%w: %v %v is not in it", errDamaged, t.Kind, t.Seq)
		}
	}
	return nil
}

// verify reads what a chunk holds and compares it with its tags.
func (c *Cleaner) verify(ctx context.Context, k *media.Chunk, tags []chunkfmt.Tag) error {
	r := &rewriting{c: c, old: *k, buf: c.buf[:0]}
	for i := range tags {
		if err := r.read(ctx, &tags[i], int64(tags[i].Offset)); err != nil {
			return err
		}
		r.buf = r.buf[:0]
	}
	c.buf = r.buf
	return nil
}

// tags lists the tags of a chunk. Of one without a footer, if it is certain that nothing of it
// that counts is missing; else none.
func (c *Cleaner) tags(ctx context.Context, k *media.Chunk) ([]chunkfmt.Tag, error) {
	r := media.Reader(ctx, c.cfg.Medium, k.Name)
	if k.Complete {
		tags, err := chunkfmt.ReadFooter(r, k.Size)
		if err != nil && isFormat(err) {
			return nil, nil // it has rotted since the catalog read it
		}
		return tags, err
	}
	whole, err := c.whole(ctx, k)
	if err != nil || !whole {
		return nil, err
	}
	var tags []chunkfmt.Tag
	sc := chunkfmt.NewScanner(r, k.Size)
	for {
		e, err := sc.Next()
		switch {
		case err == nil:
			tags = append(tags, e.Tag)
		case isFormat(err):
			return tags, nil
		default:
			return nil, err
		}
	}
}
