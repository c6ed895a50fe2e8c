package dir

import (
	"container/list"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// handles keeps files open for reading, the most recently used ones.
type handles struct {
	root  *os.Root
	limit int

	mu     sync.Mutex // guards all below and the fields of each handle; no lock is taken under it
	byName map[string]*list.Element
	recent list.List // of *handle, the latest in front
	closed bool
}

// handle is one open file. It is closed when it has left the cache and its last
// user has put it back.
type handle struct {
	name   string
	file   *os.File
	users  int
	cached bool
}

func newHandles(root *os.Root, limit int) *handles {
	return &handles{root: root, limit: limit, byName: make(map[string]*list.Element)}
}

// get returns an open handle; the caller puts it back.
func (c *handles) get(name string) (*handle, error) {
	if h := c.lookup(name); h != nil {
		if current(h.file) {
			return h, nil
		}
		c.drop(h)
		c.put(h)
	}
	f, err := c.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return c.add(&handle{name: name, file: f, users: 1}), nil
}

func (c *handles) lookup(name string) *handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byName[name]
	if !ok {
		return nil
	}
	c.recent.MoveToFront(e)
	h := e.Value.(*handle)
	h.users++
	return h
}

// add caches h unless someone was faster, and makes room for it.
func (c *handles) add(h *handle) *handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.byName[h.name]; taken || c.closed {
		return h
	}
	h.cached = true
	c.byName[h.name] = c.recent.PushFront(h)
	for c.recent.Len() > c.limit {
		c.evict(c.recent.Back())
	}
	return h
}

// put gives a handle back.
func (c *handles) put(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.users--
	c.release(h)
}

// drop takes a handle that shows a file long gone out of the cache.
func (c *handles) drop(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byName[h.name]; ok && e.Value == h {
		c.evict(e)
	}
}

// forget takes whatever name has out of the cache.
func (c *handles) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byName[name]; ok {
		c.evict(e)
	}
}

func (c *handles) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for c.recent.Len() > 0 {
		c.evict(c.recent.Back())
	}
	return nil
}

// evict and release run with c.mu held.
func (c *handles) evict(e *list.Element) {
	h := c.recent.Remove(e).(*handle)
	delete(c.byName, h.name)
	h.cached = false
	c.release(h)
}

func (c *handles) release(h *handle) {
	if h.users == 0 && !h.cached {
		// Opened for reading only: closing it has nothing to report.
		_ = h.file.Close()
	}
}

// current tells whether the file still has a name: another process may have
// removed or replaced it.
func current(f *os.File) bool {
	var st unix.Stat_t
	err := ignoringEINTR(func() error { return unix.Fstat(int(f.Fd()), &st) })
	return err == nil && st.Nlink > 0
}
