package scrub

import (
	"context"
	"errors"
	"fmt"
	"io"

	"coffer/chunkfmt"
	"coffer/media"
)

// progressEvery is how many bytes of a chunk go by between two notes of progress.
const progressEvery = 8 << 20

// chunkScrub is the reading of one chunk.
type chunkScrub struct {
	*scrub
	ctx     context.Context
	info    media.Info
	id      chunkfmt.ChunkID
	of      chunkfmt.VolumeID
	from    int64 // bytes behind tags before it were checked
	w       *window
	sc      *chunkfmt.Scanner
	tags    []chunkfmt.Tag // as the footer's directory has them; nil: no footer
	broken  error          // why the footer cannot be used
	i       int            // directory entries before this one are passed
	at      int64          // place of tags[i]
	last    chunkfmt.Seq   // highest number met
	open    *Finding       // a stretch that ends at the next tag, which tells what stood there
	pending []Finding      // about bytes that may never have been acknowledged
	beyond  []Finding      // of those, about numbers from which on the session went on in another chunk
	noted   int64          // up to where progress was told
}

func isFormat(err error) bool {
	for _, class := range []error{chunkfmt.ErrDamaged, chunkfmt.ErrTruncated, chunkfmt.ErrVersion, chunkfmt.ErrNoFooter, io.EOF} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// chunk checks one chunk, what stands behind tags from an offset on.
func (s *scrub) chunk(ctx context.Context, id chunkfmt.ChunkID, info media.Info, from int64) error {
	c := &chunkScrub{scrub: s, ctx: ctx, of: s.volume.origin, id: id, info: info, from: from, w: s.window(ctx, info.Name)}
	err := c.run()
	c.tellUnreadable()
	if errors.Is(err, media.ErrNotExist) {
		// Removed since it was listed, or written anew: then that counts, from its beginning.
		later, there, err := s.later(ctx, id)
		if err != nil || !there {
			return err
		}
		_, id, _ := media.ParseChunkName(later.Name)
		return s.chunk(ctx, id, later, 0)
	}
	if err != nil {
		return err
	}
	if !id.Mirror() {
		b := &s.volume.before
		if b.id.Ordinal() != id.Ordinal() {
			b.last, b.beyond = 0, nil
		}
		b.id, b.last, b.beyond = id, max(b.last, c.last), append(b.beyond, c.beyond...)
	}
	return nil
}

func (c *chunkScrub) run() error {
	c.at = chunkfmt.ChunkHeaderSize
	if err := c.directory(); err != nil {
		return err
	}
	if c.unfinished() && c.volume.older(c.id) {
		return nil // half written anew
	}
	c.sc = chunkfmt.NewScanner(c.w, c.info.Size)
	if h, err := c.sc.Header(); err == nil {
		c.header(&h)
	} else if !isFormat(err) {
		return err
	}
	for {
		e, err := c.sc.Next()
		var damage *chunkfmt.DamageError
		switch {
		case err == nil:
			err = c.entry(e)
		case errors.As(err, &damage):
			c.damaged(damage)
			err = nil
		case errors.Is(err, io.EOF):
			return c.end()
		case errors.Is(err, chunkfmt.ErrVersion):
			from := c.sc.Valid()
			c.found(Finding{Object: c.info.Name, Offset: from, Length: c.info.Size - from, What: Stretch, Cause: err.Error()})
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// directory reads the footer. A chunk without one may be growing: its present length counts.
func (c *chunkScrub) directory() error {
	tags, err := chunkfmt.ReadFooter(c.w, c.info.Size)
	switch {
	case err == nil:
		c.tags = tags
		return nil
	case !isFormat(err):
		return err
	}
	c.broken = err
	if !errors.Is(err, chunkfmt.ErrNoFooter) {
		return nil
	}
	now, err := c.stat(c.ctx, c.info.Name)
	if err != nil || now.Size <= c.info.Size {
		return err
	}
	c.info = now
	c.w.have = nil
	if tags, err := chunkfmt.ReadFooter(c.w, c.info.Size); err == nil {
		c.tags, c.broken = tags, nil
	} else if !isFormat(err) {
		return err
	}
	return nil
}

// header checks that the chunk is the one that its name says.
func (c *chunkScrub) header(h *chunkfmt.ChunkHeader) {
	if h.Chunk != c.id || h.Volume != c.of {
		c.found(Finding{Object: c.info.Name, Length: chunkfmt.ChunkHeaderSize, What: Header,
			Cause: fmt.Sprintf("it is chunk %v of volume %v in another's place", h.Chunk, h.Volume)})
	}
}

// entry checks one tag that is whole.
func (c *chunkScrub) entry(e chunkfmt.Entry) error {
	if err := c.agree(&e); err != nil {
		c.found(Finding{Object: c.info.Name, Offset: e.At, Length: chunkfmt.TagSize, What: Tag, Kind: e.Tag.Kind,
			Seqs: []Range{{e.Tag.Seq, e.Tag.Seq}}, Cause: err.Error()})
	}
	c.close(e.Tag.Seq)
	c.last = max(c.last, e.Tag.Last())
	end := e.At + int64(chunkfmt.TagSize+e.Tag.StoredLen())
	if end <= c.from || e.Tag.StoredLen() == 0 || c.o.Skip != nil && c.o.Skip(&e.Tag) {
		return nil
	}
	if err := c.payload(&e); err != nil {
		return err
	}
	if end-c.noted >= progressEvery {
		c.noted = end
		c.reached(c.info.Name, end)
	}
	return nil
}

// payload reads what stands behind a tag.
func (c *chunkScrub) payload(e *chunkfmt.Entry) error {
	n := e.Tag.StoredLen()
	if cap(c.stored) < n {
		c.stored = make([]byte, n+n/4)
	}
	b := c.stored[:n]
	if _, err := c.w.ReadAt(b, e.At+chunkfmt.TagSize); err != nil {
		return err
	}
	options, sealed := b[:e.Tag.OptionsLen], b[e.Tag.OptionsLen:]
	err := e.Tag.Check(options, sealed)
	if err == nil && c.o.Visit != nil {
		err = c.o.Visit(media.Chunk{ID: c.id, Name: c.info.Name}, &e.Tag, e.At, options, sealed)
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
	}
	if err == nil {
		return nil
	}
	c.doubt(Finding{Object: c.info.Name, Offset: e.At + chunkfmt.TagSize, Length: int64(n), What: Payload, Kind: e.Tag.Kind,
		Seqs: []Range{{e.Tag.Seq, e.Tag.Seq}}, Cause: err.Error()}, e.Tag.Seq)
	return nil
}

// doubt tells of damage to a tag, unless it never counted.
func (c *chunkScrub) doubt(f Finding, seq chunkfmt.Seq) {
	if last, ok := c.volume.last[seq.Ordinal()]; ok && seq > last && !c.endsSession() {
		return // void: the next session went on from before it
	}
	if c.unfinished() {
		c.pending = append(c.pending, f) // may be torn: see end
		return
	}
	c.found(f)
}

// endsSession says that the chunk is the last of a session that came to its end, so that all of it was made stable. The
// next session goes on from the last batch, and leaves the session's footer out.
func (c *chunkScrub) endsSession() bool {
	n := len(c.tags)
	return n > 0 && c.tags[n-1].Kind == chunkfmt.KindSessionFooter || c.tags == nil && !c.unfinished()
}

// agree compares a tag with the directory.
func (c *chunkScrub) agree(e *chunkfmt.Entry) error {
	for c.i < len(c.tags) && c.at < e.At {
		c.pass()
	}
	if c.i >= len(c.tags) {
		if c.tags == nil {
			return nil
		}
		return errors.New("the footer's directory does not have it")
	}
	if c.at != e.At || c.tags[c.i] != e.Tag {
		return fmt.Errorf("the footer's directory has %v %v at %d", c.tags[c.i].Kind, c.tags[c.i].Seq, c.at)
	}
	c.pass()
	return nil
}

// pass goes on to the next entry of the directory.
func (c *chunkScrub) pass() {
	c.at += int64(chunkfmt.TagSize + c.tags[c.i].StoredLen())
	c.i++
}

// damaged tells of a stretch in which nothing stands that is whole, as precisely as the directory allows.
func (c *chunkScrub) damaged(d *chunkfmt.DamageError) {
	f := Finding{Object: c.info.Name, Offset: d.From, Length: d.To - d.From, What: Stretch, Cause: d.Cause.Error()}
	switch {
	case d.From == 0 && d.To == chunkfmt.ChunkHeaderSize:
		f.What = Header
	case c.tags != nil:
		for c.i < len(c.tags) && c.at < d.From {
			c.pass()
		}
		f.What = Tag
		for n := 0; c.i < len(c.tags) && c.at < d.To; n++ {
			t := &c.tags[c.i]
			if f.Kind = t.Kind; n > 0 {
				f.What, f.Kind = Stretch, chunkfmt.KindNone
			}
			f.Seqs = addSeqs(f.Seqs, t.Seq, t.Last())
			c.last = max(c.last, t.Last())
			c.pass()
		}
		if len(f.Seqs) == 0 {
			f.What = Footer
		}
	case d.To == c.info.Size:
		f.What = Footer
	}
	switch {
	case len(f.Seqs) > 0:
		c.doubt(f, f.Seqs[0].First)
	case c.tags == nil && f.What == Stretch:
		c.close(0)
		c.open = &f
	default:
		c.found(f)
	}
}

// close ends the open stretch before the tag of a number; 0: that is not known. Without a directory the
// numbers that were passed over tell which tags it was.
func (c *chunkScrub) close(seq chunkfmt.Seq) {
	f := c.open
	if c.open = nil; f == nil {
		return
	}
	first := c.last + 1
	if c.last == 0 {
		first = chunkfmt.MakeSeq(c.id.Ordinal(), 1)
		if h, err := c.sc.Header(); err == nil {
			first = h.First
		}
	}
	if first >= seq || c.id.Mirror() { // of copies the numbers have gaps
		if c.unfinished() {
			c.pending = append(c.pending, *f)
		} else {
			c.found(*f)
		}
		return
	}
	f.Seqs = []Range{{first, seq - 1}}
	c.doubt(*f, first)
}

// unfinished says that the chunk has no footer, so that its end may be torn.
func (c *chunkScrub) unfinished() bool {
	return c.tags == nil && errors.Is(c.broken, chunkfmt.ErrNoFooter)
}

func addSeqs(ranges []Range, first, last chunkfmt.Seq) []Range {
	if n := len(ranges); n > 0 && ranges[n-1].Last+1 == first {
		ranges[n-1].Last = last
		return ranges
	}
	return append(ranges, Range{first, last})
}

func (c *chunkScrub) tellUnreadable() {
	for _, u := range c.w.failed {
		c.found(Finding{Object: c.info.Name, Offset: u.from, Length: u.to - u.from, What: Unreadable, Cause: u.err.Error()})
	}
}
