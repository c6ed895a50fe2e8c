package tree

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// TestEachCutIsAPrefix does random operations while another goroutine takes cuts
// at any moment. What each cut has journalled, applied to an empty index, must be
// the state after the operations that were done at its freeze, no more, no less.
func TestEachCutIsAPrefix(t *testing.T) {
	ctx := context.Background()
	rapid.Check(t, func(rt *rapid.T) {
		ops := genOps("", 0, allOps).Draw(rt, "ops")
		r := newRig(t, nil)
		r.log.oddTail = rapid.Bool().Draw(rt, "odd tail")
		m := newModel()

		// An operation is in a cut or not; only the one under way may be either.
		type instant struct{ done, begun int64 }
		var begun, done atomic.Int64
		var freezes []instant // appended under the tree's epoch lock
		r.log.onCut = func() { freezes = append(freezes, instant{done.Load(), begun.Load()}) }

		states := []string{m.dump(true)}
		over := make(chan struct{})
		var cuts sync.WaitGroup
		cuts.Go(func() { r.syncUntil(ctx, over) })
		var failed error
		for k, o := range ops {
			begun.Add(1)
			failed = step(ctx, r, m, k, o)
			done.Add(1)
			if failed != nil {
				break
			}
			states = append(states, m.dump(true))
		}
		close(over)
		cuts.Wait()
		if failed != nil {
			rt.Fatal(failed)
		}
		r.close()

		for n, at := range freezes {
			got := r.viewOf(n + 1)
			last := min(at.begun, int64(len(states)-1))
			matches := false
			for k := at.done; k <= last; k++ {
				matches = matches || got == states[k]
			}
			if !matches {
				rt.Fatalf("cut %d, taken after %d operations (%d begun):\n%s", n+1, at.done, at.begun, diff(states[at.done], got))
			}
		}
	})
}

// view is the tree that the first n cuts make, as a remount would show it.
func (r *rig) view(n int) *rig {
	log := newFakeLog()
	v := &rig{t: r.t, log: log, cfg: r.cfg}
	v.cfg.Index = r.log.indexAt(r.t, n)
	v.cfg.Collector, v.cfg.Groups, v.cfg.Flight = log, r.log, r.log
	v.start()
	return v
}

func (r *rig) viewOf(n int) string {
	v := r.view(n)
	defer v.close()
	return v.dump("", true)
}
