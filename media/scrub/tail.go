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
		c.mirrorEnd(valid)
		return nil
	}
	upTo, err := c.promised()
	if err != nil {
		return err
	}
	for _, f := range c.pending {
		// Damage of which no number is known lies before the next tag that is whole.
		switch {
		case len(f.Seqs) == 0 && f.Offset < valid || len(f.Seqs) > 0 && f.Seqs[0].First <= upTo:
			c.found(f)
		case len(f.Seqs) > 0:
			c.beyond = append(c.beyond, f)
		}
	}
	c.tail(valid, upTo)
	return nil
}

// promised is up to where the chunk has to be whole: what was acknowledged, unless the session went on before that in
// another chunk, once its server was back.
func (c *chunkScrub) promised() (chunkfmt.Seq, error) {
	acked, err := c.acknowledged(c.ctx, c.id.Ordinal())
	if err != nil {
		return 0, err
	}
	first, err := c.next(c.ctx, c.id)
	if first != 0 {
		return min(acked, first-1), err
	}
	return acked, err
}

// tail tells what the bytes from valid on are.
func (c *chunkScrub) tail(valid int64, upTo chunkfmt.Seq) {
	expected := c.last + 1
	if c.last == 0 {
		expected = chunkfmt.MakeSeq(c.id.Ordinal(), 1)
		if h, err := c.sc.Header(); err == nil {
			expected = h.First
		}
	}
	if b := &c.volume.before; b.id.Ordinal() == c.id.Ordinal() && expected <= upTo && expected <= b.last {
		// The header is not readable; or the client was killed before all that it was to send again was here, so the log has
		// the rest from where it was first: what is damaged there is damaged.
		for _, f := range b.beyond {
			if first := f.Seqs[0].First; first >= expected && first <= upTo {
				c.found(f)
			}
		}
		expected = b.last + 1
	}
	if expected > upTo {
		return // torn
	}
	c.found(Finding{Object: c.info.Name, Offset: valid, Length: c.info.Size - valid, What: Missing,
		Seqs: []Range{{expected, upTo}}, Cause: fmt.Sprintf("up to %v all was acknowledged", upTo)})
}

// mirrorEnd decides for a mirror chunk, which is made stable only when the chunk whose metadata it copies
// is left: until then its end may be torn, also if the session went on in another, once its server was back.
func (c *chunkScrub) mirrorEnd(valid int64) {
	for _, f := range c.pending {
		if f.Offset < valid {
			c.found(f)
		}
	}
}
