package fusefs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// cache decides for each open how the kernel may cache the file, and has the kernel drop pages that a direct
// write may have left stale.
//
// A direct write goes past the page cache, at twice the speed. The kernel drops the pages that it covers, but
// before it sends the write: a reader who comes in between brings the old page back, and nothing would ever
// drop it again. Only a reader with a handle can do that, so:
//
//   - a handle is direct only when no other one of the inode was open at its opening, and only one that begins
//     with an empty file: who maps a file and stores into it while another writes past the page cache may write a
//     whole page back over what was written, and of a file that is just being made nobody does;
//   - a direct write that finds a cached handle open is followed by a notification, sent by run since one
//     from a handler deadlocks;
//   - an inode that had both kinds open is stale until an open, or a notification after the last close,
//     has dropped its pages; an open of any other keeps them.
type cache struct {
	// writeback: the kernel gathers writes, so none may go past its pages.
	writeback bool
	// notify has the kernel drop the pages of a stretch; a length of 0 reaches to the end.
	notify func(ino uint64, off, length int64)
	wake   chan struct{} // has a token when the queue may have something

	mu      sync.Mutex // guards what follows; nothing is locked after it
	inodes  map[uint64]*caching
	queue   map[uint64]span // notifications to send
	sending uint64          // the inode whose notification is under way, or 0
}

// caching is how the open handles of an inode go together.
type caching struct {
	handles int
	direct  int  // of them, those past the page cache
	writers int  // of the others, those that may have dirty pages in it
	stale   bool // both kinds were open since pages were last dropped
}

// span is a stretch of a file, without its end; an end of 0 is that of the file.
type span struct{ from, end int64 }

func newCache(notify func(ino uint64, off, length int64)) *cache {
	return &cache{
		notify: notify,
		wake:   make(chan struct{}, 1),
		inodes: map[uint64]*caching{},
		queue:  map[uint64]span{},
	}
}

// open takes in a new handle and says which FOPEN flags it gets.
func (c *cache) open(ino uint64, flags uint32) (fopen uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.inodes[ino]
	if n == nil {
		n = &caching{}
		_, queued := c.queue[ino]
		n.stale = queued || c.sending == ino
		c.inodes[ino] = n
	}
	n.handles++
	empty := flags&(unix.O_CREAT|unix.O_TRUNC) != 0 // the kernel leaves O_CREAT in where it was one
	if flags&unix.O_ACCMODE == unix.O_WRONLY && empty && n.handles == 1 && !c.writeback {
		n.direct++
		return fuse.FOPEN_DIRECT_IO
	}
	if writes(flags) {
		n.writers++
	}
	if n.direct > 0 {
		n.stale = true
		return 0
	}
	if n.stale {
		n.stale = false
		return 0
	}
	return fuse.FOPEN_KEEP_CACHE
}

// wrote is told of every direct write once the tree has it.
func (c *cache) wrote(ino uint64, off, length int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.inodes[ino]; n != nil && n.handles > n.direct {
		c.enqueue(ino, span{off, off + length})
	}
}

// flush has the kernel write the dirty pages of an inode from off on, if there may be any, and returns when
// the tree has them. No request that holds pages may wait for it.
func (c *cache) flush(ino uint64, off int64) {
	c.mu.Lock()
	n := c.inodes[ino]
	dirty := n != nil && n.writers > 0
	c.mu.Unlock()
	if dirty {
		c.notify(ino, off, 0) // what is to be dropped is written first
	}
}

func writes(flags uint32) bool { return flags&unix.O_ACCMODE != unix.O_RDONLY }

// close gives a handle back that open took in with the same flags.
func (c *cache) close(ino uint64, flags uint32, direct bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.inodes[ino]
	if n == nil {
		return
	}
	n.handles--
	switch {
	case direct:
		n.direct--
	case writes(flags):
		n.writers--
	}
	if n.handles > 0 {
		return
	}
	if n.stale {
		c.enqueue(ino, span{})
	}
	delete(c.inodes, ino)
}

func (c *cache) enqueue(ino uint64, s span) {
	if old, ok := c.queue[ino]; ok {
		s.from = min(s.from, old.from)
		if s.end == 0 || old.end == 0 {
			s.end = 0
		} else {
			s.end = max(s.end, old.end)
		}
	}
	c.queue[ino] = s
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run sends the notifications until stop is closed.
func (c *cache) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-c.wake:
		}
		for {
			ino, s, ok := c.next()
			if !ok {
				break
			}
			length := int64(0)
			if s.end > 0 {
				length = s.end - s.from
			}
			c.notify(ino, s.from, length)
		}
	}
}

// next takes a notification out of the queue; the inode counts as stale until the next call.
func (c *cache) next() (ino uint64, s span, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending = 0
	for ino, s := range c.queue {
		delete(c.queue, ino)
		c.sending = ino
		return ino, s, true
	}
	return 0, span{}, false
}
