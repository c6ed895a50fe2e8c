package stage

import (
	"context"
	"fmt"
	"sync"

	"coffer/pipeline"
)

// BufferSize is the data size of the pipe's buffers, the longest block and the
// longest write, bytes.
const BufferSize = 1 << 20

// Headroom is what a buffer needs in front of its data, bytes: room for the
// tags of all groups that a buffer can hold.
const Headroom = 64 << 10

// Collector is the head of the pipe: it takes in what is written. Methods are
// safe for concurrent use.
//
// It holds at most three quarters of its share of the pipe's buffers, and no more
// than the share less two, in streams: the rest is for what is in the pipe. What
// it holds altogether (streams, the shared buffer, slots) is accounted in held
// before it is allocated and never exceeds the share, so whoever waits for an
// allocation waits only for stages behind, which never wait for the head.
// Whoever waits for held to sink holds no slot himself. Slots are released without
// waiting for anything; then held sinks, or what they held is in a stream or the
// shared buffer, which can be sent on.
type Collector struct {
	cut     *cutter
	mem     *memory
	groups  *Groups
	space   *space
	flow    *flow
	waiters *waiters

	started chan struct{} // closed when the pipe runs
	port    *pipeline.Port
	share   int
	limit   int           // of streams with a buffer
	drained chan struct{} // closed when closed and nothing is held
	// turn holds one token while somebody reserves: who comes first is served
	// first, also if he needs more than those behind him.
	turn chan struct{}

	// gate makes a cut an instant: whatever sends a buffer or changes a
	// stream holds it for reading, a cut for writing. All others may be taken
	// after it.
	gate   sync.RWMutex
	closed bool // guarded by gate

	// mu guards what follows. Run.mu may be taken after it.
	mu      sync.Mutex
	streams lru
	held    int           // buffers in streams, slots and shared
	moved   chan struct{} // closed by wake; nil: nobody waits
	ending  bool          // closed, and drained is to be closed
	shared  *pipeline.Buffer
	used    int // bytes of shared
	blocks  []*Block
}

// Run is the head module's.
func (c *Collector) Run(ctx context.Context, p *pipeline.Port) error {
	c.port, c.share = p, p.Share()
	c.limit = max(1, min(c.share-2, c.share*3/4))
	close(c.started)
	select {
	case <-c.drained:
		return nil
	case <-ctx.Done():
		c.waiters.fail(fmt.Errorf("pipe has stopped: %w", ErrClosed))
		return context.Cause(ctx)
	}
}

// reserve accounts for k buffers and allocates them. It waits for the pipe, but
// not while the medium is full: media.ErrFull.
func (c *Collector) reserve(ctx context.Context, k int) ([]*pipeline.Buffer, error) {
	select {
	case <-c.started:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c.share < 4 {
		k = 1
	}
	ctx, done := c.waiters.patience(ctx)
	defer done()
	if err := c.hold(ctx, k); err != nil {
		return nil, err
	}
	return c.alloc(ctx, k)
}

// hold accounts for k buffers. It waits for those that are in slots, and sends on what others hold if there are none.
func (c *Collector) hold(ctx context.Context, k int) error {
	select {
	case c.turn <- struct{}{}:
	case <-c.port.Done():
		return ErrClosed
	case <-ctx.Done():
		// What is there is to be had, also by who cannot wait.
		select {
		case c.turn <- struct{}{}:
		default:
			return context.Cause(ctx)
		}
	}
	defer func() { <-c.turn }()
	for {
		c.mu.Lock()
		if c.held+k <= c.share {
			c.held += k
			c.mu.Unlock()
			return nil
		}
		// What slots have they give back soon. Who would rather send on what a stream holds ends its block where the
		// file goes on, and the block is no other's then.
		if c.held > c.idle() {
			if c.moved == nil {
				c.moved = make(chan struct{})
			}
			moved := c.moved
			c.mu.Unlock()
			select {
			case <-moved:
			case <-c.port.Done():
				return ErrClosed
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		c.mu.Unlock()
		c.push()
	}
}

// idle is how many buffers are held that nobody is at work with, and that can be sent on; c.mu is held.
func (c *Collector) idle() int {
	if c.shared != nil {
		return c.streams.n + 1
	}
	return c.streams.n
}

func (c *Collector) alloc(ctx context.Context, k int) ([]*pipeline.Buffer, error) {
	bufs := make([]*pipeline.Buffer, 0, k)
	for range k {
		b, err := c.port.AllocBuf(ctx)
		if err != nil {
			for _, b := range bufs {
				c.port.FreeBuf(b)
			}
			c.unhold(k)
			return nil, fmt.Errorf("waiting for the pipe: %w", err)
		}
		bufs = append(bufs, b)
	}
	return bufs, nil
}

// unhold takes k buffers off the account.
func (c *Collector) unhold(k int) {
	c.mu.Lock()
	c.unholdLocked(k)
	c.mu.Unlock()
}

func (c *Collector) unholdLocked(k int) {
	c.held -= k
	c.wake()
	if c.ending && c.held == 0 {
		c.ending = false
		close(c.drained)
	}
}

// wake is for who waits in hold: held has sunk, or there is something to send
// on, so that it can be made to sink. c.mu is held.
func (c *Collector) wake() {
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

// free gives a held buffer back.
func (c *Collector) free(b *pipeline.Buffer) {
	c.port.FreeBuf(b)
	c.unhold(1)
}

// send passes a held buffer on. The caller holds gate.
func (c *Collector) send(b *pipeline.Buffer, used int, blocks []*Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendLocked(b, used, blocks)
}

func (c *Collector) sendLocked(b *pipeline.Buffer, used int, blocks []*Block) {
	b.Length, b.Payload = used, &load{blocks}
	c.flow.pipe(lengthOf(blocks))
	c.port.SendBuf(b)
	c.unholdLocked(1)
}

func lengthOf(blocks []*Block) (n int64) {
	for _, b := range blocks {
		n += int64(b.n)
	}
	return n
}

// push sends on what is held longest, and says whether there is anything.
func (c *Collector) push() bool {
	c.mu.Lock()
	victim, shared := c.streams.earliest(), c.shared
	c.mu.Unlock()
	switch {
	case victim != nil:
		c.evict(victim)
	case shared != nil:
		c.sendShared()
	default:
		return false
	}
	return true
}

// touch notes that s was written, and holds a buffer or not.
func (c *Collector) touch(s *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.buf != nil {
		c.streams.touch(s)
		c.wake()
	} else {
		c.streams.remove(s)
	}
}

// evict ends the run of s, for its buffer.
func (c *Collector) evict(s *Stream) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.endRun(s)
}

// trim evicts the streams written least recently, until the limit is kept.
func (c *Collector) trim() {
	for {
		c.mu.Lock()
		var victim *Stream
		if c.streams.n > c.limit {
			victim = c.streams.earliest()
		}
		c.mu.Unlock()
		if victim == nil {
			return
		}
		c.evict(victim)
	}
}

// Finish ends the run of s: its file was closed, or is changed otherwise. The
// next write begins a new run. It never waits.
func (c *Collector) Finish(s *Stream) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.endRun(s)
}

// newBlock makes a block of the bytes of buf's data from at to end.
func (c *Collector) newBlock(data []byte, at, end int) *Block {
	return &Block{n: end - at, mem: c.mem, groups: c.groups, at: at, plain: data[at:end:end]}
}
