package tree

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// TestQuiesce waits for the readers that were there, and not for those that come.
func TestQuiesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := &Tree{}
		tree.readers.init()
		old := []uint32{tree.readers.enter(), tree.readers.enter()}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := tree.Quiesce(ended); !errors.Is(err, unix.EINTR) {
			t.Fatalf("with readers, after the context has ended: %v", err)
		}
		var done atomic.Bool
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if err := tree.Quiesce(t.Context()); err != nil {
				t.Error(err)
			}
			done.Store(true)
		})
		synctest.Wait()
		tree.readers.leave(old[0])
		synctest.Wait()
		if done.Load() {
			t.Fatal("a reader was not waited for")
		}
		young := tree.readers.enter()
		tree.readers.leave(old[1])
		synctest.Wait()
		if !done.Load() {
			// The second round may wait for who came in the first.
			tree.readers.leave(young)
			young = 2
		}
		waiting.Wait()
		if young != 2 {
			tree.readers.leave(young)
		}
		if n := tree.readers.n[0].Load() + tree.readers.n[1].Load(); n != 0 {
			t.Errorf("%d readers are counted that have left", n)
		}
	})
}

// TestQuiesceRacing has readers take what Quiesce's caller frees: none may see it freed.
func TestQuiesceRacing(t *testing.T) {
	tree := &Tree{}
	tree.readers.init()
	type page struct{ freed atomic.Bool }
	var current atomic.Pointer[page]
	current.Store(&page{})
	stop := make(chan struct{})
	var reading sync.WaitGroup
	for range 4 {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				turn := tree.readers.enter()
				p := current.Load()
				for range 50 {
					if p.freed.Load() {
						t.Error("freed under a reader")
						tree.readers.leave(turn)
						return
					}
				}
				tree.readers.leave(turn)
			}
		})
	}
	for range 2000 {
		old := current.Swap(&page{})
		if err := tree.Quiesce(t.Context()); err != nil {
			t.Error(err)
		}
		old.freed.Store(true)
	}
	close(stop)
	reading.Wait()
}
