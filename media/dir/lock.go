package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"coffer/media"
)

// maxHolder bounds what is read of a lock file, which anyone may have written.
const maxHolder = 512

// Lock takes an flock on a file of its own, into which it writes the process,
// the host and what holder says. The kernel drops the lock with the process;
// the file stays, since removing it would let two take "the" lock.
func (m *Medium) Lock(ctx context.Context, name, holder string) (func() error, error) {
	err := admit(ctx, name)
	if err == nil {
		err = m.makeParents(name)
	}
	var f *os.File
	if err == nil {
		f, err = m.root.OpenFile(hidden(name, "lock"), os.O_RDWR|os.O_CREATE, fileMode)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, translate(err))
	}
	err = ignoringEINTR(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = &media.LockedError{Name: name, Holder: readHolder(f)}
		return nil, errors.Join(err, f.Close())
	}
	if err == nil {
		err = writeHolder(f, holder)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, translate(err)), f.Close())
	}
	return sync.OnceValue(func() error {
		// The lock goes in any case; a name left in the file misleads nobody,
		// because it is read only while the lock is held.
		return errors.Join(f.Truncate(0), f.Close())
	}), nil
}

func readHolder(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxHolder))
	if err != nil {
		return ""
	}
	printable := func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}
	return strings.Map(printable, strings.TrimSpace(string(b)))
}

func writeHolder(f *os.File, holder string) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	line := fmt.Sprintf("process %d on %s: %s\n", os.Getpid(), host, holder)
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(line), 0)
	return ignoreFull(err)
}

// ignoreFull lets a full medium be locked, for one must be able to delete from
// it: the line is a courtesy.
func ignoreFull(err error) error {
	if errors.Is(translate(err), media.ErrFull) {
		return nil
	}
	return err
}
