package fusefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestErrno(t *testing.T) {
	damaged := errors.New("group is damaged")
	for _, c := range []struct {
		name string
		err  error
		want unix.Errno
	}{
		{"none", nil, 0},
		{"plain", unix.EXDEV, unix.EXDEV},
		{"wrapped", fmt.Errorf("rename a: %w", unix.ENOTEMPTY), unix.ENOTEMPTY},
		{"path error", &os.PathError{Op: "open", Path: "a", Err: unix.EACCES}, unix.EACCES},
		{"full", fmt.Errorf("%w: %w", unix.ENOSPC, errors.New("medium is full")), unix.ENOSPC},
		{"damage", fmt.Errorf("read: %w", damaged), unix.EIO},
		{"unknown", errors.New("?"), unix.EIO},
		{"cancelled", fmt.Errorf("wait: %w", context.Canceled), unix.EINTR},
		{"timed out", context.DeadlineExceeded, unix.EINTR},
		{"not there", os.ErrNotExist, unix.ENOENT},
		{"closed", os.ErrClosed, unix.EBADF},
		{"would silence the kernel", unix.ENOSYS, unix.EOPNOTSUPP},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Errno(c.err); got != c.want {
				t.Errorf("Errno(%v) = %v, want %v", c.err, got, c.want)
			}
		})
	}
}
