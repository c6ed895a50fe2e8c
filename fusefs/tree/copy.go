package tree

import (
	"context"

	"golang.org/x/sys/unix"
)

const (
	// copyMax bounds what one CopyRange does under the locks of two files.
	copyMax = 1 << 30
	// copyTries is how often it tries to find the source at rest.
	copyTries = 4
)

// CopyRange makes n bytes of dst from dstOff the same as those of h from off,
// without moving data. It may do less, and says how much.
func (h *Handle) CopyRange(ctx context.Context, off int64, dst *Handle, dstOff, n int64) (int64, error) {
	if !h.readable() || !dst.writable() || dst.flags&unix.O_APPEND != 0 {
		return 0, unix.EBADF
	}
	if off < 0 || dstOff < 0 || n < 0 {
		return 0, unix.EINVAL
	}
	if dstOff > maxFileSize-min(n, copyMax) {
		return 0, unix.EFBIG
	}
	if h.i == dst.i && off < dstOff+n && dstOff < off+n {
		return 0, unix.EINVAL
	}
	t := h.t
	n = min(n, copyMax)
	for range copyTries {
		// What is copied by reference must not be the unfinished end of a
		// run: a cut stores that for the run's own file only.
		h.i.mu.RLock()
		stream, written := h.i.stream, h.i.written
		h.i.mu.RUnlock()
		if stream != nil {
			t.cfg.Collector.Finish(stream)
		}
		if err := t.begin(ctx); err != nil {
			return 0, err
		}
		unlock := lockTwo(h.i, dst.i)
		if h.i.written != written || h.i.stream != stream {
			unlock()
			t.end()
			continue
		}
		done, err := t.share(h.i, dst.i, off, dstOff, n)
		unlock()
		t.end()
		return done, err
	}
	return h.copyBytes(ctx, off, dst, dstOff, min(n, WriteMax))
}

// lockTwo locks two files, which may be one.
func lockTwo(a, b *inode) (unlock func()) {
	if a == b {
		a.mu.Lock()
		return a.mu.Unlock
	}
	if b.ino < a.ino {
		a, b = b, a
	}
	a.mu.Lock()
	b.mu.Lock()
	return func() {
		b.mu.Unlock()
		a.mu.Unlock()
	}
}

// share is CopyRange under all locks.
func (t *Tree) share(src, dst *inode, off, dstOff, n int64) (int64, error) {
	if err := t.lostInode(src); err != nil {
		return 0, err
	}
	n = min(n, int64(src.attr.Size)-off)
	if n <= 0 {
		return 0, nil
	}
	parts, err := t.layout(src, off, off+n, nil)
	if err != nil {
		return 0, err
	}
	if err := t.dropCaps(dst); err != nil {
		return 0, err
	}
	end := dstOff + n
	had, err := t.allocated(dst, dstOff, end)
	if err != nil {
		return 0, err
	}
	d := t.touch(dst)
	dst.breaks.Add(1)
	before := d.ext.count
	d.ext.put(span{off: dstOff, n: n})
	var data uint64
	for _, s := range parts {
		if !s.hole() {
			data += uint64(s.n)
		}
		s.off += dstOff - off
		d.ext.put(s)
	}
	t.charge(d.e, int64(max(d.ext.count-before, 0))*spanCost)
	t.resize(dst, max(dst.attr.Size, uint64(end)))
	dst.setAlloc(dst.alloc + data - had)
	dst.killIDs()
	t.contentsChanged(dst)
	return n, nil
}

// copyBytes is CopyRange where the source does not come to rest.
func (h *Handle) copyBytes(ctx context.Context, off int64, dst *Handle, dstOff, n int64) (int64, error) {
	buf := make([]byte, n)
	k, err := h.t.read(ctx, nil, h.i, buf, off)
	if err != nil || k == 0 {
		return 0, err
	}
	k, err = dst.Write(ctx, buf[:k], dstOff, true)
	if k > 0 {
		err = nil
	}
	return int64(k), err
}
