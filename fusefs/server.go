package fusefs

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// serve answers requests until the mount is gone, and with it the last user.
func (s *Server) serve(log *slog.Logger, run func(stop <-chan struct{}), gone context.CancelFunc) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		run(stop)
	}()
	if err := s.conn.Serve(s.answer, gone); err != nil {
		log.Error("the mount has failed", "mount", s.dir, "err", err)
	}
	close(stop)
	<-stopped
	// A kernel that goes doesn't forget before.
	if s.tree != nil {
		for _, ino := range s.tree.Unnamed() {
			s.tree.Forget(ino)
		}
	}
	close(s.done)
}

// answer answers one request of the kernel.
func (s *Server) answer(in, out [][]byte) (int, unix.Errno) {
	n, status := s.protocol.HandleRequest(in, out)
	return n, unix.Errno(status)
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
	head := order.AppendUint64(nil, uint64(parent))
	head = order.AppendUint32(head, uint32(len(name)))
	head = order.AppendUint32(head, 0) // flags
	// That the kernel doesn't know the directory, or is gone, is as good.
	s.conn.Notify(noticeEntry, head, append([]byte(name), 0))
	// What the kernel doesn't know it will never forget.
	for _, ino := range s.tree.Unnamed() {
		if errors.Is(s.inodeNotice(uint64(ino), -1, 0), unix.ENOENT) {
			s.tree.Forget(ino)
		}
	}
}

// InodeChanged has the kernel forget attributes, ACLs and content of an inode; see EntryChanged.
func (s *Server) InodeChanged(ino tree.Ino) { s.inodeNotice(uint64(ino), 0, 0) }

// Changed is called after what a mount that is read-only shows has changed, by one goroutine at a time and never from a
// handler. The kernel then drops what it has in memory of the files that are open and have changed; of others it believes what
// it knows for a second. Requests about such files wait for it, so it is not to be left out.
func (s *Server) Changed() {
	s.shown.changed(func(node uint64) { s.inodeNotice(node, 0, 0) })
}

// dropPages has the kernel forget content that it has in memory.
func (s *Server) dropPages(ino uint64, off, length int64) { s.inodeNotice(ino, off, length) }

// Codes of notices (linux/fuse.h), which are in the machine's byte order.
const (
	noticeInode = 2 // number u64 | offset i64, negative for attributes only | length i64, 0 to the end
	noticeEntry = 3 // directory u64 | length of the name u32 | flags u32 | name, zero byte
)

var order = binary.NativeEndian

func (s *Server) inodeNotice(ino uint64, off, length int64) error {
	notice := order.AppendUint64(nil, ino)
	notice = order.AppendUint64(notice, uint64(off))
	return s.conn.Notify(noticeInode, order.AppendUint64(notice, uint64(length)))
}
