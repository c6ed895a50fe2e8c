package stage

import (
	"context"
	"fmt"

	"coffer/pipeline"
)

// Tail is an unfinished block that a cut has stored provisionally. The cut's
// extents use it for these bytes, instead of the run that the stream writes to.
// Where they are covered by something else by now, they are not.
type Tail struct {
	Stream  *Stream
	FileOff int64
	Len     int64
	Run     *Run // bytes [0, Len) of it
}

// CutSlot holds what one cut needs. Used by one goroutine.
type CutSlot struct {
	c     *Collector
	spare []*pipeline.Buffer // the marker's, and one to become the shared buffer
	mark  *waiter
}

// Prepare gets the buffers that a cut needs; it may wait for the pipe.
func (c *Collector) Prepare(ctx context.Context) (*CutSlot, error) {
	bufs, err := c.reserve(ctx, 2)
	if err != nil {
		return nil, fmt.Errorf("preparing a cut: %w", err)
	}
	return &CutSlot{c: c, spare: bufs}, nil
}

// Cut ends what is before the cut and sends marker m behind it. It never waits.
// Called once. The tails are those unfinished blocks that go on behind the cut:
// where a stream holds no more than one short unfinished block. Every other
// one is ended, and so is every run. After MarkEnd the Collector is closed.
func (cs *CutSlot) Cut(m Marker) []Tail {
	c := cs.c
	c.gate.Lock()
	defer c.gate.Unlock()
	cs.mark = &waiter{Marker: m}
	if c.closed {
		cs.mark.late = true
		return nil
	}
	c.mu.Lock()
	streams := c.streams.all()
	c.mu.Unlock()
	var tails []Tail
	for _, s := range streams {
		if t, ok := cs.cutStream(s, m.Kind == MarkEnd); ok {
			tails = append(tails, t)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newShared(nil, 0)
	mark := cs.take1()
	mark.Payload = cs.mark
	c.waiters.add(cs.mark)
	c.port.SendBuf(mark)
	if m.Kind == MarkEnd {
		c.closed, c.ending = true, true
	}
	c.unholdLocked(1)
	return tails
}

// cutStream ends the run of s; if its unfinished block is short, this is stored
// provisionally and goes on in a run of its own.
func (cs *CutSlot) cutStream(s *Stream, last bool) (Tail, bool) {
	c := cs.c
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.buf == nil || s.clean && !last:
		return Tail{}, false
	case last || s.fill == 0 || s.fill >= SmallBlock || !cs.room(s.fill):
		c.endRun(s)
		return Tail{}, false
	}
	c.mu.Lock()
	b := c.copyShared(s.buf.Data()[:s.fill])
	c.mu.Unlock()
	c.flow.add(int64(s.fill))
	r := &Run{mem: c.mem}
	r.end([]*Block{b}, nil)
	openAt, _ := s.open()
	s.run.end([]*Block{b}, nil)
	s.run, s.fileOff, s.clean = &Run{mem: c.mem, open: s.buf.Data()[:s.fill]}, openAt, true
	return Tail{Stream: s, FileOff: openAt, Len: int64(s.fill), Run: r}, true
}

// room makes room for n bytes in the shared buffer, with the spare one if need be.
func (cs *CutSlot) room(n int) bool {
	c := cs.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.roomShared(n) {
		return true
	}
	if len(cs.spare) < 2 {
		return false
	}
	c.newShared(cs.take1(), 0)
	return true
}

func (cs *CutSlot) take1() *pipeline.Buffer {
	b := cs.spare[len(cs.spare)-1]
	cs.spare = cs.spare[:len(cs.spare)-1]
	return b
}

// Release gives back what was not used; it is called after Cut, or instead. The
// caller holds no lock that Acked takes: it is called here if the pipe has
// failed or is stalled already.
func (cs *CutSlot) Release() {
	for _, b := range cs.spare {
		cs.c.free(b)
	}
	cs.spare = nil
	if cs.mark != nil {
		cs.c.waiters.check(cs.mark)
	}
}
