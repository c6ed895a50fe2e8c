package dir

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"coffer/media"
)

// translations are the errors that callers tell apart.
var translations = []struct {
	errno unix.Errno
	to    error
}{
	{unix.ENOENT, media.ErrNotExist},
	{unix.EEXIST, media.ErrExist},
	{unix.ENOSPC, media.ErrFull},
	{unix.EDQUOT, media.ErrFull},
	{unix.EROFS, media.ErrReadOnly},
}

// translate adds the contract's error to that of the system, which stays
// readable and findable behind it.
func translate(err error) error {
	for _, t := range translations {
		if errors.Is(err, t.errno) {
			return fmt.Errorf("%w: %w", t.to, err)
		}
	}
	return err
}

// ignoringEINTR repeats a system call that a signal interrupted.
func ignoringEINTR(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
