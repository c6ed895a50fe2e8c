package stage

import (
	"context"
	"sync"
	"sync/atomic"
)

// flow keeps account of what was accepted and is not stored and acknowledged, in bytes as they will be stored where that is
// known, and as plaintext before. Where the way to the store is slow, it keeps that within a limit, so that who waits for
// an acknowledgement need not wait for long. Methods are safe for concurrent use.
type flow struct {
	limit   atomic.Int64 // 0: none
	pending atomic.Int64
	piped   atomic.Int64 // of pending, what the head has sent on; the rest is in slots and streams
	waiting atomic.Int32 // who waits in admit
	waits   atomic.Int64 // how often somebody has had to

	turn chan struct{} // holds one token while somebody waits: who comes first is served first

	mu    sync.Mutex // guards moved; nothing is locked after it
	moved chan struct{}
}

func newFlow() *flow { return &flow{turn: make(chan struct{}, 1), moved: make(chan struct{})} }

// take counts n bytes, if there is room for them, or half of all.
func (f *flow) take(n int64) bool {
	for {
		limit, pending := f.limit.Load(), f.pending.Load()
		if limit > 0 && pending+n > limit && pending > limit/2 {
			return false
		}
		if f.pending.CompareAndSwap(pending, pending+n) {
			return true
		}
	}
}

// add counts n bytes in any case; a negative n takes bytes off that were not sent on.
func (f *flow) add(n int64) {
	if f.pending.Add(n); n < 0 {
		f.wake()
	}
}

// pipe says that n bytes were sent on.
func (f *flow) pipe(n int64) { f.piped.Add(n) }

// settle takes n bytes off that were sent on.
func (f *flow) settle(n int64) {
	f.piped.Add(-n)
	f.add(-n)
}

// wake is for who waits in admit: something was stored, or came into a stream, from where it can be sent on.
func (f *flow) wake() {
	if f.waiting.Load() == 0 {
		return
	}
	f.mu.Lock()
	close(f.moved)
	f.moved = make(chan struct{})
	f.mu.Unlock()
}

// bound sets the limit.
func (f *flow) bound(n int64) {
	if f.limit.Swap(n) != n {
		f.wake()
	}
}

// idle says that too little of what is pending is on its way: nothing of the rest is acknowledged before it is sent on.
func (f *flow) idle() bool { return f.piped.Load() <= f.limit.Load()/4 }

// admit waits until n bytes may be taken, and takes them. While it waits, push sends on what is in streams, if there is
// something, and says so. gone ends the wait with ErrClosed.
func (f *flow) admit(ctx context.Context, n int64, gone <-chan struct{}, push func() bool) error {
	if f.waiting.Load() == 0 && f.take(n) {
		return nil
	}
	f.waits.Add(1)
	f.waiting.Add(1)
	defer f.waiting.Add(-1)
	select {
	case f.turn <- struct{}{}:
	case <-gone:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-f.turn }()
	for {
		f.mu.Lock()
		moved := f.moved
		f.mu.Unlock()
		if f.take(n) {
			return nil
		}
		if f.idle() && push() {
			continue
		}
		select {
		case <-moved:
		case <-gone:
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// early is how full a stream's buffer gets before it is sent on, bytes; more than there are: as full as it can. With a
// small limit one buffer would be all of it, and nothing on its way.
func (f *flow) early() int {
	const (
		much  = 16 * BufferSize
		least = normalBlock
	)
	switch limit := f.limit.Load(); {
	case limit == 0 || limit >= much:
		return BufferSize + 1
	default:
		return int(max(limit/4, least))
	}
}
