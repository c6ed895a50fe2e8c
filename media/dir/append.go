package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"coffer/media"
)

const (
	// writeBehind is how many bytes gather before the kernel is told to begin
	// writing them, so that the sync that comes has little left to do.
	writeBehind = 8 << 20
	// maxVectors is IOV_MAX.
	maxVectors = 1024
)

// appender extends one file. It writes at its own offset, not with O_APPEND, so
// that a write that was cut short is simply written over.
type appender struct {
	medium *Medium
	name   string
	file   *os.File
	size   atomic.Int64

	mu     sync.Mutex // serialises Append; may be taken while syncMu is held
	behind int64      // up to here the kernel was told to write
	torn   error      // an append left a part behind: nothing may follow it
	lost   error      // a sync has failed: what is stable is not known any more
	closed bool

	syncMu sync.Mutex // serialises Sync
	named  bool       // the file's name is stable
}

// Create makes a new file and its parent directories. Nothing is stable yet.
func (m *Medium) Create(ctx context.Context, name string) (media.Appender, error) {
	err := admit(ctx, name)
	if err == nil {
		err = m.makeParents(name)
	}
	var f *os.File
	if err == nil {
		f, err = m.root.OpenFile(filepath.FromSlash(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, translate(err))
	}
	return &appender{medium: m, name: name, file: f}, nil
}

func (a *appender) Append(ctx context.Context, parts ...[]byte) (int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	off := a.size.Load()
	err := a.usable(ctx)
	if err == nil {
		err = a.torn
	}
	if err != nil {
		return off, fmt.Errorf("append to %s: %w", a.name, err)
	}
	end, err := writev(int(a.file.Fd()), off, parts)
	if err != nil {
		err = translate(err)
		// Also after a write of nothing: a file system may have extended the
		// file before it failed.
		if undo := a.file.Truncate(off); undo != nil {
			a.torn = fmt.Errorf("%w: cannot take back a failed write: %w", media.ErrTorn, undo)
			err = errors.Join(err, a.torn)
		}
		return off, fmt.Errorf("append to %s at %d: %w", a.name, off, err)
	}
	a.size.Store(end)
	if end-a.behind >= writeBehind {
		// Advice only: an error of the disk shows at the sync, which must see it.
		_ = unix.SyncFileRange(int(a.file.Fd()), a.behind, end-a.behind, unix.SYNC_FILE_RANGE_WRITE)
		a.behind = end
	}
	return off, nil
}

// Sync syncs the file, then, the first time, every directory on the way to it:
// a new file is lost with its name.
func (a *appender) Sync(ctx context.Context) error {
	a.syncMu.Lock()
	defer a.syncMu.Unlock()
	a.mu.Lock()
	err := a.usable(ctx)
	a.mu.Unlock()
	if err != nil {
		return fmt.Errorf("sync %s: %w", a.name, err)
	}
	err = fdatasync(a.file)
	if err == nil && !a.named {
		err = a.medium.syncAncestors(a.name)
		a.named = err == nil
	}
	if err != nil {
		// The kernel reports a lost page once and then calls it clean: a
		// second sync would succeed and prove nothing.
		a.mu.Lock()
		defer a.mu.Unlock()
		a.lost = fmt.Errorf("%w: %w", media.ErrTorn, translate(err))
		return fmt.Errorf("sync %s: %w", a.name, a.lost)
	}
	return nil
}

func (a *appender) Size() int64 { return a.size.Load() }

func (a *appender) Close() error {
	a.syncMu.Lock()
	defer a.syncMu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	return a.file.Close()
}

// usable tells why the appender can neither append nor sync; a.mu is held.
func (a *appender) usable(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case a.lost != nil:
		return a.lost
	case a.closed:
		return media.ErrClosed
	}
	return nil
}

// writev writes parts at off and returns where they end. The parts' slices are
// not changed.
func writev(fd int, off int64, parts [][]byte) (int64, error) {
	var vectors [][]byte
	skip := 0 // bytes of parts[0] written already
	for {
		vectors = vectors[:0]
		for i, p := range parts {
			if i == 0 {
				p = p[skip:]
			}
			if len(p) > 0 {
				vectors = append(vectors, p)
			}
			if len(vectors) == maxVectors {
				break
			}
		}
		if len(vectors) == 0 {
			return off, nil
		}
		n, err := unix.Pwritev(fd, vectors, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return off, os.NewSyscallError("pwritev", err)
		}
		if n == 0 {
			return off, os.NewSyscallError("pwritev", unix.EIO)
		}
		off += int64(n)
		skip += n
		for len(parts) > 0 && skip >= len(parts[0]) {
			skip -= len(parts[0])
			parts = parts[1:]
		}
	}
}
