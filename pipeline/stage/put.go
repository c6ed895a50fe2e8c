package stage

import (
	"context"
	"fmt"
)

// Put takes in p, at most SmallBlock bytes, as one block that is of no file: one of a group that is to go. It is stored
// also if it is known, as nobody has looked whether what is known is whole. It copies p. The block has its place when
// the next cut is journalled. It may wait as Begin does, and has its errors.
func (c *Collector) Put(ctx context.Context, p []byte) (*Block, error) {
	if len(p) == 0 || len(p) > SmallBlock {
		return nil, fmt.Errorf("put a block of %d bytes: %w", len(p), ErrTooLong)
	}
	if err := c.space.admit(ctx, len(p)); err != nil {
		return nil, err
	}
	c.gate.RLock()
	closed := c.closed
	c.gate.RUnlock()
	if closed {
		return nil, fmt.Errorf("put: %w", ErrClosed)
	}
	if err := c.admit(ctx, int64(len(p))); err != nil {
		return nil, err
	}
	bufs, err := c.reserve(ctx, 1)
	if err != nil {
		c.flow.add(-int64(len(p)))
		return nil, err
	}
	c.gate.RLock()
	defer c.gate.RUnlock()
	if c.closed {
		c.free(bufs[0])
		c.flow.add(-int64(len(p)))
		return nil, fmt.Errorf("put: %w", ErrClosed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.roomShared(len(p)) {
		c.port.FreeBuf(bufs[0])
		c.unholdLocked(1)
		b := c.copyShared(p)
		b.anew = true
		return b, nil
	}
	b := c.newBlock(bufs[0].Data(), 0, copy(bufs[0].Data(), p))
	b.anew = true
	c.newShared(bufs[0], len(p), b)
	return b, nil
}
