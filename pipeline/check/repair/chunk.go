package repair

import (
	"bytes"
	"context"
	"errors"
	"io"

	"coffer/chunkfmt"
	"coffer/media"
)

// chunk is the repair of one chunk.
type chunk struct {
	r       *repairer
	ctx     context.Context
	id      chunkfmt.ChunkID
	info    media.Info
	old     io.ReaderAt
	session *session
	done    Repair

	slots    []slot
	footer   int64 // where the last slot ends
	finished bool  // a footer stands there, whole or not
	patches  []patch
}

// chunk repairs one chunk.
func (r *repairer) chunk(ctx context.Context, id chunkfmt.ChunkID) (Repair, error) {
	s, err := r.session(ctx, id.Ordinal())
	if err != nil {
		return Repair{}, err
	}
	info, there := r.chunks[id]
	c := &chunk{r: r, ctx: ctx, id: id, info: info, session: s}
	c.done.Object = media.ChunkName(r.ID, id)
	if !there {
		return c.done, c.remake()
	}
	c.old = media.Reader(ctx, r.Medium, info.Name)
	if err := c.layout(); err != nil {
		return c.done, err
	}
	if err := c.header(); err != nil {
		return c.done, err
	}
	for i := range c.slots {
		if err := c.slot(&c.slots[i]); err != nil {
			return c.done, err
		}
	}
	if err := c.putFooter(); err != nil {
		return c.done, err
	}
	if len(c.patches) == 0 {
		return c.done, nil
	}
	return c.done, r.replacer.Replace(ctx, info.Name, patched(c.old, c.info.Size, c.patches))
}

func (c *chunk) readHeader() (chunkfmt.ChunkHeader, error) {
	b := make([]byte, chunkfmt.ChunkHeaderSize)
	n, err := c.old.ReadAt(b, 0)
	if n < len(b) && err != nil && !errors.Is(err, io.EOF) {
		return chunkfmt.ChunkHeader{}, err
	}
	return chunkfmt.ParseChunkHeader(b[:n])
}

// header puts the chunk's header right.
func (c *chunk) header() error {
	h, err := c.readHeader()
	if err == nil && h.Chunk == c.id && h.Volume == c.r.ID {
		return nil
	}
	if c.info.Size < chunkfmt.ChunkHeaderSize || errors.Is(err, chunkfmt.ErrVersion) {
		return nil // nothing was ever in it, or somebody else knows what is
	}
	if len(c.slots) == 0 || !c.slots[0].known {
		c.done.Left++
		return nil
	}
	return c.newHeader(0)
}

// newHeader puts the header that the chunk must have at a place.
func (c *chunk) newHeader(at int64) error {
	id, err := c.r.Session(c.ctx, c.id.Ordinal())
	if err != nil {
		return err
	}
	first := c.slots[0].tag.Seq
	for _, s := range c.slots {
		if s.known {
			first = min(first, s.tag.Seq)
		}
	}
	h := chunkfmt.ChunkHeader{
		Version: chunkfmt.HeaderVersion, Layout: chunkfmt.LayoutFramed, Store: c.r.Store, Volume: c.r.ID, Session: id,
		Chunk: c.id, First: first,
	}
	c.fix(at, h.Append(nil))
	return nil
}

// fix puts bytes in the place of damaged ones.
func (c *chunk) fix(at int64, b []byte) { c.fixFrom(at, int64(len(b)), bytes.NewReader(b)) }

// fixFrom puts what is to be read when the chunk is written in the place of damaged bytes.
func (c *chunk) fixFrom(at, n int64, from io.Reader) {
	c.patches = append(c.patches, patch{at, n, from})
	c.done.Fixed++
}

