package cleaner

import (
	"context"
	"errors"
	"fmt"
	"io"

	"coffer/chunkfmt"
	"coffer/media"
)

// appendBytes is how much is gathered for one append.
const appendBytes = 4 << 20

// errDamaged: a chunk is not as it was written, and is left so.
var errDamaged = errors.New("the chunk is damaged")

// rewriting is the next generation of a chunk on its way.
type rewriting struct {
	c      *Cleaner
	old    media.Chunk
	header chunkfmt.ChunkHeader
	app    media.Appender
	tags   []chunkfmt.Tag // written
	told   int            // of them to the catalog
	buf    []byte         // not yet appended
	at     int64          // where buf goes
}

// rewrite writes a chunk anew and deletes the old one.
func (c *Cleaner) rewrite(ctx context.Context, t *task) error {
	r := &rewriting{c: c, old: t.chunk, buf: c.buf[:0]}
	err := r.write(ctx, t.left)
	c.buf = r.buf
	if err != nil {
		return errors.Join(fmt.Errorf("write chunk %v anew: %w", t.chunk.ID, err), r.discard(ctx))
	}
	return c.delete(ctx, &t.chunk)
}

// delete deletes a chunk of which a later generation is stable and known.
func (c *Cleaner) delete(ctx context.Context, old *media.Chunk) error {
	c.cfg.Catalog.RemoveChunk(old.ID)
	if err := c.cfg.Medium.Remove(ctx, old.Name); err != nil && !errors.Is(err, media.ErrNotExist) {
		return fmt.Errorf("delete chunk %v, which was written anew: %w", old.ID, err)
	}
	return nil
}

func (r *rewriting) write(ctx context.Context, left []piece) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	for i := range left {
		if err := r.add(ctx, &left[i]); err != nil {
			return err
		}
	}
	r.buf = chunkfmt.AppendFooter(r.buf, r.tags)
	if err := r.flush(ctx); err != nil {
		return err
	}
	if err := r.app.Sync(ctx); err != nil {
		return err
	}
	if err := r.c.cfg.Catalog.SealChunk(r.header.Chunk, r.app.Size()); err != nil {
		return err
	}
	app := r.app
	r.app = nil // it is no longer this one's to discard
	return app.Close()
}

// begin creates the chunk. Its header is that of the old one but for the generation.
func (r *rewriting) begin(ctx context.Context) error {
	m := r.c.cfg.Medium
	var b [chunkfmt.ChunkHeaderSize]byte
	if _, err := m.ReadAt(ctx, r.old.Name, b[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	h, err := chunkfmt.ParseChunkHeader(b[:])
	if err == nil && (h.Chunk != r.old.ID || h.Volume != r.c.cfg.Volume) {
		err = fmt.Errorf("its header is that of chunk %v of volume %v", h.Chunk, h.Volume)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	h.Chunk = h.Chunk.Of(h.Chunk.Generation() + 1)
	if r.app, err = m.Create(ctx, media.ChunkName(h.Volume, h.Chunk)); err != nil {
		return err
	}
	r.header = h
	if err := r.c.cfg.Catalog.AddChunk(h); err != nil {
		return err
	}
	r.buf, r.at = h.Append(r.buf[:0]), 0
	return nil
}

// add writes one tag and, if it stays, what follows it, as it is.
func (r *rewriting) add(ctx context.Context, p *piece) error {
	tag, start := p.tag, len(r.buf)
	n := chunkfmt.TagSize + tag.StoredLen()
	if start+n > appendBytes && start > 0 {
		if err := r.flush(ctx); err != nil {
			return err
		}
		start = 0
	}
	if p.from != 0 {
		if err := r.read(ctx, &tag, p.from); err != nil {
			return err
		}
	} else {
		r.buf = append(r.buf, make([]byte, n)...)
	}
	tag.Offset = uint64(r.at) + uint64(start)
	tag.Put(r.buf[start:])
	r.tags = append(r.tags, tag)
	return nil
}

// read appends to buf a tag of the old chunk with what follows it, and checks them.
func (r *rewriting) read(ctx context.Context, tag *chunkfmt.Tag, from int64) error {
	start := len(r.buf)
	r.buf = append(r.buf, make([]byte, chunkfmt.TagSize+tag.StoredLen())...)
	b := r.buf[start:]
	if _, err := r.c.cfg.Medium.ReadAt(ctx, r.old.Name, b, from); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: %v is cut short", errDamaged, tag.Seq)
		}
		return err
	}
	stands, err := chunkfmt.ParseTag(b)
	if err == nil && stands != *tag {
		err = errors.New("the footer's directory has another one")
	}
	if err == nil {
		err = tag.Check(b[chunkfmt.TagSize:])
	}
	if err != nil {
		return fmt.Errorf("%w: %v: %w", errDamaged, tag.Seq, err)
	}
	return nil
}

// flush appends what was gathered.
func (r *rewriting) flush(ctx context.Context) error {
	if _, err := r.app.Append(ctx, r.buf); err != nil {
		return err
	}
	r.c.cfg.Catalog.Extend(r.header.Chunk, r.tags[r.told:])
	r.told = len(r.tags)
	r.at += int64(len(r.buf))
	r.buf = r.buf[:0]
	return nil
}

// discard removes what was written in vain. Where that fails too, the next run does it.
func (r *rewriting) discard(ctx context.Context) error {
	if r.header.Chunk == 0 {
		return nil
	}
	r.c.cfg.Catalog.RemoveChunk(r.header.Chunk)
	if r.app != nil {
		_ = r.app.Close() // nothing of it is of use
	}
	return r.c.cfg.Medium.Remove(context.WithoutCancel(ctx), media.ChunkName(r.header.Volume, r.header.Chunk))
}
