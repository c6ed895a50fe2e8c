package stage

import "coffer/pipeline"

// endRun ends the run of s, if there is one, with its unfinished block where it
// is, and gives the buffer away: to the pipe, as the shared buffer, or back. It
// needs no buffer. The caller holds gate and s.mu.
//
// A run goes no further than its last unfinished block, though the next write
// may be contiguous: what a run knows of its blocks would grow with the file.
func (c *Collector) endRun(s *Stream) {
	buf := s.buf
	if buf == nil {
		return
	}
	switch {
	case c.closed:
		// The pipe is gone or going: nobody will read the bytes.
		c.free(buf)
	case s.fill == 0:
		c.free(buf)
	case s.clean:
		// Stored by the last cut, as a whole: not once more. No piece is of
		// this run.
		c.flow.add(-int64(s.fill))
		c.free(buf)
	case s.fill <= SmallBlock:
		c.shareSmall(s)
	default:
		blocks, rest := c.cutAll(buf.Data()[:s.fill])
		if rest < s.fill {
			blocks = append(blocks, c.newBlock(buf.Data(), rest, s.fill))
		}
		s.run.end(blocks, nil)
		c.send(buf, s.fill, blocks)
	}
	s.run, s.buf, s.fill, s.clean = nil, nil, 0, false
	c.touch(s)
}

// cutAll cuts data into finished blocks; rest is where the unfinished begins.
func (c *Collector) cutAll(data []byte) (blocks []*Block, rest int) {
	for rest < len(data) {
		n, finished := c.cut.next(data[rest:])
		if !finished {
			break
		}
		blocks = append(blocks, c.newBlock(data, rest, rest+n))
		rest += n
	}
	return blocks, rest
}

// shareSmall makes all of s's buffer one block in the shared buffer. If there
// is no room in that, it is sent, and s's own becomes the shared one.
func (c *Collector) shareSmall(s *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf := s.buf
	if c.roomShared(s.fill) {
		b := c.copyShared(buf.Data()[:s.fill])
		s.run.end([]*Block{b}, nil)
		c.port.FreeBuf(buf)
		c.unholdLocked(1)
		return
	}
	b := c.newBlock(buf.Data(), 0, s.fill)
	s.run.end([]*Block{b}, nil)
	c.newShared(buf, s.fill, b)
}

// maxShared is how many blocks the shared buffer takes: enough to fill it with
// 128 bytes each.
const maxShared = 8192

// roomShared says whether n bytes fit in the shared buffer; c.mu is held.
func (c *Collector) roomShared(n int) bool {
	return c.shared != nil && c.used+n <= BufferSize && len(c.blocks) < maxShared
}

// copyShared copies p into the shared buffer, as one block; c.mu is held.
func (c *Collector) copyShared(p []byte) *Block {
	end := c.used + copy(c.shared.Data()[c.used:], p)
	b := c.newBlock(c.shared.Data(), c.used, end)
	c.used = end
	c.blocks = append(c.blocks, b)
	return b
}

// newShared sends the shared buffer, if there is one, and goes on with buf,
// whose first used bytes are the blocks; c.mu is held.
func (c *Collector) newShared(buf *pipeline.Buffer, used int, blocks ...*Block) {
	if c.shared != nil {
		c.sendLocked(c.shared, c.used, c.blocks)
	}
	c.shared, c.used, c.blocks = buf, used, blocks
	if buf != nil {
		c.wake()
	}
}

// sendShared sends the shared buffer on, if there is one.
func (c *Collector) sendShared() {
	c.gate.RLock()
	defer c.gate.RUnlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newShared(nil, 0)
}
