package agent

import (
	"context"
	"slices"
	"sync"

	"coffer/chunkfmt"
	"coffer/pipeline"
	"coffer/pipeline/stage"
)

// shipment is a buffer that was received from the pipe and is not acknowledged.
type shipment struct {
	stage.Shipment
	first chunkfmt.Seq
	agent int
	// Guarded by window.mu:
	busy bool // its bytes are being written to a connection
}

// window is what is under way: all shipments by their numbers.
type window struct {
	port *pipeline.Port

	mu     sync.Mutex  // guards what follows
	list   []*shipment // ascending
	room   int         // how many may be under way; 0: not known yet
	acked  chunkfmt.Seq
	places []stage.Place // of what is acknowledged and could not be settled yet
	wake   chan struct{} // closed, and another made, when something was settled or room has grown
	resent int64         // bytes shipped more than once
}

func newWindow() *window { return &window{wake: make(chan struct{})} }

// enter waits until another shipment may be under way.
func (w *window) enter(ctx context.Context) error {
	for {
		w.mu.Lock()
		ok, wake := len(w.list) < w.room, w.wake
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// add takes a shipment in, to be written.
func (w *window) add(s *shipment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i, _ := slices.BinarySearchFunc(w.list, s.first, byFirst)
	w.list = slices.Insert(w.list, i, s)
	s.busy = true
}

func byFirst(s *shipment, first chunkfmt.Seq) int {
	switch {
	case s.first < first:
		return -1
	case s.first > first:
		return 1
	}
	return 0
}

// again gives the first shipment of an agent with a number over after, to be written once more; nil: there is none.
func (w *window) again(agent int, after chunkfmt.Seq) *shipment {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.list {
		if s.agent == agent && s.first > after && s.Last() > w.acked {
			s.busy = true
			w.resent += int64(len(s.Bytes()))
			return s
		}
	}
	return nil
}

// written says that nobody reads the bytes of s any more.
func (w *window) written(s *shipment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.busy = false
	w.settle()
}

// ack says that all up to seq is stable.
func (w *window) ack(seq chunkfmt.Seq, places []stage.Place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked = max(w.acked, seq)
	w.places = append(w.places, places...)
	w.settle()
}

// settle frees, in order, what is acknowledged and not being written.
func (w *window) settle() {
	n := 0
	for n < len(w.list) && w.list[n].Last() <= w.acked && !w.list[n].busy {
		s := w.list[n]
		w.places = s.Acked(w.places)
		w.port.FreeBuf(s.Buffer())
		n++
	}
	if n == 0 {
		return
	}
	w.list = slices.Delete(w.list, 0, n)
	if len(w.places) == 0 {
		w.places = nil
	}
	w.signal()
}

// open says how many shipments may be under way.
func (w *window) open(room int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.room = room
	w.signal()
}

func (w *window) signal() {
	close(w.wake)
	w.wake = make(chan struct{})
}

// idle says whether an agent has nothing under way; changed is closed when that may have changed.
func (w *window) idle(agent int) (idle bool, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !slices.ContainsFunc(w.list, func(s *shipment) bool { return s.agent == agent }), w.wake
}

func (w *window) state() (acked chunkfmt.Seq, underWay int, resent int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked, len(w.list), w.resent
}
