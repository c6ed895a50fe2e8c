package tree

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// readers counts the reads that are under way, between looking up where bytes are and having
// them: what they looked up must be there until then. They never wait.
type readers struct {
	turn atomic.Uint32   // its lowest bit says in which of n who begins now is counted
	n    [2]atomic.Int64 // reads under way
	left chan struct{}   // has a token when one of n may have come to nought

	quiescing sync.Mutex // held while somebody waits
}

func (r *readers) init() { r.left = make(chan struct{}, 1) }

// enter counts a read; what it returns is for leave.
func (r *readers) enter() uint32 {
	for {
		turn := r.turn.Load() & 1
		r.n[turn].Add(1)
		if r.turn.Load()&1 == turn {
			return turn
		}
		r.leave(turn) // somebody has begun to wait just now
	}
}

func (r *readers) leave(turn uint32) {
	if r.n[turn].Add(-1) == 0 {
		select {
		case r.left <- struct{}{}:
		default:
		}
	}
}

// Quiesce returns when every read of a file's contents that was under way has ended. Others may
// have begun meanwhile.
func (t *Tree) Quiesce(ctx context.Context) error {
	r := &t.readers
	r.quiescing.Lock()
	defer r.quiescing.Unlock()
	// Twice: whoever waited before may not have waited to the end.
	for range 2 {
		old := r.turn.Add(1)&1 ^ 1
		for r.n[old].Load() != 0 {
			select {
			case <-r.left:
			case <-ctx.Done():
				return fmt.Errorf("%w: wait for readers: %w", unix.EINTR, ctx.Err())
			}
		}
	}
	return nil
}
