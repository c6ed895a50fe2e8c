// Package dir is the medium that is a directory of a local file system: one
// file an object.
//
// What makes it more than a few calls of package os is the order in which
// things become stable: see Appender's Sync and Put, and the golden sequences
// of system calls in testdata. Files and directories whose names begin with a
// dot (locks, halves of a Put) are its own and not objects.
//
// Start reading at Open, then append.go and put.go.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"coffer/media"
)

// Modes of what is made here: a store tells lengths and times, so it is kept
// from other users.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

// Options configures Open. The zero value is ready to use.
type Options struct {
	// Create makes the directory and its parents if they are missing.
	Create bool
	// Handles bounds the files kept open for reading; 0 means 64.
	Handles int
}

// Medium is a directory. It implements media.Medium, media.Syncer,
// media.Replacer, media.Spacer and media.Locker.
type Medium struct {
	// root pins the directory: should its file system be unmounted over us,
	// nothing is ever written to the empty mount point beneath.
	root    *os.Root
	handles *handles
	path    string // for messages
}

// Open opens the directory at path as a medium. It fails with
// media.ErrNotExist if there is none and none is to be created.
func Open(path string, o Options) (*Medium, error) {
	if o.Create {
		if err := makeDurably(path); err != nil {
			return nil, fmt.Errorf("create medium %s: %w", path, translate(err))
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open medium %s: %w", path, translate(err))
	}
	if o.Handles <= 0 {
		o.Handles = 64
	}
	return &Medium{root: root, handles: newHandles(root, o.Handles), path: path}, nil
}

// ReadAt reads from a file.
func (m *Medium) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	if err := admit(ctx, name); err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	h, err := m.handles.get(name)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, translate(err))
	}
	defer m.handles.put(h)
	n, err := h.file.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read %s at %d: %w", name, off, translate(err))
	}
	return n, err
}

// List walks the directory that prefix lies in.
func (m *Medium) List(ctx context.Context, prefix string) ([]media.Info, error) {
	start := "."
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		start = prefix[:i]
		if err := media.CheckName(start); err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
	}
	var list []media.Info
	err := fs.WalkDir(m.root.FS(), start, func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed since its directory was read, or no start at all
		}
		if err != nil {
			return err
		}
		if name != "." && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !strings.HasPrefix(name, prefix) {
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		list = append(list, media.Info{Name: name, Size: info.Size()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, translate(err))
	}
	// The walk orders by element; a slash sorts after a dash in a whole name.
	slices.SortFunc(list, func(a, b media.Info) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Remove unlinks a file and syncs its directory.
func (m *Medium) Remove(ctx context.Context, name string) error {
	err := admit(ctx, name)
	if err == nil {
		err = m.root.Remove(filepath.FromSlash(name))
	}
	if err == nil {
		m.handles.forget(name)
		err = m.syncParent(name)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, translate(err))
	}
	return nil
}

// Sync makes stable a file that an earlier process left.
func (m *Medium) Sync(ctx context.Context, name string) error {
	err := admit(ctx, name)
	if err == nil {
		err = m.syncFile(name)
	}
	if err == nil {
		err = m.syncAncestors(name)
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", name, translate(err))
	}
	return nil
}

// Space asks the file system. The part that is reserved for root counts as
// free only for root.
func (m *Medium) Space(ctx context.Context) (media.Space, error) {
	if err := ctx.Err(); err != nil {
		return media.Space{}, err
	}
	d, err := m.root.Open(".")
	if err != nil {
		return media.Space{}, fmt.Errorf("space of %s: %w", m.path, translate(err))
	}
	defer d.Close()
	var s unix.Statfs_t
	if err := ignoringEINTR(func() error { return unix.Fstatfs(int(d.Fd()), &s) }); err != nil {
		return media.Space{}, fmt.Errorf("space of %s: %w", m.path, err)
	}
	free := s.Bavail
	if os.Geteuid() == 0 {
		free = s.Bfree
	}
	unit := uint64(s.Frsize)
	return media.Space{Free: free * unit, Total: s.Blocks * unit, FreeFiles: s.Ffree, Files: s.Files}, nil
}

// Close closes the files kept open for reading.
func (m *Medium) Close() error {
	return errors.Join(m.handles.close(), m.root.Close())
}

func admit(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return media.CheckName(name)
}
