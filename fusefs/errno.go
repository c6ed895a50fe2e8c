package fusefs

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errnos is the one place where errors that are no errno become one. What is not in it, damage and a
// failed pipe above all, is EIO.
var errnos = []struct {
	err   error
	errno unix.Errno
}{
	{context.Canceled, unix.EINTR},
	{context.DeadlineExceeded, unix.EINTR},
	{os.ErrNotExist, unix.ENOENT},
	{os.ErrExist, unix.EEXIST},
	{os.ErrPermission, unix.EPERM},
	{os.ErrInvalid, unix.EINVAL},
	{os.ErrClosed, unix.EBADF},
}

// Errno is what an application sees of err; 0 for nil. An errno in the chain of err counts first (the tree
// answers ENOSPC so when the medium is full), then the table of this package; the rest is EIO.
//
// ENOSYS is not let through: the kernel takes it for "never ask that again".
func Errno(err error) unix.Errno {
	if err == nil {
		return 0
	}
	var errno unix.Errno
	if errors.As(err, &errno) && errno != 0 {
		if errno == unix.ENOSYS {
			return unix.EOPNOTSUPP
		}
		return errno
	}
	for _, e := range errnos {
		if errors.Is(err, e.err) {
			return e.errno
		}
	}
	return unix.EIO
}
