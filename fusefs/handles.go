package fusefs

import (
	"sync"

	"coffer/fusefs/tree"
)

// openFile is an open file of the kernel's.
type openFile struct {
	*tree.Handle
	direct bool // past the page cache
}

// handles numbers what the kernel has open. Numbers start at 1 and are used again.
type handles[T any] struct {
	mu   sync.RWMutex // guards what follows; nothing is locked after it
	open []slot[T]
	free []uint64
}

type slot[T any] struct {
	is   T
	used bool
}

func (t *handles[T]) add(f T) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		fh := t.free[n-1]
		t.free = t.free[:n-1]
		t.open[fh-1] = slot[T]{f, true}
		return fh
	}
	t.open = append(t.open, slot[T]{f, true})
	return uint64(len(t.open))
}

func (t *handles[T]) get(fh uint64) (f T, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if fh == 0 || fh > uint64(len(t.open)) {
		return f, false
	}
	s := t.open[fh-1]
	return s.is, s.used
}

func (t *handles[T]) remove(fh uint64) (f T, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fh == 0 || fh > uint64(len(t.open)) || !t.open[fh-1].used {
		return f, false
	}
	f = t.open[fh-1].is
	t.open[fh-1] = slot[T]{}
	t.free = append(t.free, fh)
	return f, true
}
