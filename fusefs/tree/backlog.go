package tree

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// backlog is what is behind the open epoch: cuts not yet acknowledged, cuts
// acknowledged but not yet in the index, and who waits for them.
type backlog struct {
	dirtied     chan struct{} // the open epoch has its first change
	pressed     chan struct{} // it has grown so much that a cut is due
	asked       chan struct{} // requests hold something
	landed      chan struct{} // a cut was acknowledged: for the cutter
	applies     chan struct{} // likewise: for the applier
	failing     chan struct{} // closed by fail
	applierGone chan struct{} // closed when the applier has ended

	cancel  context.CancelFunc
	closing chan struct{}  // closed when the applier is to finish
	cutting sync.WaitGroup // the cutter
	applied sync.WaitGroup // the applier

	hurried    atomic.Int32  // who waits for the index
	ackedEpoch atomic.Uint64 // all up to this one are stable
	failure    atomic.Pointer[failure]

	// mu is a leaf: nothing is locked after it.
	mu         sync.Mutex
	unacked    []*epoch
	unapplied  []*epoch
	last       *epoch // the newest cut; nil before the first
	cuts       uint64
	lastStable time.Time
	shared     *request   // waits for the next cut; many share it
	special    []*request // what nobody shares: snapshots, journals and the end
	sealing    []int64    // times of archives that the index does not have yet
	stopped    bool       // no cutter any more
	room       chan struct{}
	waiting    bool // somebody waits for room
}

type failure struct{ err error }

func (b *backlog) init() {
	b.dirtied = make(chan struct{}, 1)
	b.pressed = make(chan struct{}, 1)
	b.asked = make(chan struct{}, 1)
	b.landed = make(chan struct{}, 1)
	b.applies = make(chan struct{}, 1)
	b.failing = make(chan struct{})
	b.applierGone = make(chan struct{})
	b.closing = make(chan struct{})
	b.room = make(chan struct{})
}

// kick wakes who listens to c, if it is not to wake already.
func (b *backlog) kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Failed says why changes are refused with EIO, or nil. It does not go away:
// the tree has to be closed and made anew above what was acknowledged.
func (t *Tree) Failed() error {
	if f := t.failure.Load(); f != nil {
		return f.err
	}
	return nil
}

// refuse is the error of an operation that a failure stands against.
func (t *Tree) refuse() error {
	if f := t.failure.Load(); f != nil {
		return fmt.Errorf("%w: %w", unix.EIO, f.err)
	}
	return nil
}

// fail makes the tree refuse changes, and ends all waiting.
func (t *Tree) fail(err error) {
	if !t.failure.CompareAndSwap(nil, &failure{err}) {
		return
	}
	t.cfg.Log.Error("tree takes no more changes", "err", err)
	t.mu.Lock()
	for _, e := range t.unacked {
		e.tell(t.refuse())
	}
	t.giveRoom()
	t.mu.Unlock()
	close(t.failing)
}

// lost says whether epoch n is one that will never be acknowledged.
func (t *Tree) lost(n uint64) bool {
	return t.failure.Load() != nil && n > t.ackedEpoch.Load()
}

// lostInode is EIO if the inode has changes that were lost. i.mu is held.
func (t *Tree) lostInode(i *inode) error {
	if i.newest != nil && t.lost(i.newest.e.n) {
		return t.refuse()
	}
	return nil
}

// admit waits while too much is dirty.
func (t *Tree) admit(ctx context.Context) error {
	for {
		if err := t.refuse(); err != nil {
			return err
		}
		if t.dirty.Load() <= t.cfg.MaxDirty {
			return nil
		}
		t.mu.Lock()
		if l := t.last; l != nil && l.told && !l.stable {
			err := l.err // no room will come before the medium has some
			t.mu.Unlock()
			return err
		}
		room := t.room
		t.waiting = true
		t.mu.Unlock()
		if t.dirty.Load() <= t.cfg.MaxDirty {
			return nil
		}
		t.kick(t.pressed)
		select {
		case <-room:
		case <-t.failing:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", unix.EINTR, ctx.Err())
		}
	}
}

// giveRoom wakes who waits for room; mu is held.
func (b *backlog) giveRoom() {
	if b.waiting {
		close(b.room)
		b.room = make(chan struct{})
		b.waiting = false
	}
}

// tell ends the waiting for the epoch; backlog.mu is held.
func (e *epoch) tell(err error) {
	if !e.told {
		e.told, e.err = true, err
		close(e.done)
	}
}
