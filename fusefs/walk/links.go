package walk

import (
	"context"
	"sync"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// fileID is a file of this machine.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{st.Dev, st.Ino} }

// links knows the files with more names than one of which not all have been met.
type links struct {
	mu  sync.Mutex // guards met and the left of what is in it; nothing is locked after it
	met map[fileID]*link
}

// link is such a file.
type link struct {
	left  uint64        // names to come
	ready chan struct{} // closed when ino is known
	ino   tree.Ino      // where its content is in the volume; 0: it could not be put
}

// claim says whether this is the first name of the file. Whoever has the first stores the content and calls
// publish, in any case; all others wait.
func (l *links) claim(st *unix.Stat_t) (*link, bool) {
	id := idOf(st)
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.met[id]
	if !ok {
		f = &link{left: uint64(st.Nlink) - 1, ready: make(chan struct{})}
		l.met[id] = f
		return f, true
	}
	if f.left--; f.left == 0 {
		delete(l.met, id)
	}
	return f, false
}

func (f *link) publish(ino tree.Ino) {
	f.ino = ino
	close(f.ready)
}

// wait returns the inode that publish was given.
func (f *link) wait(ctx context.Context) (tree.Ino, error) {
	select {
	case <-f.ready:
		return f.ino, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}
