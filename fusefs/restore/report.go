package restore

import (
	"sync"
	"sync/atomic"
)

// reporter counts, and tells of problems.
type reporter struct {
	files, bytes, there, kept, problems atomic.Uint64

	mu   sync.Mutex // tell is called once at a time
	tell func(Problem)
}

func (r *reporter) problem(p Problem) {
	r.problems.Add(1)
	if r.tell == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell(p)
}

func (r *reporter) counts() Counts {
	return Counts{
		Files: r.files.Load(), Bytes: r.bytes.Load(), There: r.there.Load(), Kept: r.kept.Load(),
		Problems: r.problems.Load(),
	}
}
