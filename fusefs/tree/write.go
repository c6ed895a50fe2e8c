package tree

import (
	"context"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Write writes p at off, or at the end if the handle was opened with O_APPEND. It
// returns less than len(p) only with an error. p is not kept. killPriv clears
// set-user-id, and set-group-id of group executables.
func (h *Handle) Write(ctx context.Context, p []byte, off int64, killPriv bool) (int, error) {
	if !h.writable() {
		return 0, unix.EBADF
	}
	if off < 0 {
		return 0, unix.EINVAL
	}
	w := write{t: h.t, i: h.i, killPriv: killPriv, toEnd: h.flags&unix.O_APPEND != 0}
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+WriteMax)]
		if err := w.part(ctx, part, off+int64(done)); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// write is one call of Write under way.
type write struct {
	t        *Tree
	i        *inode
	killPriv bool
	toEnd    bool // O_APPEND
	pieces   [1]Piece
}

// part writes at most WriteMax bytes. The collector is asked for buffers with no
// lock held; if meanwhile the contents were changed otherwise, what was got is
// given back and asked for anew.
func (w *write) part(ctx context.Context, p []byte, off int64) error {
	t, i := w.t, w.i
	for {
		if err := t.admit(ctx); err != nil {
			return err
		}
		stream, likely, breaks := w.prepare(off)
		if i.mended.Load() != breaks {
			t.cfg.Collector.Finish(stream)
			i.mended.Store(breaks)
		}
		slot, err := t.cfg.Collector.Begin(ctx, stream, likely, len(p))
		if err != nil {
			return t.writeError(err)
		}
		t.epochMu.RLock()
		i.mu.Lock()
		ok := i.breaks.Load() == breaks
		if ok {
			err = w.take(slot, p, off)
		}
		i.mu.Unlock()
		t.epochMu.RUnlock()
		slot.Release()
		if ok {
			return err
		}
	}
}

// prepare says which stream to use and where the write is likely to go.
func (w *write) prepare(off int64) (stream Stream, likely int64, breaks uint64) {
	i := w.i
	i.mu.RLock()
	stream, breaks = i.stream, i.breaks.Load()
	if w.toEnd {
		off = int64(i.attr.Size)
	}
	i.mu.RUnlock()
	if stream != nil {
		return stream, off, breaks
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stream == nil {
		i.stream = w.t.cfg.Collector.NewStream(i)
	}
	return i.stream, off, breaks
}

// take makes the write, under all locks.
func (w *write) take(slot Slot, p []byte, off int64) error {
	t, i := w.t, w.i
	if err := t.refuse(); err != nil {
		return err
	}
	if w.toEnd {
		off = int64(i.attr.Size)
	}
	if off > maxFileSize-int64(len(p)) {
		return unix.EFBIG
	}
	if err := t.dropCaps(i); err != nil {
		return err
	}
	end := off + int64(len(p))
	had, err := t.allocated(i, off, end)
	if err != nil {
		return err
	}
	pieces := slot.Write(p, off, w.pieces[:0])
	if len(pieces) == 0 {
		return fmt.Errorf("%w: write inode %d: the session has ended", unix.EIO, i.ino)
	}
	d := t.touch(i)
	t.cover(d, pieces)
	runs := 0
	for _, piece := range pieces {
		if i.live != piece.Run {
			i.live = piece.Run
			runs++
		}
	}
	t.charge(d.e, int64(runs)*runCost+int64(len(p)>>10))
	i.written++
	if runs > 0 {
		t.wroteApart(i, off, len(p))
	}
	t.resize(i, max(i.attr.Size, uint64(end)))
	i.setAlloc(i.alloc + uint64(len(p)) - had)
	t.contentsChanged(i)
	if w.killPriv {
		i.killIDs()
	}
	return nil
}

// cover makes pieces what stands in their ranges of the file.
func (t *Tree) cover(d *delta, pieces []Piece) {
	before := d.ext.count
	for _, p := range pieces {
		d.ext.put(span{off: p.Off, n: p.Len, run: p.Run, at: p.RunOff})
	}
	t.charge(d.e, int64(d.ext.count-before)*spanCost)
}

// allocated counts the bytes of [from, to) that are not holes, in the dense file
// that most are without looking. i.mu is held.
func (t *Tree) allocated(i *inode, from, to int64) (uint64, error) {
	to = min(to, int64(i.attr.Size))
	if from >= to {
		return 0, nil
	}
	if i.alloc >= i.attr.Size {
		return uint64(to - from), nil
	}
	n, err := t.dataIn(i, from, to)
	return min(n, i.alloc), err // alloc is rounded where it was loaded
}

// punch makes [from, to) zeros. The caller holds epochMu for reading and i.mu, and
// keeps to the file's size.
func (t *Tree) punch(i *inode, from, to int64) error {
	had, err := t.allocated(i, from, to)
	if err != nil {
		return err
	}
	d := t.touch(i)
	i.breaks.Add(1)
	before := d.ext.count
	d.ext.put(span{off: from, n: to - from})
	t.charge(d.e, int64(d.ext.count-before)*spanCost)
	i.setAlloc(i.alloc - had)
	return nil
}

// truncate sets the size. Nothing is left beyond it, so that growing shows zeros.
func (t *Tree) truncate(i *inode, size int64) error {
	old := int64(i.attr.Size)
	if size < old {
		had, err := t.allocated(i, size, old)
		if err != nil {
			return err
		}
		d := t.touch(i)
		i.breaks.Add(1)
		before := d.ext.count
		if size == 0 && d.born {
			d.ext = spans{}
		} else {
			d.ext.put(span{off: size, n: math.MaxInt64 - size})
		}
		t.charge(d.e, int64(d.ext.count-before)*spanCost)
		i.setAlloc(i.alloc - had)
	}
	t.touch(i)
	t.resize(i, uint64(size))
	return nil
}

// resize notes the size of a regular file; others have none that counts.
func (t *Tree) resize(i *inode, size uint64) {
	if i.kind == unix.DT_REG {
		t.bytes.Add(int64(size) - int64(i.attr.Size))
		i.attr.Size = size
	}
}
