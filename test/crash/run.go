package crash

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// run issues operations to a mount until it is told to stop or one fails.
type run struct {
	program *program
	tree    *mounted
	stop    atomic.Bool
	cutting atomic.Bool // the power is being cut: see reached

	ops     []op
	done    int // operations that returned
	durable atomic.Int64
	fsyncs  sync.WaitGroup
}

// newRun goes on from a known state of the tree in dir. New names are numbered from names on, so that
// none is used twice in the life of a store.
func newRun(rng *rand.Rand, state *model, names int, dir string, sync func() error) *run {
	return &run{
		program: &program{rng: rng, m: state.clone(), name: names},
		tree:    &mounted{dir: dir, open: map[int]*os.File{}, sync: sync},
	}
}

// issue does at most n operations and returns the error of the one that failed, if one did. The last
// of r.ops is then the one that may or may not have been done.
func (r *run) issue(n int) error {
	for range n {
		if r.stop.Load() {
			return nil
		}
		o := r.program.next()
		r.ops = append(r.ops, o)
		if err := r.one(o); err != nil {
			return fmt.Errorf("operation %d, %s: %w", len(r.ops), o, err)
		}
		r.program.m.apply(o)
		r.done = len(r.ops)
	}
	return nil
}

func (r *run) one(o op) error {
	before := int64(len(r.ops) - 1)
	if o.Kind == opFsyncBg {
		return r.fsyncBackground(r.tree.open[o.Handle], before)
	}
	if err := r.tree.do(o); err != nil {
		return err
	}
	switch o.Kind {
	case opFsync, opFsyncDir, opSync:
		r.reached(before)
	}
	return nil
}

// fsyncBackground lets an fsync run beside the operations that follow. A failure of it counts for
// nothing: what it did not promise is not asked for.
func (r *run) fsyncBackground(f *os.File, before int64) error {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	r.fsyncs.Go(func() {
		if unix.Fsync(fd) == nil {
			r.reached(before)
		}
		unix.Close(fd)
	})
	return nil
}

// reached notes that an fsync returned before which so many operations had been done. What returns while the
// power is being cut counts for nothing: the process outlives the cut by some microseconds, in which ext4 lets
// an fdatasync succeed whose journal commit the cut has aborted, as a program of two files shows that does
// nothing else. A real cut takes the process away at the same instant.
func (r *run) reached(done int64) {
	if r.cutting.Load() {
		return
	}
	for {
		old := r.durable.Load()
		if old >= done || r.durable.CompareAndSwap(old, done) {
			return
		}
	}
}

// end waits for what is under way and closes what is open; the mount is dead or will be.
func (r *run) end() {
	r.fsyncs.Wait()
	r.tree.closeAll()
}

// history is what is known after end.
func (r *run) history(base *model) history {
	return history{base: base, ops: r.ops, durable: int(r.durable.Load())}
}

// died says whether an error is how operations fail on a mount whose process or store is gone.
func died(err error) bool {
	for _, e := range []error{unix.ENOTCONN, unix.ECONNABORTED, unix.EIO, unix.EROFS, fs.ErrClosed, errSync} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// errSync marks a coffer sync that failed.
var errSync = errors.New("coffer sync failed")
