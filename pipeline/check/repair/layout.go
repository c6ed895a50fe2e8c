package repair

import (
	"errors"

	"coffer/chunkfmt"
)

// slot is a stretch of a chunk that one tag fills with what stands behind it.
type slot struct {
	at    int64
	size  int64 // with the tag
	tag   chunkfmt.Tag
	known bool // else what stands there is left as it is
	lost  bool // the tag is not a copy of what stood there: there is no more than a number
}

// minSlot is the shortest a tag can be with what stands behind it.
const minSlot = chunkfmt.TagSize + chunkfmt.SealOverhead

// layout finds out what stands where: from the directory, or from the tags that are whole and what is known of those
// between them.
func (c *chunk) layout() error {
	directory, err := chunkfmt.ReadFooter(c.old, c.info.Size)
	if err == nil {
		c.finished, c.footer = true, chunkfmt.ChunkHeaderSize
		for at, t := range chunkfmt.Places(directory) {
			c.add(at, *t)
		}
		return nil
	}
	if !isFormat(err) {
		return err
	}
	ended := !errors.Is(err, chunkfmt.ErrNoFooter) // with a footer that is damaged
	before, err := c.before()
	if err != nil {
		return err
	}
	c.footer = chunkfmt.ChunkHeaderSize
	sc := chunkfmt.NewScanner(c.old, c.info.Size)
	for {
		e, err := sc.Next()
		var damage *chunkfmt.DamageError
		if errors.As(err, &damage) {
			continue
		}
		if err != nil && !isFormat(err) {
			return err
		}
		if err != nil {
			break
		}
		if e.At > c.footer {
			if err := c.gap(e.At, before, e.Tag.Seq); err != nil {
				return err
			}
		}
		c.add(e.At, e.Tag)
		before = e.Tag.Seq
	}
	return c.end(before, ended)
}

func (c *chunk) add(at int64, t chunkfmt.Tag) {
	size := int64(chunkfmt.TagSize + t.StoredLen())
	c.slots = append(c.slots, slot{at: at, size: size, tag: t, known: true})
	c.footer = at + size
}

// before is the last number before those of the chunk; 0: not known.
func (c *chunk) before() (chunkfmt.Seq, error) {
	if h, err := c.readHeader(); err == nil && h.First != 0 {
		return h.First - 1, nil
	} else if err != nil && !isFormat(err) {
		return 0, err
	}
	if c.id.Number() == 1 {
		return chunkfmt.MakeSeq(c.id.Ordinal(), 0), nil
	}
	return c.session.last[chunkfmt.MakeChunkID(c.id.Ordinal(), c.id.Number()-1, c.id.Mirror())], nil
}

// gap fills the stretch up to a place with the tags between two numbers. What can't be told is left.
func (c *chunk) gap(to int64, after, before chunkfmt.Seq) error {
	size := to - c.footer
	slots, ok, err := c.expected(after, before, size/minSlot)
	if err != nil {
		return err
	}
	if !ok || !share(slots, c.footer, to) {
		slots = []slot{{size: size}}
	}
	c.place(slots)
	c.footer = to
	return nil
}

// place puts slots behind those that are there.
func (c *chunk) place(slots []slot) {
	for _, s := range slots {
		s.at = c.footer
		if s.known {
			s.tag.Offset = uint64(s.at)
		}
		c.slots = append(c.slots, s)
		c.footer += s.size
	}
}

// expected lists what must stand between two numbers, at most so many; false if that can't be told. The places and sizes
// of some are 0: not known.
func (c *chunk) expected(after, before chunkfmt.Seq, most int64) (slots []slot, ok bool, err error) {
	if after == 0 || after >= before {
		return nil, false, nil
	}
	if c.id.Mirror() {
		seqs := c.session.between(false, after, before)
		for _, seq := range seqs {
			slots = append(slots, c.copied(c.session.places[0][seq].tag))
		}
		return slots, int64(len(seqs)) <= most, nil
	}
	if uint64(before-after-1) > uint64(most) {
		return nil, false, nil
	}
	for seq := after + 1; seq < before; seq++ {
		s, err := c.expectedAt(seq)
		if err != nil {
			return nil, false, err
		}
		if s.size == 0 {
			// Only what is given up may be laid out at will.
			if up, err := c.r.up(c.ctx, seq); err != nil || !up {
				return nil, false, err
			}
		}
		slots = append(slots, s)
	}
	return slots, true, nil
}

