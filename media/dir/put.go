package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Put writes the object beside its place, syncs it, renames it into place and
// syncs the directory: after a crash at any point the name shows the old bytes
// or the new ones.
func (m *Medium) Put(ctx context.Context, name string, data []byte) error {
	err := admit(ctx, name)
	if err == nil {
		err = m.makeParents(name)
	}
	if err == nil {
		err = m.replace(name, data)
	}
	if err == nil {
		m.handles.forget(name)
		err = m.syncAncestors(name)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, translate(err))
	}
	return nil
}

func (m *Medium) replace(name string, data []byte) error {
	half := hidden(name, "put")
	f, err := m.openLocked(half)
	if err != nil {
		return err
	}
	err = fill(f, data)
	if err == nil {
		err = m.root.Rename(half, filepath.FromSlash(name))
	}
	if err != nil {
		return errors.Join(err, m.root.Remove(half), f.Close())
	}
	return f.Close()
}

// openLocked opens the one file in which the next content of an object is
// prepared. Two that put the same object take turns by its lock, and the next
// one reuses what a crash left behind.
func (m *Medium) openLocked(half string) (*os.File, error) {
	for {
		f, err := m.root.OpenFile(half, os.O_RDWR|os.O_CREATE, fileMode)
		if err != nil {
			return nil, err
		}
		err = ignoringEINTR(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX) })
		if err != nil {
			return nil, errors.Join(os.NewSyscallError("flock", err), f.Close())
		}
		if current, err := m.root.Stat(half); err == nil {
			if own, err := f.Stat(); err == nil && os.SameFile(current, own) {
				return f, nil
			}
		}
		// It was renamed into place or removed while we waited for it.
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

func fill(f *os.File, data []byte) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return fdatasync(f)
}

// hidden returns the path of a file of our own that goes with an object.
func hidden(name, purpose string) string {
	dir, base := path.Split(name)
	return filepath.FromSlash(dir + "." + base + "." + purpose)
}
