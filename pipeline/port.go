package pipeline

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Port is what one instance of a module sees of its pipe. All methods may be called from many
// goroutines at once; those of a head's port typically are, by whoever has data to send.
type Port struct {
	pipe     *Pipe
	stage    *stage
	instance int

	mu   sync.Mutex // guards what follows; nothing is locked after it
	open []uint64   // numbers of a bracket received and not yet settled; rarely more than one
}

// Name is the name of the module.
func (p *Port) Name() string { return p.stage.spec.Name }

// Instance is the number of the instance, from 0.
func (p *Port) Instance() int { return p.instance }

// Share is how many buffers the module, all instances together, may have allocated at a time; 0 if
// it does not allocate.
func (p *Port) Share() int { return p.stage.share }

// AllocBuf waits for the module's share and takes a free buffer. Its bytes are what the last user
// left, its fields zero. Callers are served in the order in which they came, over all instances.
// Errors: ErrStopped, ErrFinished, or the cause of ctx's end; ErrMisuse if the stage does not allocate.
func (p *Port) AllocBuf(ctx context.Context) (*Buffer, error) {
	if p.stage.alloc == nil {
		return nil, p.fault("allocates, which its specification rules out")
	}
	b, err := p.pipe.pool.alloc(ctx, p.stage.alloc)
	if err != nil {
		return nil, fmt.Errorf("%s: allocate: %w", p.Name(), err)
	}
	return b, nil
}

// ReceiveBuf waits for the next buffer from the stage before. It returns io.EOF, bare, when that
// stage has finished and everything it sent was received. Instances are served in the order in
// which they came. Other errors: ErrStopped, or the cause of ctx's end; ErrMisuse at the head, and
// in a bracket while the instance has a number that it has not settled.
func (p *Port) ReceiveBuf(ctx context.Context) (*Buffer, error) {
	if p.stage.in == nil {
		return nil, p.fault("is the head and receives")
	}
	// All others in the bracket may be waiting for that number.
	if n := p.unsettled(); n > 0 {
		return nil, p.fault(fmt.Sprintf("receives before it has settled %d numbers", n))
	}
	return p.received(p.stage.in.receive(ctx))
}

// TryReceive is ReceiveBuf that returns ErrEmpty, bare, instead of waiting.
func (p *Port) TryReceive() (*Buffer, error) {
	if p.stage.in == nil {
		return nil, p.fault("is the head and receives")
	}
	return p.received(p.stage.in.tryReceive())
}

func (p *Port) received(b *Buffer, err error) (*Buffer, error) {
	switch {
	case err == io.EOF || err == ErrEmpty:
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%s: receive: %w", p.Name(), err)
	}
	if p.stage.bracket != nil {
		p.mu.Lock()
		p.open = append(p.open, b.Seq)
		p.mu.Unlock()
	}
	return b, nil
}

// SendBuf passes b on to the next stage; it never waits, and b belongs to someone else from then
// on. In a bracket b.Seq must be a number that this instance received and has not settled. When the
// pipe has stopped, b is freed. Misuse: at the tail, a buffer that this stage neither allocated nor
// received last, or no longer holds, a send after all instances have returned.
func (p *Port) SendBuf(b *Buffer) {
	st := p.stage
	if st.out == nil {
		p.fault("is the tail and sends")
		return
	}
	if b.holder.Load() != st || b.state.Load() != stateHeld {
		p.fault("sends a buffer that it does not hold")
		return
	}
	if st.bracket == nil {
		b.Seq = 0
	} else if !p.settled(b.Seq) {
		p.fault(fmt.Sprintf("sends number %d, which it does not have", b.Seq))
		return
	}
	if !b.state.CompareAndSwap(stateHeld, stateQueued) {
		p.fault("sends a buffer twice at a time")
		return
	}
	st.held.Add(-1)
	st.sent.Add(1)
	st.bytesOut.Add(uint64(b.Length))
	if err := st.out.send(b); err != nil {
		p.pipe.reclaim(b)
		p.fault("sends after its end")
	}
}

// Skip settles a number of a bracket for which nothing will be sent, so that higher ones need not
// wait for it. It frees nothing.
func (p *Port) Skip(seq uint64) {
	if p.stage.bracket == nil || !p.settled(seq) {
		p.fault(fmt.Sprintf("skips number %d, which it does not have", seq))
		return
	}
	if err := p.stage.bracket.exit.skip(seq); err != nil {
		p.fault("skips after its end")
	}
}

// FreeBuf gives b back to the pool, and its share to the module that allocated it. b may be held by
// this stage or by one before it, which passed it on inside of the payload of another. Misuse: any
// other buffer.
func (p *Port) FreeBuf(b *Buffer) {
	holder := b.holder.Load()
	if holder.index > p.stage.index || !b.state.CompareAndSwap(stateHeld, stateDead) {
		p.fault("frees a buffer that was sent or freed")
		return
	}
	if p.pipe.strict {
		b.poison()
	}
	holder.held.Add(-1)
	p.pipe.pool.release(b)
}

// Queue says how many buffers are ready to be received by this stage and by the next, and how many
// there are in the pipe: how far the stage is behind, and ahead. At the head in counts free
// buffers, at the tail out is 0. Cheap; a moment's picture.
func (p *Port) Queue() (in, out, max int) {
	st := p.stage
	if st.in != nil {
		in = int(st.in.depth.Load())
	} else {
		in = p.pipe.pool.freeCount()
	}
	if st.out != nil {
		out = int(st.out.depth.Load())
	}
	return in, out, p.pipe.seg.Buffers()
}

// Waiting is how many wait for a free buffer, in all modules of the pipe. A moment's picture.
func (p *Port) Waiting() int { return p.pipe.pool.waiting() }

// Done is closed when the pipe has stopped or ended. Err of the pipe then says why.
func (p *Port) Done() <-chan struct{} { return p.pipe.stopping }

// settled takes seq off the open numbers; false if it is not among them.
func (p *Port) settled(seq uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.open, seq)
	if i < 0 {
		return false
	}
	p.open[i] = p.open[len(p.open)-1]
	p.open = p.open[:len(p.open)-1]
	return true
}

// unsettled is how many numbers the instance has received and not settled.
func (p *Port) unsettled() int {
	if p.stage.bracket == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// fault stops the pipe because of what this instance did. Once the pipe has stopped, modules and
// the pipe free buffers side by side, and nothing is a fault any more.
func (p *Port) fault(did string) error {
	err := &ModuleError{p.Name(), p.instance, fmt.Errorf("%w: %s %s", ErrMisuse, p.Name(), did), nil}
	if stopped := p.pipe.stopReason(); stopped != nil {
		return fmt.Errorf("%s: %w", p.Name(), stopped)
	}
	p.pipe.Abort(err)
	if p.pipe.strict {
		panic(err)
	}
	return err
}