// expectedAt is the slot of a number: a copy of metadata, or else a group, of which the index may know the place.
func (c *chunk) expectedAt(seq chunkfmt.Seq) (slot, error) {
	if p, ok := c.session.places[1][seq]; ok {
		return c.copied(p.tag), nil
	}
	_, hint, there, err := c.r.Index.Group(seq)
	if err != nil {
		return slot{}, err
	}
	s := slot{tag: chunkfmt.Tag{Version: chunkfmt.TagVersion, Kind: chunkfmt.KindData, Seq: seq}, known: true, lost: true}
	if there && hint.Chunk == c.id {
		s.at, s.size = int64(hint.Offset), int64(chunkfmt.TagSize+hint.Length)
	}
	return s, nil
}

// copied is the slot of the other copy of a tag.
func (c *chunk) copied(t chunkfmt.Tag) slot {
	t.Flags &^= chunkfmt.FlagCopy
	if c.id.Mirror() {
		t.Flags |= chunkfmt.FlagCopy
	}
	return slot{size: int64(chunkfmt.TagSize + t.StoredLen()), tag: t, known: true}
}

// share lays the slots out between two places: those whose place is known there, what is left evenly to those whose size
// is not known. It says whether that goes.
func share(slots []slot, from, to int64) bool {
	for len(slots) > 0 {
		n := 0
		limit := to
		for n < len(slots) && slots[n].at == 0 {
			n++
		}
		if n < len(slots) {
			limit = slots[n].at
		}
		if !stretchOut(slots[:n], limit-from) {
			return false
		}
		from = limit
		if n < len(slots) {
			from += slots[n].size
			n++
		}
		slots = slots[n:]
	}
	return from == to
}

// stretchOut shares a size out to slots.
func stretchOut(slots []slot, size int64) bool {
	unknown := int64(0)
	for _, s := range slots {
		if size -= s.size; s.size == 0 {
			unknown++
		}
	}
	if unknown == 0 {
		return size == 0
	}
	if size < unknown*minSlot {
		return false
	}
	for i := range slots {
		if slots[i].size == 0 {
			slots[i].size = size / unknown
			size -= slots[i].size
			unknown--
		}
	}
	return true
}

// end finds out whether the chunk has, or had, a footer behind the last tag that was found, and what may stand between.
func (c *chunk) end(before chunkfmt.Seq, ended bool) error {
	for c.info.Size > c.footer && before != 0 {
		if c.info.Size-c.footer == int64(chunkfmt.FooterSize(len(c.slots))) {
			c.finished = true
			return nil
		}
		next := before + 1
		if c.id.Mirror() {
			seqs := c.session.between(false, before, chunkfmt.MakeSeq(c.id.Ordinal(), chunkfmt.MaxNumber))
			if len(seqs) == 0 {
				return nil
			}
			next = seqs[0]
		}
		var s slot
		if c.id.Mirror() {
			s = c.copied(c.session.places[0][next].tag)
		} else {
			var err error
			if s, err = c.expectedAt(next); err != nil {
				return err
			}
		}
		if s.size == 0 {
			return c.rest(before, ended)
		}
		if s.at != 0 && s.at != c.footer || c.footer+s.size > c.info.Size {
			return nil
		}
		c.place([]slot{s})
		before = next
	}
	return nil
}

// rest fills the end of the session's last chunk with what is behind a number, up to the last metadata that has a copy.
// Where nothing there can be read and the places of groups are not known, any will do for those that are given up.
func (c *chunk) rest(before chunkfmt.Seq, ended bool) error {
	copies := c.session.order[side(true)]
	if len(copies) == 0 || c.r.later(c.id) {
		return nil
	}
	slots, ok, err := c.expected(before, copies[len(copies)-1]+1, (c.info.Size-c.footer)/minSlot)
	if err != nil || !ok {
		return err
	}
	to := c.info.Size
	if ended {
		to -= int64(chunkfmt.FooterSize(len(c.slots) + len(slots)))
	}
	if !share(slots, c.footer, to) {
		return nil
	}
	c.place(slots)
	c.finished = ended
	return nil
}

// later says whether the session went on in another chunk behind one.
func (r *repairer) later(id chunkfmt.ChunkID) bool {
	for other := range r.chunks {
		if other.Mirror() == id.Mirror() && other.Ordinal() == id.Ordinal() && other.Number() > id.Number() {
			return true
		}
	}
	return false
}
