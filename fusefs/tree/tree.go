package tree

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is a live file tree. All methods may be called concurrently. Errors that
// POSIX names are (or wrap) a unix.Errno; others wrap what the collector, the
// groups or the index said. A name that is too long is ENAMETOOLONG, an inode
// number that is not there ENOENT. Once the pipe has failed, changes and Sync
// are EIO, and so is reading what was never acknowledged; see Failed.
type Tree struct {
	cfg     Config
	table   *table
	nextIno atomic.Uint64 // the last one given
	// frozenIno is the last one that a frozen epoch tells of. Guarded by epochMu, held for writing.
	frozenIno uint64
	handles   atomic.Int64
	inodes    atomic.Int64 // of the live tree; changed inside epochs
	bytes     atomic.Int64 // in its regular files; likewise
	dirty     atomic.Int64 // cost of all epochs not yet in the index
	forgets   bool         // Forget will be called; never changes
	unnamed   inoSet       // what waits for it, if so

	stamps     atomic.Pointer[func() time.Time] // nil: the tree's clock
	leaveTimes atomic.Bool

	// epochMu is held for reading by every change, and for writing by the
	// freeze. It guards cur and altered. It comes before all other locks.
	epochMu sync.RWMutex
	cur     *epoch
	altered bool // before cur, since the last archive

	// renameMu is held by renames between directories, and so keeps still
	// who lies below whom. After epochMu, before inode locks.
	renameMu sync.Mutex

	backlog
	defrag  defrag
	readers readers
}

// New makes the tree above an index, and removes what a former writer left
// unlinked but open. The tree has goroutines of its own until Close; they, and
// everything that they wait for, end when ctx does.
func New(ctx context.Context, cfg Config) (*Tree, error) {
	cfg.defaults()
	t := &Tree{cfg: cfg, table: newTable(cfg.Index, cfg.MaxClean), cur: newEpoch(1)}
	t.backlog.init()
	t.readers.init()
	t.nextIno.Store(max(uint64(RootIno), uint64(cfg.Index.NextIno())-1))
	if cfg.Index.NextIno() == 0 {
		t.nextIno.Store(uint64(RootIno))
	}
	inodes, bytes := cfg.Index.Counts()
	t.inodes.Store(int64(inodes))
	t.bytes.Store(int64(bytes))
	t.altered = cfg.Index.Changed()
	if err := t.makeRoot(); err != nil {
		return nil, err
	}
	if err := t.removeOrphans(); err != nil {
		return nil, err
	}
	t.start(ctx)
	return t, nil
}

// LeaveTimes makes the tree leave mtime and ctime of a file as they are when its contents change: whoever uses
// the tree holds changes back and knows when they were made. He sets the times with Setattr; all others are taken
// from his clock too, for with another one times would go back.
func (t *Tree) LeaveTimes(clock func() time.Time) {
	t.stamps.Store(&clock)
	t.leaveTimes.Store(true)
}

// makeRoot makes the root directory of a new volume.
func (t *Tree) makeRoot() error {
	_, ok, err := t.cfg.Index.Inode(RootIno)
	if err != nil {
		return fmt.Errorf("load the root directory: %w", err)
	}
	if ok {
		return nil
	}
	mode := t.cfg.Mode & 0o7777
	if mode == 0 {
		mode = 0o755
	}
	t.epochMu.RLock()
	defer t.epochMu.RUnlock()
	i := t.birth(RootIno, Attr{
		Mode: unix.S_IFDIR | mode, Nlink: 2, Uid: t.cfg.Uid, Gid: t.cfg.Gid, Parent: RootIno,
	})
	i.put()
	return nil
}

// removeOrphans deletes the inodes that a former writer left without a name.
func (t *Tree) removeOrphans() error {
	orphans, err := t.cfg.Index.Orphans()
	if err != nil {
		return fmt.Errorf("list unlinked files: %w", err)
	}
	t.epochMu.RLock()
	defer t.epochMu.RUnlock()
	for _, ino := range orphans {
		i, err := t.table.get(ino)
		if err == unix.ENOENT { // itself, and not what a failed read wraps
			continue // its record says so and no more
		}
		if err != nil {
			return fmt.Errorf("remove unlinked file: %w", err)
		}
		i.mu.Lock()
		i.orphaned = true
		t.delete(i)
		i.mu.Unlock()
		i.put()
	}
	return nil
}

// begin enters a change: it waits while too much is dirty, and opens the epoch
// to be left by end. No lock is held.
func (t *Tree) begin(ctx context.Context) error {
	if err := t.admit(ctx); err != nil {
		return err
	}
	t.epochMu.RLock()
	return nil
}

func (t *Tree) end() { t.epochMu.RUnlock() }

// now is the time stamp of an operation.
func (t *Tree) now() Time {
	if clock := t.stamps.Load(); clock != nil {
		return MakeTime((*clock)())
	}
	return MakeTime(t.cfg.Clock())
}

// checkName checks a name that is to be made, removed or moved.
func checkName(name string) error {
	if len(name) > NameMax {
		return unix.ENAMETOOLONG
	}
	if name == "" {
		return unix.ENOENT
	}
	for k := range len(name) {
		if name[k] == '/' || name[k] == 0 {
			return unix.EINVAL
		}
	}
	return nil
}

func dots(name string) bool { return name == "." || name == ".." }

// written maps what the collector answers to a write.
func (t *Tree) writeError(err error) error {
	switch {
	case t.cfg.Full != nil && errors.Is(err, t.cfg.Full):
		return fmt.Errorf("%w: %w", unix.ENOSPC, err)
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", unix.EINTR, err)
	}
	return fmt.Errorf("%w: %w", unix.EIO, err)
}

func readError(ino Ino, off int64, err error) error {
	return fmt.Errorf("%w: read inode %d at %d: %w", unix.EIO, ino, off, err)
}
