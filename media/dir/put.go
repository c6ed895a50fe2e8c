package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Put writes the object beside its place, syncs it, renames it into place and
// syncs the directory: after a crash at any point the name shows the old bytes
// or the new ones.
func (m *Medium) Put(ctx context.Context, name string, data []byte) error {
	err := m.replace(ctx, name, func(f *os.File) error {
		_, err := f.WriteAt(data, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", name, translate(err))
	}
	return nil
}

// Replace does what Put does with an object of any length.
func (m *Medium) Replace(ctx context.Context, name string, content io.Reader) error {
	err := m.replace(ctx, name, func(f *os.File) error { return pour(ctx, f, content) })
	if err != nil {
		return fmt.Errorf("replace %s: %w", name, translate(err))
	}
	return nil
}

// pourSize is how much of an object is written at a time, bytes.
const pourSize = 1 << 20

func pour(ctx context.Context, f *os.File, content io.Reader) error {
	buf := make([]byte, pourSize)
	for at := int64(0); ; {
		n, err := io.ReadFull(content, buf)
		if _, err := f.WriteAt(buf[:n], at); err != nil {
			return err
		}
		at += int64(n)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

func (m *Medium) replace(ctx context.Context, name string, fill func(*os.File) error) error {
	err := admit(ctx, name)
	if err == nil {
		err = m.makeParents(name)
	}
	if err == nil {
		err = m.prepare(name, fill)
	}
	if err == nil {
		m.handles.forget(name)
		err = m.syncAncestors(name)
	}
	return err
}

// prepare fills another file and puts it in the object's place.
func (m *Medium) prepare(name string, fill func(*os.File) error) error {
	half := hidden(name, "put")
	f, err := m.openLocked(half)
	if err != nil {
		return err
	}
	if err = f.Truncate(0); err == nil {
		err = fill(f)
	}
	if err == nil {
		err = fdatasync(f)
	}
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

// hidden returns the path of a file of our own that goes with an object.
func hidden(name, purpose string) string {
	dir, base := path.Split(name)
	return filepath.FromSlash(dir + "." + base + "." + purpose)
}
