package stage

import (
	"context"
	"slices"
	"sync"
)

// waiter is a marker, or a piece of a checkpoint, on its way.
type waiter struct {
	Marker
	told bool // guarded by waiters.mu
	late bool // the session had ended before
}

// waiters are all markers that were not acknowledged, in order: when the medium
// is full or the pipe fails, also those are told that have not come far. Each
// is told once, with no lock held.
//
// Whoever comes to wait while the medium is full has the store try again at once, and
// is told what comes of that, never what was so a while ago.
type waiters struct {
	retry chan struct{} // has a token when the store is to try again

	mu    sync.Mutex // guards what follows; nothing is locked after it
	list  []*waiter
	stall error // why no acknowledgement will come soon
	fatal error // why none will come at all
	// impatient are the contexts of those who wait for a buffer.
	impatient map[context.Context]context.CancelCauseFunc
}

func newWaiters() *waiters { return &waiters{retry: make(chan struct{}, 1)} }

// again has a store that waits for space try at once. mu is held.
func (ws *waiters) again() {
	if ws.stall == nil {
		return
	}
	select {
	case ws.retry <- struct{}{}:
	default:
	}
}

// patience gives a context that ends as ctx does, and also when the medium is
// full: who waits for a buffer then would wait as long as it is. What is to be
// had at once is had nevertheless. The function ends it.
func (ws *waiters) patience(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.again()
	if ws.impatient == nil {
		ws.impatient = make(map[context.Context]context.CancelCauseFunc)
	}
	ws.impatient[ctx] = cancel
	return ctx, func() {
		ws.mu.Lock()
		delete(ws.impatient, ctx)
		ws.mu.Unlock()
		cancel(nil)
	}
}

// add takes w in. Called in the order of the markers.
func (ws *waiters) add(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.list = append(ws.list, w)
}

// check tells w if there is nothing to wait for. It was added before.
func (ws *waiters) check(w *waiter) {
	ws.mu.Lock()
	err := ws.fatal
	if err == nil && w.late {
		err = ErrClosed
	}
	ws.again()
	tell := err != nil && w.tell()
	ws.mu.Unlock()
	if tell {
		w.call(err)
	}
}

// ack tells all waiters up to and including w. Those behind it are not touched,
// also if w has been told of a failure before. Called by one goroutine.
func (ws *waiters) ack(w *waiter) {
	ws.mu.Lock()
	n := slices.Index(ws.list, w) + 1
	told := tellAll(ws.list[:n])
	ws.list = slices.Delete(ws.list, 0, n)
	ws.mu.Unlock()
	callAll(told, nil)
}

// stalled tells all waiters that they would wait long, and so those who wait for a
// buffer; nil ends that. It says whether that is news.
func (ws *waiters) stalled(err error) bool {
	ws.mu.Lock()
	news := (ws.stall == nil) != (err == nil)
	ws.stall = err
	var told []*waiter
	if err != nil {
		told = tellAll(ws.list)
		for _, cancel := range ws.impatient {
			cancel(err)
		}
	}
	ws.mu.Unlock()
	callAll(told, err)
	return news
}

// fail tells all waiters, present and to come, that they wait in vain.
func (ws *waiters) fail(err error) {
	ws.mu.Lock()
	if ws.fatal == nil {
		ws.fatal = err
	}
	err = ws.fatal
	told := tellAll(ws.list)
	ws.list = nil
	ws.mu.Unlock()
	callAll(told, err)
}

// tell says whether w is still to be told, and that it is now.
func (w *waiter) tell() bool {
	was := w.told
	w.told = true
	return !was && w.Acked != nil
}

func (w *waiter) call(err error) { w.Acked(err) }

// tellAll gives those of list that are still to be told.
func tellAll(list []*waiter) []*waiter {
	var told []*waiter
	for _, w := range list {
		if w.tell() {
			told = append(told, w)
		}
	}
	return told
}

func callAll(list []*waiter, err error) {
	for _, w := range list {
		w.call(err)
	}
}
