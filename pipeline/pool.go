package pipeline

import (
	"container/list"
	"context"
	"fmt"
	"sync"
)

// grant ends a wait: with a buffer, or with the reason why there is none. A waiter is a channel of
// capacity one in a list; whoever takes it off the list, under the list's lock, owes it one grant.
type grant struct {
	b   *Buffer
	err error
}

// await waits for the grant of a waiter that stands in l, or for the end of ctx. A grant that was
// made before the waiter could leave the list wins, so that no buffer is lost between the two.
func await(ctx context.Context, mu *sync.Mutex, l *list.List, e *list.Element) grant {
	ch := e.Value.(chan grant)
	select {
	case g := <-ch:
		return g
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	select {
	case g := <-ch:
		return g
	default:
		l.Remove(e)
		return grant{err: context.Cause(ctx)}
	}
}

// answer takes the first waiter off l and makes it the grant.
func answer(l *list.List, g grant) {
	l.Remove(l.Front()).(chan grant) <- g
}

// pool is the free list and the shares: the two sets of semaphores of the DataPipe.
type pool struct {
	seg *Segment

	mu         sync.Mutex // guards what follows and all allocators; nothing is locked after it
	free       []int      // slots, used as a stack: the last one freed is the warmest
	live       []*Buffer  // by slot; nil while free
	allocators []*allocator
	stopped    error // why there is no more allocation
}

// allocator is one module's share of the pool; guarded by pool.mu.
type allocator struct {
	holder  *stage
	share   int
	charged int       // buffers allocated by the module and not yet freed by anyone
	waiters list.List // of chan grant, in order of arrival
	over    bool      // all instances have returned
}

func newPool(seg *Segment) *pool {
	p := &pool{seg: seg, live: make([]*Buffer, seg.Buffers())}
	for i := seg.Buffers() - 1; i >= 0; i-- {
		p.free = append(p.free, i)
	}
	return p
}

func (p *pool) addAllocator(st *stage, share int) *allocator {
	a := &allocator{holder: st, share: share}
	p.allocators = append(p.allocators, a)
	return a
}

func (p *pool) alloc(ctx context.Context, a *allocator) (*Buffer, error) {
	p.mu.Lock()
	if p.stopped != nil || a.over {
		err := p.stopped
		p.mu.Unlock()
		if err == nil {
			err = ErrFinished
		}
		return nil, err
	}
	if a.waiters.Len() == 0 && p.available(a) {
		b := p.take(a)
		p.mu.Unlock()
		return b, nil
	}
	e := a.waiters.PushBack(make(chan grant, 1))
	p.mu.Unlock()
	g := await(ctx, &p.mu, &a.waiters, e)
	return g.b, g.err
}

func (p *pool) available(a *allocator) bool {
	return a.charged < a.share && len(p.free) > 0
}

func (p *pool) take(a *allocator) *Buffer {
	slot := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	b := &Buffer{slot: slot, raw: p.seg.raw(slot), headroom: p.seg.headroom, owner: a}
	b.holder.Store(a.holder)
	p.live[slot] = b
	a.charged++
	a.holder.held.Add(1)
	return b
}

// release puts the memory of a dead buffer back and serves those who waited for it.
func (p *pool) release(b *Buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live[b.slot] = nil
	p.free = append(p.free, b.slot)
	b.owner.charged--
	if p.stopped != nil {
		return
	}
	for _, a := range p.allocators {
		for a.waiters.Len() > 0 && p.available(a) {
			answer(&a.waiters, grant{b: p.take(a)})
		}
	}
}

// stop ends all waits with err, and allocation for ever.
func (p *pool) stop(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = err
	for _, a := range p.allocators {
		for a.waiters.Len() > 0 {
			answer(&a.waiters, grant{err: err})
		}
	}
}

// finish is stop for one module.
func (p *pool) finish(a *allocator) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.over = true
	for a.waiters.Len() > 0 {
		answer(&a.waiters, grant{err: ErrFinished})
	}
}

// reclaim takes every buffer that is still held out of the accounts, when no more is allocated.
func (p *pool) reclaim() {
	p.mu.Lock()
	var held []*Buffer
	for _, b := range p.live {
		if b != nil && b.state.CompareAndSwap(stateHeld, stateReclaimed) {
			held = append(held, b)
		}
	}
	p.mu.Unlock()
	for _, b := range held {
		b.holder.Load().held.Add(-1)
		p.release(b)
	}
}

// audit checks that the accounts agree and that every buffer is free.
func (p *pool) audit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := make([]bool, len(p.live))
	for _, slot := range p.free {
		if seen[slot] || p.live[slot] != nil {
			return fmt.Errorf("buffer %d is free twice or in use: %w", slot, ErrLeak)
		}
		seen[slot] = true
	}
	for slot, b := range p.live {
		if b != nil {
			return fmt.Errorf("buffer %d, allocated by %s, last held by %s, was not freed: %w",
				slot, b.owner.holder.spec.Name, b.holder.Load().spec.Name, ErrLeak)
		}
		if !seen[slot] {
			return fmt.Errorf("buffer %d is lost: %w", slot, ErrLeak)
		}
	}
	for _, a := range p.allocators {
		if a.charged != 0 {
			return fmt.Errorf("%s is charged with %d buffers: %w", a.holder.spec.Name, a.charged, ErrLeak)
		}
	}
	return nil
}

// account is the part of a module's status that the pool knows.
func (p *pool) account(a *allocator) (charged, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return a.charged, a.waiters.Len()
}

func (p *pool) waiting() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.allocators {
		n += a.waiters.Len()
	}
	return n
}

func (p *pool) freeCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.free)
}
