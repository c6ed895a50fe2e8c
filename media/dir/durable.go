package dir

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeDurably makes a directory outside of any root, with its parents, and
// syncs the directory that holds each one made.
func makeDurably(name string) error {
	err := os.Mkdir(name, dirMode)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err := makeDurably(filepath.Dir(name)); err != nil {
			return err
		}
		if err := os.Mkdir(name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case err != nil:
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return syncAndClose(d)
}

// makeParents makes the directories above name. Those that it makes, and those
// that another process made just before and perhaps has not synced, are made
// stable by syncAncestors.
func (m *Medium) makeParents(name string) error {
	if parent := path.Dir(name); parent != "." {
		return m.root.MkdirAll(filepath.FromSlash(parent), dirMode)
	}
	return nil
}

// syncParent makes the entry of name stable.
func (m *Medium) syncParent(name string) error { return m.syncDir(path.Dir(name)) }

// syncAncestors makes stable the entries of name and of every directory above
// it, the deepest first.
func (m *Medium) syncAncestors(name string) error {
	for name != "." {
		name = path.Dir(name)
		if err := m.syncDir(name); err != nil {
			return err
		}
	}
	return nil
}

func (m *Medium) syncDir(name string) error {
	d, err := m.root.Open(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	return syncAndClose(d)
}

func (m *Medium) syncFile(name string) error {
	// For reading: the medium may be one that the file's bytes can be synced
	// on but not changed by this user.
	f, err := m.root.Open(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	if err := fdatasync(f); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func syncAndClose(d *os.File) error {
	return errors.Join(d.Sync(), d.Close())
}

func fdatasync(f *os.File) error {
	err := ignoringEINTR(func() error { return unix.Fdatasync(int(f.Fd())) })
	return os.NewSyscallError("fdatasync", err)
}