// slot puts one tag right, and what stands behind it.
func (c *chunk) slot(s *slot) error {
	if !s.known {
		c.done.Left++
		return nil
	}
	if s.lost {
		return c.giveUp(s)
	}
	stored, whole, err := c.r.bytes(c.ctx, c.info.Name, s.at, &s.tag)
	if err != nil {
		return err
	}
	if s.tag.Kind == chunkfmt.KindData && whole && s.tag.Flags&chunkfmt.FlagVoid == 0 {
		if whole, err = c.trusted(s, stored); err != nil {
			return err
		}
	}
	if !whole {
		if err := c.payload(s); err != nil {
			return err
		}
	}
	if s.tag.Flags&chunkfmt.FlagVoid == 0 {
		return c.putTag(s)
	}
	return nil
}

// trusted says whether a group that fits its CRC is what was written, if that was doubted.
func (c *chunk) trusted(s *slot, stored []byte) (bool, error) {
	_, bad, err := c.r.Index.Bad(s.tag.Seq)
	if err != nil || !bad {
		return true, err
	}
	options, sealed := stored[:s.tag.OptionsLen], stored[s.tag.OptionsLen:]
	return c.r.Groups.Check(&s.tag, options, sealed) == nil, nil
}

// putTag puts a tag where it must stand, unless it does.
func (c *chunk) putTag(s *slot) error {
	b, want := make([]byte, chunkfmt.TagSize), make([]byte, chunkfmt.TagSize)
	n, err := c.old.ReadAt(b, s.at)
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	s.tag.Put(want)
	if n < len(b) || err != nil || !bytes.Equal(b, want) {
		c.fix(s.at, want)
	}
	return nil
}

// payload puts right what stands behind a tag, from another place of it. If there is none, a group may be given up.
func (c *chunk) payload(s *slot) error {
	if s.tag.Flags&chunkfmt.FlagVoid != 0 {
		return c.void(s)
	}
	places, err := c.others(s.tag.Seq, s.tag.Kind)
	if err != nil {
		return err
	}
	for _, p := range places {
		if p.tag.Nonce != s.tag.Nonce || p.tag.CRC != s.tag.CRC || p.tag.StoredLen() != s.tag.StoredLen() {
			continue
		}
		if _, whole, err := c.r.bytes(c.ctx, p.name, p.at, &p.tag); err != nil {
			return err
		} else if whole {
			c.fixFrom(s.at+chunkfmt.TagSize, s.size-chunkfmt.TagSize, c.r.behind(c.ctx, p))
			return nil
		}
	}
	if s.tag.Kind != chunkfmt.KindData {
		c.done.Left++
		return nil
	}
	return c.giveUp(s)
}

// behind reads what stands behind a tag.
func (r *repairer) behind(ctx context.Context, p place) io.Reader {
	return io.NewSectionReader(media.Reader(ctx, r.Medium, p.name), p.at+chunkfmt.TagSize, int64(p.tag.StoredLen()))
}

// others gives the other places of a tag.
func (c *chunk) others(seq chunkfmt.Seq, kind chunkfmt.Kind) (places []place, err error) {
	if kind != chunkfmt.KindData {
		if p, ok := c.session.places[side(!c.id.Mirror())][seq]; ok {
			places = append(places, p)
		}
		return places, nil
	}
	return c.r.moved(c.ctx, seq, c.id)
}

// moved finds a group in other chunks than one: groups move, and may be in two for a while.
func (r *repairer) moved(ctx context.Context, seq chunkfmt.Seq, from chunkfmt.ChunkID) (places []place, err error) {
	_, hint, there, err := r.Index.Group(seq)
	if err != nil || !there || hint.Chunk == 0 || hint.Chunk == from {
		return nil, err
	}
	info, there := r.chunks[hint.Chunk]
	if !there {
		return nil, nil
	}
	err = r.tags(ctx, info, func(at int64, t *chunkfmt.Tag) {
		if t.Seq == seq && t.Kind == chunkfmt.KindData && t.Flags&chunkfmt.FlagVoid == 0 {
			places = append(places, place{hint.Chunk, info.Name, at, *t})
		}
	})
	return places, err
}

