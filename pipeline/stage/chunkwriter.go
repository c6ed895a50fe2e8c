package stage

import (
	"context"
	"errors"
	"fmt"

	"coffer/chunkfmt"
	"coffer/media"
)

// Limits of a chunk beside its size.
const (
	chunkTags     = 16 << 10 // bounds the memory of its directory
	chunkFailures = 3        // in a row, after which the pipe fails
)

// chunkWriter fills one chunk after the other: those of the log, or mirror
// chunks. Used by the store stage's goroutine.
type chunkWriter struct {
	s      *store
	mirror bool
	number uint32 // of the last chunk begun

	app      media.Appender // nil: no chunk is open
	header   chunkfmt.ChunkHeader
	tags     []chunkfmt.Tag
	failures int
}

// append stamps the tags of groups and appends them with their bytes, which
// lie in raw. It tries until it succeeds: with another chunk if this one
// fails, waiting if there is no space.
func (c *chunkWriter) append(ctx context.Context, groups []group, raw []byte) error {
	full := false
	for {
		err := c.try(ctx, groups, raw)
		if err == nil {
			c.failures = 0
			if full {
				c.s.owner.stalled(nil)
				c.s.cfg.log.Info("medium has space again", "chunk", c.header.Chunk)
			}
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, media.ErrFull) {
			full = true
			if errors.Is(err, media.ErrTorn) {
				c.leave() // it would stay full for ever
			}
			if err := c.s.retry(ctx, err); err != nil {
				return err
			}
			continue
		}
		c.failures++
		if c.failures > chunkFailures {
			return fmt.Errorf("storing %v: %w", groups[0].seq, err)
		}
		c.s.cfg.log.Error("append failed: going on in another chunk", "chunk", c.header.Chunk, "error", err)
		c.leave()
	}
}

func (c *chunkWriter) try(ctx context.Context, groups []group, raw []byte) error {
	if c.app != nil && len(c.tags) > 0 &&
		(c.app.Size()+int64(len(raw)) > c.s.cfg.chunkSize || len(c.tags)+len(groups) > chunkTags) {
		c.finish(ctx)
	}
	if c.app == nil {
		if err := c.begin(ctx, groups[0].seq); err != nil {
			return err
		}
	}
	base := c.app.Size()
	parts := [][]byte{raw}
	if base == 0 {
		parts = [][]byte{c.header.Append(nil), raw}
		base = chunkfmt.ChunkHeaderSize
	}
	c.stamp(groups, raw, base)
	if _, err := c.app.Append(ctx, parts...); err != nil {
		return err
	}
	n := len(c.tags)
	for i := range groups {
		tag := groups[i].tag
		if c.mirror {
			tag.Flags |= chunkfmt.FlagCopy
		}
		c.tags = append(c.tags, tag)
	}
	c.s.owner.appended(len(raw))
	c.s.cfg.catalog.Extend(c.header.Chunk, c.tags[n:])
	return nil
}

// stamp says in the tags where they stand and what was acknowledged by now.
func (c *chunkWriter) stamp(groups []group, raw []byte, base int64) {
	acked := c.s.owner.Acked()
	for i := range groups {
		t := &groups[i].tag
		t.Offset = uint64(base) + uint64(groups[i].at)
		t.Watermark, t.Restart = acked, c.s.cfg.restart(acked)
		written := *t
		if c.mirror {
			written.Flags |= chunkfmt.FlagCopy
		}
		written.Put(raw[groups[i].at:])
	}
}

// restart is the first sequence number of the session that is not acknowledged, after acked.
func (cfg *storeConfig) restart(acked chunkfmt.Seq) chunkfmt.Seq {
	if acked.Ordinal() != cfg.ordinal {
		return chunkfmt.MakeSeq(cfg.ordinal, 1)
	}
	return acked + 1
}

// begin creates the next chunk. Its header goes with the first append.
func (c *chunkWriter) begin(ctx context.Context, first chunkfmt.Seq) error {
	cfg := &c.s.cfg
	c.number++
	c.header = chunkfmt.ChunkHeader{
		Version: chunkfmt.HeaderVersion, Layout: chunkfmt.LayoutFramed,
		Store: cfg.store, Volume: cfg.volume, Session: cfg.session,
		Chunk: chunkfmt.MakeChunkID(cfg.ordinal, c.number, c.mirror), First: first,
	}
	app, err := cfg.medium.Create(ctx, media.ChunkName(cfg.volume, c.header.Chunk))
	if err != nil {
		return fmt.Errorf("beginning chunk %v: %w", c.header.Chunk, err)
	}
	c.app, c.tags = app, nil
	if err := cfg.catalog.AddChunk(c.header); err != nil {
		return fmt.Errorf("beginning chunk %v: %w", c.header.Chunk, err)
	}
	return nil
}

// finish ends the open chunk with its footer, and leaves it to the syncer to
// make it stable. Without a footer, if there is no getting it onto the medium,
// the chunk is found by its tags.
func (c *chunkWriter) finish(ctx context.Context) {
	if c.app == nil {
		return
	}
	if len(c.tags) == 0 {
		c.leave()
		return
	}
	if _, err := c.app.Append(ctx, chunkfmt.AppendFooter(nil, c.tags)); err != nil {
		c.s.cfg.log.Warn("chunk stays without a footer", "chunk", c.header.Chunk, "error", err)
		c.leave()
		return
	}
	c.hand(syncJob{sealed: c.app.Size()})
}

// leave closes the open chunk as it is. What it holds counts.
func (c *chunkWriter) leave() {
	if c.app == nil {
		return
	}
	if len(c.tags) == 0 {
		// Nothing of it is of use; errors would say nothing more.
		_ = c.app.Close()
		_ = c.s.cfg.catalog.LeaveChunk(c.header.Chunk)
		c.app = nil
		return
	}
	c.hand(syncJob{})
}

// hand gives the open chunk to the syncer, to be closed. A mirror has to be
// stable before the chunk whose metadata it mirrors is left.
func (c *chunkWriter) hand(j syncJob) {
	j.chunk, j.id, j.done = c.app, c.header.Chunk, true
	if !c.mirror {
		j.upTo = c.tags[len(c.tags)-1].Seq
		if m := c.s.mirror.app; m != nil {
			c.s.sync.add(syncJob{chunk: m})
		}
	}
	c.app, c.tags = nil, nil
	c.s.sync.add(j)
}

// discard closes the open chunk after the pipe has failed. The catalog may outlive the pipe, and the next one of the
// session may make a chunk of that name anew.
func (c *chunkWriter) discard() {
	if c.app != nil {
		_ = c.app.Close()
		_ = c.s.cfg.catalog.LeaveChunk(c.header.Chunk) // fails if it was never told of the chunk
		c.app = nil
	}
}
