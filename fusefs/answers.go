package fusefs

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// answers is what all that answers requests of one mount has in common.
type answers struct {
	ctx   context.Context // of the mount
	log   *slog.Logger
	waits func(number uint64)    // told of a request that is going to wait
	said  atomic.Pointer[string] // the I/O error that was logged last
}

// request makes the context of one request; defer its end.
func (a *answers) request(cancel <-chan struct{}, h *fuse.InHeader) *killable {
	return &killable{Context: a.ctx, cancel: cancel, pid: h.Pid, number: h.Unique, waits: a.waits}
}

// status turns an error of the tree into what the kernel is told. A request that is called off because the
// mount ends is an I/O error: no signal interrupted it.
func (a *answers) status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	errno := Errno(err)
	if errno == unix.EINTR && a.ctx.Err() != nil {
		return fuse.EIO
	}
	if errno == unix.EIO {
		a.complain(err)
	}
	return fuse.Status(errno)
}

// stale is status for a request that names an inode by number alone. That there is none can only mean that it went
// between the finding of its name and the request; the kernel then finds the name again.
func (a *answers) stale(err error) fuse.Status {
	s := a.status(err)
	if s == fuse.ENOENT {
		return fuse.Status(unix.ESTALE)
	}
	return s
}

// complain logs what the application is told as a mere EIO; the same error time and again, once.
func (a *answers) complain(err error) {
	text := err.Error()
	if last := a.said.Swap(&text); last == nil || *last != text {
		a.log.Error("I/O error", "err", err)
	}
}
