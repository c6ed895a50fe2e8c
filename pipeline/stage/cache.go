package stage

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"coffer/chunkfmt"
)

// cache keeps the plaintext of groups up to a limit, and sees to it that each
// is loaded once. Its memory is its own and not the garbage collector's, which
// would let as much again be wasted before it collects.
//
// Who gets an item has it pinned until release: its bytes stay where they are.
type cache struct {
	// foreseen is told once of each item that came by foresee whether anybody got it before it went; nil: nobody is. It
	// may take a lock, after mu.
	foreseen func(used bool)

	mu     sync.Mutex // guards what follows
	items  map[chunkfmt.Seq]*item
	past   past
	ring   *ring
	pinned int
	closed chan struct{} // not nil: closing; closed when nothing is pinned
}

type item struct {
	seq   chunkfmt.Seq
	ready chan struct{} // closed when data or err is set
	data  []byte
	err   error

	// Guarded by cache.mu.
	pins    int
	used    bool // again since the ring's hand was here last
	foresee bool // by foresee, and nobody got it yet
	slot         // in the ring
}

func newCache(limit int64) (*cache, error) {
	r, err := newRing(limit)
	if err != nil {
		return nil, err
	}
	return &cache{items: make(map[chunkfmt.Seq]*item), ring: r}, nil
}

// wants says whether a group may be worth loading ahead: it is not there, and was not lately.
func (c *cache) wants(seq chunkfmt.Seq) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.items[seq] == nil && !c.past.has(seq)
}

func (c *cache) has(seq chunkfmt.Seq) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.items[seq] != nil
}

// get gives the group's item, pinned, by load if it is not there; load asks for
// room and fills it. Who waits for another's load that ended with the other's
// context loads on his own.
func (c *cache) get(ctx context.Context, seq chunkfmt.Seq, load func(room func(n int) []byte) error) (*item, error) {
	for {
		it, found, err := c.pin(seq, false)
		if err != nil {
			return nil, err
		}
		if !found {
			err := load(func(n int) []byte { return c.room(it, n) })
			c.loaded(it, err)
			return c.unless(it, err)
		}
		select {
		case <-it.ready:
		case <-ctx.Done():
			return c.unless(it, context.Cause(ctx))
		}
		if it.err == nil || ctx.Err() == nil && !isContext(it.err) {
			return c.unless(it, it.err)
		}
		c.release(it)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// foresee loads the group's item, if it is not there, for who is going to get it, and says whether it did.
func (c *cache) foresee(seq chunkfmt.Seq, load func(room func(n int) []byte) error) bool {
	it, found, err := c.pin(seq, true)
	if err != nil {
		return false
	}
	defer c.release(it)
	if found {
		return false
	}
	err = load(func(n int) []byte { return c.room(it, n) })
	c.loaded(it, err)
	return err == nil
}

// pin gives the item of seq, made if there is none, which found tells; ahead of who is going to get it, or for him.
func (c *cache) pin(seq chunkfmt.Seq, ahead bool) (it *item, found bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return nil, false, fmt.Errorf("group %v: the reader is closed: %w", seq, ErrClosed)
	}
	it, found = c.items[seq], true
	if it == nil {
		it, found = &item{seq: seq, ready: make(chan struct{}), foresee: ahead}, false
		c.items[seq] = it
	}
	switch {
	case !found:
		it.used = ahead // or it would be the first to go where all else was used again
	case !ahead:
		it.used = !it.foresee
		c.tell(it, true)
	}
	it.pins++
	c.pinned++
	return it, found, nil
}

// room finds n bytes for an item that is being loaded. If all the cache's are
// pinned, they are the collector's, and forgotten with the last pin.
func (c *cache) room(it *item, n int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it.data = c.ring.place(it, n, c.evicted); it.data == nil {
		it.data = make([]byte, n)
	}
	return it.data
}

func (c *cache) evicted(it *item) {
	delete(c.items, it.seq)
	if !it.foresee {
		c.past.add(it.seq)
	}
	c.tell(it, false)
}

// tell tells of an item that came by foresee, once.
func (c *cache) tell(it *item, used bool) {
	if it.foresee && c.foreseen != nil {
		c.foreseen(used)
	}
	it.foresee = false
}

// loaded tells those who wait, and forgets the item if it failed.
func (c *cache) loaded(it *item, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it.err = err
	close(it.ready)
	if err != nil {
		c.forget(it)
	}
}

func (c *cache) forget(it *item) {
	delete(c.items, it.seq)
	c.ring.remove(it)
}

// unless gives the pinned item, or the error and no item.
func (c *cache) unless(it *item, err error) (*item, error) {
	if err != nil {
		c.release(it)
		return nil, err
	}
	return it, nil
}

// release takes the pin off that get has put on.
func (c *cache) release(it *item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it.pins--
	if it.pins == 0 && it.err == nil && !it.placed() {
		c.forget(it)
	}
	c.pinned--
	if c.pinned == 0 && c.closed != nil {
		close(c.closed)
	}
}

// close waits until nothing is pinned and gives the memory back. Called once.
func (c *cache) close() error {
	c.mu.Lock()
	c.closed = make(chan struct{})
	if c.pinned == 0 {
		close(c.closed)
	}
	c.mu.Unlock()
	<-c.closed
	c.items = nil
	return c.ring.close()
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// past is which groups went last after they had been used. Who goes on from there does not need them again.
type past struct {
	ring [256]chunkfmt.Seq
	next int
	set  map[chunkfmt.Seq]struct{}
}

func (p *past) has(seq chunkfmt.Seq) bool {
	_, ok := p.set[seq]
	return ok
}

func (p *past) add(seq chunkfmt.Seq) {
	if p.set == nil {
		p.set = make(map[chunkfmt.Seq]struct{}, len(p.ring))
	}
	if p.has(seq) {
		return
	}
	delete(p.set, p.ring[p.next])
	p.ring[p.next] = seq
	p.set[seq] = struct{}{}
	p.next = (p.next + 1) % len(p.ring)
}