// giveUp puts a void tag in the place of a group, if nothing has to be read from there.
func (c *chunk) giveUp(s *slot) error {
	up, err := c.r.up(c.ctx, s.tag.Seq)
	if err != nil {
		return err
	}
	if !up {
		c.done.Left++
		s.known = s.known && !s.lost
		return nil
	}
	return c.void(s)
}

// noughts stand behind void tags.
var noughts [chunkfmt.MaxSealed]byte

// void puts the void tag of a group in its place, with zeros behind it.
func (c *chunk) void(s *slot) error {
	n := s.size - chunkfmt.TagSize
	if n > chunkfmt.MaxSealed {
		c.done.Left++
		s.known = false
		return nil
	}
	s.tag.Flags = s.tag.Flags&^chunkfmt.FlagOptions | chunkfmt.FlagVoid
	s.tag.OptionsLen, s.tag.SealedLen = 0, uint32(n)
	s.tag.Offset, s.tag.CRC = uint64(s.at), chunkfmt.Checksum(noughts[:n])
	b := make([]byte, chunkfmt.TagSize)
	s.tag.Put(b)
	c.fixFrom(s.at, s.size, io.MultiReader(bytes.NewReader(b), bytes.NewReader(noughts[:n])))
	c.done.Void++
	s.lost = false
	return nil
}

// putFooter puts the footer right.
func (c *chunk) putFooter() error {
	if !c.finished {
		return nil
	}
	var tags []chunkfmt.Tag
	for _, s := range c.slots {
		if !s.known {
			return nil // the directory is not known
		}
		tags = append(tags, s.tag)
	}
	want := chunkfmt.AppendFooter(nil, tags)
	if c.footer+int64(len(want)) != c.info.Size {
		c.done.Left++
		return nil
	}
	is := make([]byte, len(want))
	n, err := c.old.ReadAt(is, c.footer)
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if n < len(is) || err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(is, want) {
		c.fix(c.footer, want)
	}
	return nil
}

// remake makes a chunk that is missing anew, of the metadata that no other chunk of its side has. Groups are healed, or
// lost.
func (c *chunk) remake() error {
	mirror := c.id.Mirror()
	var tags []chunkfmt.Tag
	var parts []io.Reader
	here := c.session.places[side(mirror)]
	c.footer = chunkfmt.ChunkHeaderSize
	for _, seq := range c.session.order[side(!mirror)] {
		p := c.session.places[side(!mirror)][seq]
		if _, there := here[seq]; there || !c.covers(seq) {
			continue
		}
		_, whole, err := c.r.bytes(c.ctx, p.name, p.at, &p.tag)
		if err != nil {
			return err
		}
		if !whole {
			c.done.Left++
			continue
		}
		c.place([]slot{c.copied(p.tag)})
		t := c.slots[len(c.slots)-1].tag
		head := make([]byte, chunkfmt.TagSize)
		t.Put(head)
		tags = append(tags, t)
		parts = append(parts, bytes.NewReader(head), c.r.behind(c.ctx, p))
	}
	if len(tags) == 0 {
		return nil
	}
	if err := c.newHeader(0); err != nil {
		return err
	}
	c.done.Fixed = len(tags)
	all := append([]io.Reader{c.patches[0].from}, parts...)
	all = append(all, bytes.NewReader(chunkfmt.AppendFooter(nil, tags)))
	return c.r.replacer.Replace(c.ctx, c.done.Object, io.MultiReader(all...))
}

// covers says whether a number that no chunk of this side has belongs into this one: behind the chunks before it and
// before those behind it.
func (c *chunk) covers(seq chunkfmt.Seq) bool {
	for id, last := range c.session.last {
		if id.Mirror() != c.id.Mirror() || id.Number() == c.id.Number() {
			continue
		}
		if id.Number() < c.id.Number() && seq < last {
			return false
		}
		if id.Number() > c.id.Number() && seq > last {
			return false
		}
	}
	return true
}
