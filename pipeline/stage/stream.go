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
	run     *Run
	fileOff int64            // of the run
	buf     *pipeline.Buffer // holds the unfinished block from its first byte on; nil: there is none
	fill    int              // bytes of it
	// stored is the block that a cut has stored provisionally for the bytes
	// of buf. restate: the next write covers the unfinished block from its
	// beginning. clean: nothing has changed since.
	stored         *Block
	restate, clean bool

	// Guarded by Collector.mu: the list of streams that hold a buffer.
	prev, next *Stream
	listed     bool
}

// openAt is where the unfinished block begins in the file, and end where the
// run ends.
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
