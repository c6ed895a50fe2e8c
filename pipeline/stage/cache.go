package stage

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"coffer/chunkfmt"
)

// cache keeps the plaintext of groups up to a limit, and sees to it that each
// is loaded once.
type cache struct {
	limit int64

	mu    sync.Mutex // guards what follows; nothing is locked after it
	items map[chunkfmt.Seq]*item
	used  list.List // of *item that are loaded, the latest in front
	size  int64
}

type item struct {
	seq     chunkfmt.Seq
	ready   chan struct{} // closed when data or err is set
	data    []byte
	err     error
	element *list.Element
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, items: make(map[chunkfmt.Seq]*item)}
}

func (c *cache) has(seq chunkfmt.Seq) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.items[seq] != nil
}

// get gives the group's bytes, by load if they are not there. Who waits for
// another's load that ended with the other's context loads on his own.
func (c *cache) get(ctx context.Context, seq chunkfmt.Seq, load func() ([]byte, error)) ([]byte, error) {
	for {
		c.mu.Lock()
		it := c.items[seq]
		if it == nil {
			it = &item{seq: seq, ready: make(chan struct{})}
			c.items[seq] = it
			c.mu.Unlock()
			it.data, it.err = load()
			c.loaded(it)
			return it.data, it.err
		}
		if it.element != nil {
			c.used.MoveToFront(it.element)
			c.mu.Unlock()
			return it.data, nil
		}
		c.mu.Unlock()
		select {
		case <-it.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if it.err == nil {
			return it.data, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !isContext(it.err) {
			return nil, it.err
		}
	}
}

// loaded makes room for it, or forgets it if it failed.
func (c *cache) loaded(it *item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(it.ready)
	if it.err != nil {
		delete(c.items, it.seq)
		return
	}
	it.element = c.used.PushFront(it)
	c.size += int64(len(it.data))
	for c.size > c.limit && c.used.Len() > 1 {
		last := c.used.Remove(c.used.Back()).(*item)
		c.size -= int64(len(last.data))
		delete(c.items, last.seq)
	}
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
