package walk

import (
	"sync"
	"sync/atomic"
	"time"
)

// reporter counts, and tells the caller of Put.
type reporter struct {
	files, dirs, unchanged, stored, bytes, removed atomic.Uint64

	next atomic.Int64 // when progress is to be told again, in ns of the wall clock

	mu       sync.Mutex // guards what follows, and that tell is called once at a time
	tell     func(Progress)
	problems []Problem
	count    uint64
}

// reportEvery is how often the caller is told of progress.
const reportEvery = 100 * time.Millisecond

// finished counts a name, and tells of it if that is due. The path is built only then.
func (r *reporter) finished(now time.Time, path func() string) {
	if r.tell == nil {
		return
	}
	due := r.next.Load()
	if now.UnixNano() < due || !r.next.CompareAndSwap(due, now.Add(reportEvery).UnixNano()) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell(Progress{Counts: r.counts(), Path: path()})
}

// problem takes down what went wrong with a source.
func (r *reporter) problem(path string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	p := Problem{Path: path, Err: err}
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, p)
	}
	if r.tell != nil {
		r.tell(Progress{Counts: r.counts(), Path: path, Problem: &p})
	}
}

// counts is called with mu held.
func (r *reporter) counts() Counts {
	return Counts{
		Files:     r.files.Load(),
		Dirs:      r.dirs.Load(),
		Unchanged: r.unchanged.Load(),
		Stored:    r.stored.Load(),
		Bytes:     r.bytes.Load(),
		Removed:   r.removed.Load(),
		Problems:  r.count,
	}
}

func (r *reporter) result() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Result{Counts: r.counts(), Problems: r.problems}
}
