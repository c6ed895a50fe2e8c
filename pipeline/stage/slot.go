package stage

import (
	"context"
	"fmt"

	"coffer/pipeline"
)

// Piece is a range of the file that a write has covered, or covers again.
type Piece struct {
	Off, Len int64 // in the file, bytes
	Run      *Run
	RunOff   int64 // where Off is in the run
}

// Slot holds the buffers for one write. Used by one goroutine.
//
// It has always a buffer of its own, even if the stream's has room: so nothing
// that happens to the stream meanwhile (a cut, an eviction, another write)
// needs to know of the slot.
type Slot struct {
	c      *Collector
	s      *Stream
	off    int64
	n      int
	left   int64 // of n, what is counted and not taken in
	spare  []*pipeline.Buffer
	pieces [1]Piece
}

// Begin gets all buffers that writing n bytes (at most BufferSize) at offset
// off of s will need. It may wait for the pipe, and for the way to the store: the caller holds no lock of the
// tree and no other slot. The slot must be released. Errors: media.ErrFull when
// the medium has no space for what is pending and this; ErrTooLong; ErrClosed;
// ErrStopped of package pipeline; ctx's.
func (c *Collector) Begin(ctx context.Context, s *Stream, off int64, n int) (*Slot, error) {
	if n > BufferSize {
		return nil, fmt.Errorf("write of %d bytes at %d: %w", n, off, ErrTooLong)
	}
	if err := c.space.admit(ctx, n); err != nil {
		return nil, err
	}
	c.gate.RLock()
	closed := c.closed
	c.gate.RUnlock()
	if closed {
		return nil, fmt.Errorf("write: %w", ErrClosed)
	}
	if err := c.admit(ctx, int64(n)); err != nil {
		return nil, err
	}
	k := 1
	s.mu.Lock()
	// The carry over a buffer's edge is 150 KiB on average; if it is more than
	// there is room for, the block is ended early.
	if s.buf != nil && s.fill+n > BufferSize+BufferSize/2 {
		k = 2
	}
	s.mu.Unlock()
	bufs, err := c.reserve(ctx, k)
	if err != nil {
		c.flow.add(-int64(n))
		return nil, err
	}
	return &Slot{c: c, s: s, off: off, n: n, left: int64(n), spare: bufs}, nil
}

// admit waits until n bytes more may be pending, but not while the medium is full.
func (c *Collector) admit(ctx context.Context, n int64) error {
	select {
	case <-c.started:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ctx, done := c.waiters.patience(ctx)
	defer done()
	if err := c.flow.admit(ctx, n, c.port.Done(), c.push); err != nil {
		return fmt.Errorf("waiting for the way to the store: %w", err)
	}
	return nil
}

// Move gives the write another offset, for appends, whose offset is known only
// when the inode is locked.
func (w *Slot) Move(off int64) { w.off = off }

// Write takes p, at most as long as was told to Begin, in at the slot's offset.
// It copies p, never waits, and is called once. All of p is before or all of it
// behind any cut. The pieces are what the file's extents are to say now; they
// are valid until Release. None are returned if the session has ended
// meanwhile, or p is empty: nothing was taken in then.
func (w *Slot) Write(p []byte) []Piece {
	c, s := w.c, w.s
	p = p[:min(len(p), w.n)]
	c.gate.RLock()
	defer c.gate.RUnlock()
	if c.closed || len(p) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.pieces[0] = w.take(p)
	if s.fill >= c.flow.early() && s.fill < BufferSize && len(w.spare) > 0 {
		w.turn(0)
	}
	c.touch(s)
	return w.pieces[:]
}

// take puts p into the stream's run, or into a new one.
func (w *Slot) take(p []byte) Piece {
	c, s := w.c, w.s
	if s.run != nil {
		if openAt, end := s.open(); w.off < openAt || w.off > end {
			c.endRun(s)
		}
	}
	if s.run == nil {
		s.run, s.fileOff = &Run{mem: c.mem}, w.off
	}
	openAt, end := s.open()
	from, to := w.off, w.off+int64(len(p))
	if s.clean {
		from, s.clean = openAt, false
	}
	piece := Piece{Off: from, Len: max(to, w.off) - from, Run: s.run, RunOff: from - s.fileOff}
	if w.off < end {
		n := min(len(p), int(end-w.off))
		s.run.overlay(p[:n], int(w.off-openAt))
		p = p[n:]
	}
	w.left -= int64(len(p))
	for len(p) > 0 {
		p = p[w.fill(p):]
	}
	return piece
}

// fill copies what fits of p behind the stream's bytes.
func (w *Slot) fill(p []byte) int {
	s := w.s
	switch {
	case s.buf == nil:
		s.buf, s.fill = w.take1(), 0
	case s.fill == BufferSize:
		w.turn(len(p))
	}
	n := copy(s.buf.Data()[s.fill:], p)
	s.fill += n
	s.run.grow(s.buf.Data()[:s.fill])
	return n
}

// turn sends the finished blocks of the stream's buffer and carries the unfinished one over to
// the next, for need more bytes to come. If these and the carry need more than
// the slot has, the block is ended early. Of a buffer that is not full it sends nothing if no block is finished.
func (w *Slot) turn(need int) {
	c, s := w.c, w.s
	buf := s.buf
	data := buf.Data()[:s.fill]
	blocks, rest := c.cutAll(data)
	if len(blocks) == 0 && s.fill < BufferSize {
		return
	}
	if carry := s.fill - rest; carry > 0 && carry+need > BufferSize && len(w.spare) < 2 {
		blocks = append(blocks, c.newBlock(data, rest, s.fill))
		rest = s.fill
	}
	next := w.take1()
	n := copy(next.Data(), data[rest:])
	s.run.end(blocks, next.Data()[:n])
	s.buf, s.fill = next, n
	c.send(buf, rest, blocks)
}

func (w *Slot) take1() *pipeline.Buffer {
	b := w.spare[len(w.spare)-1]
	w.spare = w.spare[:len(w.spare)-1]
	return b
}

// Release gives back what the write has not used. It never waits.
func (w *Slot) Release() {
	for _, b := range w.spare {
		w.c.free(b)
	}
	w.spare = nil
	w.c.flow.add(-w.left)
	w.left = 0
	w.c.flow.wake()
	w.c.trim()
}
