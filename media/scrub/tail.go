package scrub

import (
	"fmt"

	"coffer/chunkfmt"
)

// end decides what the end of a chunk means: where its last whole thing ends before the chunk does, and
// where damage was found in a chunk that was never finished. A crash tears what was not acknowledged, and
// only that; watermarks and the next session's header say what was.
func (c *chunkScrub) end() error {
	c.close(0)
	if !c.unfinished() {
		return nil // all of it was promised, so all that is wrong was told
	}
	valid := c.sc.Valid()
	if c.id.Mirror() {
		return c.mirrorEnd(valid)
	}
	acked, err := c.acknowledged(c.ctx, c.id.Ordinal())
	if err != nil {
		return err
	}
	for _, f := range c.pending {
		// Damage of which no number is known lies before the next tag that is whole.
		if len(f.Seqs) == 0 && f.Offset < valid || len(f.Seqs) > 0 && f.Seqs[0].First <= acked {
			c.found(f)
		}
	}
	return c.tail(valid, acked)
}

// tail tells what the bytes from valid on are.
func (c *chunkScrub) tail(valid int64, acked chunkfmt.Seq) error {
	expected := c.last + 1
	if c.last == 0 {
		expected = chunkfmt.MakeSeq(c.id.Ordinal(), 1)
		if h, err := c.sc.Header(); err == nil {
			expected = h.First
		} else if b := &c.volume.before; b.id.Ordinal() == c.id.Ordinal() && b.last != 0 {
			expected = b.last + 1
		}
	}
	first, later, err := c.next(c.ctx, c.id)
	if err != nil {
		return err
	}
	upTo := acked
	if later && first != 0 {
		upTo = min(acked, first-1)
	}
	f := Finding{Object: c.info.Name, Offset: valid, Length: c.info.Size - valid}
	switch {
	case expected <= upTo:
		f.What, f.Seqs = Missing, []Range{{expected, upTo}}
		f.Cause = fmt.Sprintf("up to %v all was acknowledged", acked)
	case later && f.Length > 0 && !c.ended:
		f.What, f.Cause = Stray, "the session went on in another chunk"
	default:
		return nil
	}
	c.found(f)
	return nil
}

// mirrorEnd decides for a mirror chunk, which is made stable only when the chunk whose metadata it copies
// is left: until then any of it may be torn. One that another follows was finished, or left.
func (c *chunkScrub) mirrorEnd(valid int64) error {
	_, later, err := c.next(c.ctx, c.id)
	if err != nil {
		return err
	}
	_, over := c.volume.last[c.id.Ordinal()]
	for _, f := range c.pending {
		if f.Offset < valid || later {
			c.found(f)
		}
	}
	if c.info.Size > valid && later && !over && !c.ended {
		c.found(Finding{Object: c.info.Name, Offset: valid, Length: c.info.Size - valid, What: Stray,
			Cause: "the session went on in another chunk"})
	}
	return nil
}
