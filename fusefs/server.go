package fusefs

import (
	"context"

	"github.com/hanwen/go-fuse/v2/fuse"

	"coffer/fusefs/tree"
)

// serve answers requests until the mount is gone, and with it the last user.
func (s *Server) serve(c *cache) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		c.run(stop)
	}()
	s.fuse.Serve()
	close(stop)
	<-stopped
	// A kernel that goes doesn't forget before.
	for _, ino := range s.tree.Unnamed() {
		s.tree.Forget(ino)
	}
	close(s.done)
}

// Dir is where the tree is mounted: absolute, without symbolic links.
func (s *Server) Dir() string { return s.dir }

// Wait returns when the mount is gone, whoever took it away.
func (s *Server) Wait() { <-s.done }

// Done is closed when the mount is gone.
func (s *Server) Done() <-chan struct{} { return s.done }

func (s *Server) waitFor(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// EntryChanged has the kernel forget what it knows of a name in a directory. Whoever changes the tree past the
// mount calls it, after the change and never from a handler or under a lock of the tree's.
func (s *Server) EntryChanged(parent tree.Ino, name string) {
	// That the kernel doesn't know the directory, or is gone, is as good.
	s.fuse.EntryNotify(uint64(parent), name)
	// What the kernel doesn't know it will never forget.
	for _, ino := range s.tree.Unnamed() {
		if s.fuse.InodeNotify(uint64(ino), -1, 0) == fuse.ENOENT {
			s.tree.Forget(ino)
		}
	}
}

// InodeChanged has the kernel forget attributes, ACLs and content of an inode; see EntryChanged.
func (s *Server) InodeChanged(ino tree.Ino) { s.fuse.InodeNotify(uint64(ino), 0, 0) }

func (s *Server) dropPages(ino uint64, off, length int64) { s.fuse.InodeNotify(ino, off, length) }
