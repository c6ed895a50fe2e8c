package restore

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// unfinished is the mode of a directory that is being restored: it is given it when it
// is made, and another when all that is to be in it is there. So a later run knows it.
const unfinished = unix.S_ISVTX | 0o700

// isUnfinished knows such a directory, also in one that passes its set-group-id bit on.
func isUnfinished(st *unix.Stat_t, uid uint32) bool {
	return st.Mode&0o7777&^unix.S_ISGID == unfinished && st.Uid == uid
}

// dir is a directory of the destination.
type dir struct {
	up    *dir // nil: the root, whose name is its path
	name  string
	ino   chunkfmt.Ino // in the archive
	fresh bool         // this run has made it: nothing is there but what this run has put there
	// inherits says that it has a default ACL, which what is made in it gets.
	inherits bool

	// Guarded by dirs.mu, but for the root, whose fd stays.
	fd   int // valid while at is not nil
	at   *list.Element
	pins int
}

// path is where an entry of the directory is in the part.
func (d *dir) path(name string) string { return strings.TrimSuffix(d.self(), "/") + "/" + name }

// self is where the directory is in the part.
func (d *dir) self() string {
	var names []string
	for ; d.up != nil; d = d.up {
		names = append(names, d.name)
	}
	slices.Reverse(names)
	return "/" + strings.Join(names, "/")
}

// look finds out what a directory does to what is made in it, and removes what runs
// that were killed have left there without a proper name. It is called before anything
// is made in it.
func (d *dir) look(fd int) error {
	n, err := unix.Fgetxattr(fd, aclDefault, nil)
	d.inherits = err == nil && n > 0
	if d.fresh {
		return nil
	}
	f, err := openFile(fd)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(1000)
		for _, name := range names {
			if !isTemporary(name) {
				continue
			}
			if err := unix.Unlinkat(fd, name, 0); err != nil && err != unix.ENOENT {
				return fmt.Errorf("remove %s, which a run that was killed has left there: %w", name, err)
			}
		}
		if len(names) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// openFile opens a directory once more, to list it.
func openFile(fd int) (*os.File, error) {
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(again), "."), nil
}

// maxOpen is how many directories are kept open.
const maxOpen = 256

// dirs opens directories, and keeps those open that were used last. No symbolic link is
// followed: a directory is never looked for by more than one name at a time.
type dirs struct {
	limit int

	mu   sync.Mutex // guards what follows, and fields of each dir; nothing is locked after it
	open list.List  // of *dir, the one used last in front
}

// get opens a directory. Its descriptor is good for paths that begin there, until put.
func (c *dirs) get(d *dir) (int, error) {
	if d.up == nil {
		return d.fd, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.getLocked(d)
}

func (c *dirs) getLocked(d *dir) (int, error) {
	if d.up == nil {
		return d.fd, nil
	}
	if d.at != nil {
		c.open.MoveToFront(d.at)
		d.pins++
		return d.fd, nil
	}
	above, err := c.getLocked(d.up)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Openat(above, d.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	c.putLocked(d.up)
	if err != nil {
		return -1, err
	}
	c.evict()
	d.fd, d.pins, d.at = fd, 1, c.open.PushFront(d)
	return fd, nil
}

// evict closes what was not used for longest, if there is too much open.
func (c *dirs) evict() {
	for e := c.open.Back(); e != nil && c.open.Len() >= c.limit; {
		d := e.Value.(*dir)
		e = e.Prev()
		if d.pins == 0 {
			c.drop(d)
		}
	}
}

func (c *dirs) drop(d *dir) {
	unix.Close(d.fd) // it was opened for paths only
	c.open.Remove(d.at)
	d.at = nil
}

func (c *dirs) put(d *dir) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(d)
}

func (c *dirs) putLocked(d *dir) {
	if d.up != nil {
		d.pins--
	}
}

func (c *dirs) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.open.Len() > 0 {
		c.drop(c.open.Back().Value.(*dir))
	}
}

// remove takes away what is in the way of something that may replace it.
func remove(fd int, name string) error {
	err := unix.Unlinkat(fd, name, 0)
	if err == unix.EISDIR || err == unix.EPERM {
		err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.ENOTEMPTY) {
		return ErrDirectory
	}
	return written("remove what is there", err)
}
