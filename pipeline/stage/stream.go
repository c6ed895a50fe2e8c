package stage

import (
	"sync"

	"coffer/pipeline"
)

// Stream is what the Collector keeps for one file being written. The zero
// value is ready. It belongs to the inode and must not be copied.
//
// Whoever changes bytes of the file by other means than Slot.Write (truncate,
// punch, zero) calls Collector.Finish first: a later write would else cover
// again what an unfinished block held before. So does whoever shares pieces of
// it with another file: a cut tells the Tail of the stream's own only.
type Stream struct {
	// Owner is for the owner's use, set before the first Begin.
	Owner any

	// mu guards what follows. Collector.mu, Run.mu may be taken after it.
	// Only one Stream's is held at a time.
	mu      sync.Mutex
	run     *Run             // nil: there is none, and no buffer
	fileOff int64            // of the run
	buf     *pipeline.Buffer // holds the unfinished block from its first byte on
	fill    int              // bytes of it
	// clean: a cut has stored all that there is, provisionally, in the run
	// before this one. The next write covers it from its beginning.
	clean bool

	// Guarded by Collector.mu: the list of streams that hold a buffer.
	prev, next *Stream
	listed     bool
}

// open is where the unfinished block begins in the file, and where it ends,
// which is where the run does. There is a run.
func (s *Stream) open() (openAt, end int64) {
	at := s.fileOff + s.run.openAt // openAt changes under s.mu only
	return at, at + int64(s.fill)
}

// lru lists streams by their last write. Guarded by Collector.mu.
type lru struct {
	root Stream // next: the latest, prev: the earliest
	n    int
}

func (l *lru) touch(s *Stream) {
	l.remove(s)
	if l.root.next == nil {
		l.root.next, l.root.prev = &l.root, &l.root
	}
	s.prev, s.next = &l.root, l.root.next
	s.prev.next, s.next.prev = s, s
	s.listed = true
	l.n++
}

func (l *lru) remove(s *Stream) {
	if !s.listed {
		return
	}
	s.prev.next, s.next.prev = s.next, s.prev
	s.prev, s.next, s.listed = nil, nil, false
	l.n--
}

// earliest is the stream written least recently; nil if there is none.
func (l *lru) earliest() *Stream {
	if l.n == 0 {
		return nil
	}
	return l.root.prev
}

// all lists the streams, the earliest first.
func (l *lru) all() []*Stream {
	list := make([]*Stream, 0, l.n)
	if l.n > 0 {
		for s := l.root.prev; s != &l.root; s = s.prev {
			list = append(list, s)
		}
	}
	return list
}
