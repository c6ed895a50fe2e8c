package agent

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

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
	stamp
	busy  bool // its bytes are being written to a connection
	again bool // not for the first time
}

// window is what is under way: all shipments by their numbers.
type window struct {
	port  *pipeline.Port
	cargo Cargo

	mu     sync.Mutex  // guards what follows; cargo and port may be asked under it
	list   []*shipment // ascending
	bytes  int64       // of list
	most   int64       // bytes that were under way at a time
	room   int         // how many may be under way; 0: not known yet
	acked  chunkfmt.Seq
	places []stage.Place // of what is acknowledged and could not be settled yet
	wake   chan struct{} // closed, and another made, when something was settled, or more may go on
	resent int64         // bytes shipped more than once
	ended  bool          // nothing more will come
	meter  meter
	crew   *crew
}

func newWindow(cargo Cargo, c *crew) *window {
	return &window{wake: make(chan struct{}), cargo: cargo, crew: c}
}

// limited says whether more could be under way if the way were faster: now, and how often that was so.
func (w *window) limited() (now bool, ever int64) {
	n, ever := w.cargo.Bounded()
	return n+w.port.Waiting() > 0, ever
}

// enter waits until another shipment of an agent may be under way; io.EOF: there will be none.
func (w *window) enter(ctx context.Context, agent int) error {
	for {
		w.mu.Lock()
		ok, ended, wake := len(w.list) < w.room && agent < w.crew.active, w.ended, w.wake
		w.mu.Unlock()
		if ended {
			return io.EOF
		}
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

// wanted waits until an agent is to have a connection; io.EOF: it never is.
func (w *window) wanted(ctx context.Context, agent int) error {
	for {
		w.mu.Lock()
		ok, ended, wake := agent < w.crew.active || w.has(agent), w.ended, w.wake
		w.mu.Unlock()
		if ok {
			return nil
		}
		if ended {
			return io.EOF
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// end says that nothing more will come.
func (w *window) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.signal()
}

// add takes a shipment in, to be written.
func (w *window) add(s *shipment) {
	now, ever := w.limited()
	w.mu.Lock()
	defer w.mu.Unlock()
	i, _ := slices.BinarySearchFunc(w.list, s.first, byFirst)
	w.list = slices.Insert(w.list, i, s)
	w.bytes += int64(len(s.Bytes()))
	w.most = max(w.most, w.bytes)
	s.stamp = stamp{at: time.Now(), delivered: w.meter.delivered, waits: ever, waiting: now}
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
			s.busy, s.again = true, true
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
	n, sum, again := 0, int64(0), false
	for n < len(w.list) && w.list[n].Last() <= w.acked && !w.list[n].busy {
		s := w.list[n]
		sum += int64(len(s.Bytes()))
		again = again || s.again
		w.places = s.Acked(w.places)
		w.port.FreeBuf(s.Buffer())
		n++
	}
	if n == 0 {
		return
	}
	w.bytes -= sum
	w.measure(w.list[n-1].stamp, sum, again)
	w.list = slices.Delete(w.list, 0, n)
	if len(w.places) == 0 {
		w.places = nil
	}
	w.signal()
}

// measure takes in that sum bytes were acknowledged, the last of which were shipped as s says. How long something took that
// was shipped again says nothing of the way.
func (w *window) measure(s stamp, sum int64, again bool) {
	if again {
		w.meter.delivered += sum
		return
	}
	now, ever := w.limited()
	w.meter.acked(s, sum, time.Now(), ever != s.waits || now && s.waiting)
	w.cargo.Bound(w.meter.bound())
}

// look has the crew decide.
func (w *window) look() {
	limited, _ := w.limited()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.crew.look(time.Now(), w.meter.delivered, limited, w.meter.base) {
		w.signal()
	}
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
	return !w.has(agent), w.wake
}

func (w *window) has(agent int) bool {
	return slices.ContainsFunc(w.list, func(s *shipment) bool { return s.agent == agent })
}

func (w *window) state() (acked chunkfmt.Seq, underWay int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked, len(w.list)
}

// fill puts what is so into a status.
func (w *window) fill(st *SenderStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	st.Agents, st.Acked, st.Resent = w.crew.active, w.acked, w.resent
	st.UnderWay, st.UnderWayBytes, st.MostUnderWay = len(w.list), w.bytes, w.most
	st.Rate, st.Bound = int64(w.meter.rate), w.meter.bound()
}
