package scrub

import (
	"context"
	"errors"
	"io"
	"time"

	"coffer/media"
)

const (
	windowSize = 1 << 20
	sectorSize = 4 << 10 // in which a stretch that cannot be read is narrowed down
)

// window is an io.ReaderAt over one object that reads ahead, keeps to the rate, and gives zeros for
// what the medium cannot read, of which it keeps the places.
type window struct {
	ctx    context.Context
	s      *scrub
	name   string
	buf    []byte // of windowSize
	at     int64  // place of have in the object
	have   []byte // part of buf
	failed []unreadable
}

// unreadable is a stretch that the medium gave an error for.
type unreadable struct {
	from, to int64
	err      error
}

func (w *window) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if off < w.at || off >= w.at+int64(len(w.have)) {
			if err := w.fill(off); err != nil {
				return n, err
			}
			if len(w.have) == 0 {
				return n, io.EOF
			}
		}
		k := copy(p[n:], w.have[off-w.at:])
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

// fill reads the window from off on. At the end of the object it is short or empty.
func (w *window) fill(off int64) error {
	n, err := w.s.medium.ReadAt(w.ctx, w.name, w.buf, off)
	if err != nil && !errors.Is(err, io.EOF) {
		if n, err = w.salvage(off, err); err != nil {
			return err
		}
	}
	w.at, w.have = off, w.buf[:n]
	w.s.bytes += int64(n)
	return w.s.pace(w.ctx, n)
}

// salvage reads sector by sector and puts zeros where that fails too.
func (w *window) salvage(off int64, cause error) (n int, err error) {
	if w.ctx.Err() != nil || errors.Is(cause, media.ErrNotExist) || errors.Is(cause, media.ErrClosed) {
		return 0, cause
	}
	for n < len(w.buf) {
		sector := w.buf[n:min(len(w.buf), n+sectorSize)]
		k, err := w.s.medium.ReadAt(w.ctx, w.name, sector, off+int64(n))
		switch {
		case w.ctx.Err() != nil:
			return 0, err
		case errors.Is(err, io.EOF):
			return n + k, nil
		case err != nil:
			clear(sector)
			w.fail(off+int64(n), len(sector), err)
		}
		n += len(sector)
	}
	return n, nil
}

func (w *window) fail(off int64, n int, err error) {
	if k := len(w.failed); k > 0 && w.failed[k-1].to == off {
		w.failed[k-1].to += int64(n)
		return
	}
	w.failed = append(w.failed, unreadable{off, off + int64(n), err})
}

// pace waits as long as reading n bytes takes at the rate that was asked for.
func (s *scrub) pace(ctx context.Context, n int) error {
	if s.o.Rate <= 0 || n == 0 {
		return ctx.Err()
	}
	return s.o.Wait(ctx, time.Duration(float64(n)/float64(s.o.Rate)*float64(time.Second)))
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
