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
	return c.end(before)
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
	from, size := c.footer, to-c.footer
	var slots []slot
	ok := after != 0 && after < before
	if ok {
		var err error
		if slots, err = c.expected(from, after, before, size/minSlot); err != nil {
			return err
		}
		ok = slots != nil && stretchOut(slots, size)
	}
	if !ok {
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

// expected lists what must stand, from a place on, between two numbers, at most so many; nil if that can't be told. The
// sizes of some may be 0: not known.
func (c *chunk) expected(from int64, after, before chunkfmt.Seq, most int64) ([]slot, error) {
	if c.id.Mirror() {
		seqs := c.session.between(false, after, before)
		if int64(len(seqs)) > most {
			return nil, nil
		}
		var slots []slot
		for _, seq := range seqs {
			slots = append(slots, c.copied(c.session.places[0][seq].tag))
		}
		return slots, nil
	}
	if uint64(before-after-1) > uint64(most) {
		return nil, nil
	}
	var slots []slot
	for seq := after + 1; seq < before; seq++ {
		s, err := c.expectedAt(from, seq)
		if err != nil {
			return nil, err
		}
		slots = append(slots, s)
		from += s.size
	}
	return slots, nil
}

// expectedAt is the slot of a number: a copy of metadata, or else a group, of which the index may know the place.
func (c *chunk) expectedAt(at int64, seq chunkfmt.Seq) (slot, error) {
	if p, ok := c.session.places[1][seq]; ok {
		return c.copied(p.tag), nil
	}
	_, hint, there, err := c.r.Index.Group(seq)
	if err != nil {
		return slot{}, err
	}
	s := slot{tag: chunkfmt.Tag{Version: chunkfmt.TagVersion, Kind: chunkfmt.KindData, Seq: seq}, known: true, lost: true}
	if there && hint.Chunk == c.id && hint.Offset == uint64(at) {
		s.size = int64(chunkfmt.TagSize + hint.Length)
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

// stretchOut shares what is left of a stretch out to the slots whose size is not known, which must stand side by side:
// nothing of what stood there can be read.
func stretchOut(slots []slot, size int64) bool {
	first, unknown := -1, 0
	for i := range slots {
		size -= slots[i].size
		if slots[i].size == 0 {
			if first >= 0 && i != first+unknown {
				return false
			}
			if first < 0 {
				first = i
			}
			unknown++
		}
	}
	if unknown == 0 {
		return size == 0
	}
	for i := first; i < first+unknown-1; i++ {
		slots[i].size = minSlot
		size -= minSlot
	}
	slots[first+unknown-1].size = size
	return size >= minSlot && size <= chunkfmt.TagSize+chunkfmt.MaxSealed
}

// end finds out whether the chunk has, or had, a footer behind the last tag that was found, and what may stand between.
func (c *chunk) end(before chunkfmt.Seq) error {
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
			if s, err = c.expectedAt(c.footer, next); err != nil {
				return err
			}
		}
		if s.size == 0 || c.footer+s.size > c.info.Size {
			return nil
		}
		c.place([]slot{s})
		before = next
	}
	return nil
}
