package tree

import (
	"context"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxFileSize leaves room below the hole that means the end of a file.
const maxFileSize = math.MaxInt64 - 1<<20

// Handle is an open regular file. Its methods may be called concurrently, but
// none after Release.
type Handle struct {
	t     *Tree
	i     *inode
	flags int

	next  atomic.Int64 // where the last read ended
	ahead atomic.Int64 // up to where was fetched ahead
}

// handle opens i, whose mu is held or which nobody else knows.
func (t *Tree) handle(i *inode, flags int) *Handle {
	h := &Handle{t: t, i: i, flags: flags}
	i.handles++
	if h.writable() {
		i.writers++
	}
	t.handles.Add(1)
	return h // with the pin that the caller has on i
}

// Open opens a regular file; flags are those of open(2). O_TRUNC truncates.
func (t *Tree) Open(ctx context.Context, ino Ino, flags int) (*Handle, error) {
	i, err := t.table.get(ino)
	if err != nil {
		return nil, err
	}
	h, err := t.open(ctx, i, flags)
	if err != nil {
		i.put()
	}
	return h, err
}

func (t *Tree) open(ctx context.Context, i *inode, flags int) (*Handle, error) {
	switch i.kind {
	case unix.DT_REG:
	case unix.DT_DIR:
		return nil, unix.EISDIR
	case unix.DT_LNK:
		return nil, unix.ELOOP
	default:
		return nil, unix.ENXIO
	}
	trunc := flags&unix.O_TRUNC != 0 && flags&unix.O_ACCMODE != unix.O_RDONLY
	if trunc {
		if err := t.begin(ctx); err != nil {
			return nil, err
		}
		defer t.end()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dead {
		return nil, unix.ENOENT
	}
	if err := t.lostInode(i); err != nil {
		return nil, err
	}
	if trunc {
		set := SetAttr{Valid: SetSize}
		if err := t.setattr(i, &set); err != nil {
			return nil, err
		}
	}
	return t.handle(i, flags), nil
}

// Ino is the number of the open inode.
func (h *Handle) Ino() Ino { return h.i.ino }

// Flags are the flags that the handle was opened with.
func (h *Handle) Flags() int { return h.flags }

func (h *Handle) readable() bool { return h.flags&unix.O_ACCMODE != unix.O_WRONLY }

func (h *Handle) writable() bool { return h.flags&unix.O_ACCMODE != unix.O_RDONLY }

// Flush reports, at a close, whether something written through the inode was lost.
func (h *Handle) Flush(ctx context.Context) error {
	h.i.mu.RLock()
	defer h.i.mu.RUnlock()
	return h.t.lostInode(h.i)
}

// Release closes the handle. It is called once. It never waits for the pipe. An
// unlinked inode goes with its last handle.
func (h *Handle) Release() {
	t, i := h.t, h.i
	t.handles.Add(-1)
	t.epochMu.RLock()
	i.mu.Lock()
	i.handles--
	var ended Stream
	if h.writable() {
		if i.writers--; i.writers == 0 {
			ended = i.stream
		}
	}
	if i.handles == 0 {
		if i.attr.Nlink == 0 && !i.dead && !i.inUse(t) {
			t.delete(i)
		}
		if i.newest == nil {
			i.stream, i.live = nil, nil
		}
	}
	i.mu.Unlock()
	t.epochMu.RUnlock()
	if ended != nil {
		t.cfg.Collector.Finish(ended)
	}
	i.put()
}
