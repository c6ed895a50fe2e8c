package tree

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"coffer/pipeline/stage"
)

// enlarged makes the operations reach over blocks of the real pipe.
func enlarged(ops []op, by int) []op {
	for k := range ops {
		if slices.Contains(fileOps, ops[k].Kind) {
			ops[k].Off, ops[k].N = ops[k].Off*by, ops[k].N*by
		}
	}
	return ops
}

// mortal is one of several goroutines, each below a directory of its own, whose
// operations a crash ends.
type mortal struct {
	dir         string
	m           *model
	ops         []op
	states      []string // after each operation
	begun, done atomic.Int64
	stable      int64 // operations that a Sync has promised
}

// run does the operations until the crash.
func (w *mortal) run(ctx context.Context, v *volume, syncEvery int, crash *atomic.Bool) error {
	for k, o := range w.ops {
		if k%syncEvery == syncEvery-1 {
			done := w.done.Load()
			if v.Sync(ctx) != nil {
				return nil
			}
			w.stable = done
		}
		w.begun.Add(1)
		want, wantErr := w.m.apply(o)
		got, gotErr := v.apply(ctx, o)
		if crash.Load() {
			return nil // may be in the last cut or not, whatever it answered
		}
		if !sameErr(wantErr, gotErr) || o.Kind != "lookup" && want != got {
			return fmt.Errorf("%s op %d %+v:\nwant %.99q, %v\ngot  %.99q, %v", w.dir, k, o, want, wantErr, got, gotErr)
		}
		w.states = append(w.states, w.m.dumpAt(w.dir, false))
		w.done.Add(1)
	}
	return nil
}

// instants are the moments of all freezes, as how much each goroutine had done and
// begun.
type instants struct {
	Collector
	workers []*mortal
	all     [][][2]int64 // written under the tree's epoch lock
}

func (c *instants) Prepare(ctx context.Context) (CutSlot, error) {
	s, err := c.Collector.Prepare(ctx)
	return instant{s, c}, err
}

type instant struct {
	CutSlot
	c *instants
}

func (s instant) Cut(m stage.Marker) []Tail {
	var now [][2]int64
	for _, w := range s.c.workers {
		now = append(now, [2]int64{w.done.Load(), w.begun.Load()})
	}
	s.c.all = append(s.c.all, now)
	return s.CutSlot.Cut(m)
}

// TestCrashLeavesOneCut lets goroutines work until the power fails or the pipe is
// stopped. What a new session finds is the state at the freeze of one cut, the same
// for all, and not before the last Sync that returned.
func TestCrashLeavesOneCut(t *testing.T) {
	fewer(t, 25)
	rapid.Check(t, func(rt *rapid.T) {
		ctx := watched(t, 2*time.Minute)
		by := rapid.SampledFrom([]int{1, 3000}).Draw(rt, "scale")
		syncEvery := rapid.IntRange(2, 30).Draw(rt, "sync every")
		var hook *instants
		v := newVolume(t, 1<<30, func(v *volume) { v.cfg.MaxClean = 4 })
		v.end()
		v.below()
		hook = &instants{Collector: v.cfg.Collector}
		v.cfg.Collector = hook
		v.start()
		total := 0
		for k := range 3 {
			w := &mortal{dir: fmt.Sprint("d", k), m: newModel()}
			w.ops = enlarged(genOps(w.dir, 3*k, allOps).Draw(rt, w.dir), by)
			top := op{Kind: "mkdir", A: w.dir, Mode: 0o755}
			_, _ = w.m.apply(top)
			if _, err := v.apply(ctx, top); err != nil {
				rt.Fatal(err)
			}
			w.states = []string{w.m.dumpAt(w.dir, false)}
			hook.workers = append(hook.workers, w)
			total += len(w.ops)
		}
		if err := v.Sync(ctx); err != nil {
			rt.Fatal(err)
		}
		hook.all = append(hook.all, make([][2]int64, len(hook.workers))) // if no other cut comes
		power := rapid.Bool().Draw(rt, "power fails")
		seed := rapid.Uint64().Draw(rt, "seed")
		after := rapid.Int64Range(1, int64(total)).Draw(rt, "after")

		var crash atomic.Bool
		var busy sync.WaitGroup
		errs := make([]error, len(hook.workers))
		for k, w := range hook.workers {
			busy.Go(func() { errs[k] = w.run(ctx, v, syncEvery, &crash) })
		}
		over := make(chan struct{})
		go func() { busy.Wait(); close(over) }()
		for running := true; running; {
			var done int64
			for _, w := range hook.workers {
				done += w.done.Load()
			}
			select {
			case <-over:
				running = false
			default:
				running = done < after
			}
		}
		crash.Store(true)
		medium := v.medium
		if power {
			var err error
			if medium, err = v.medium.Crash(ctx, seed); err != nil {
				rt.Fatal(err)
			}
		}
		v.source.Pipe().Abort(context.Canceled)
		busy.Wait()
		<-over
		for _, err := range errs {
			if err != nil {
				rt.Fatal(err)
			}
		}
		v.die(ctx)
		v.medium = medium
		if rapid.Bool().Draw(rt, "index lost") {
			v.o.StateDir = t.TempDir()
		}
		v.revive()
		defer v.end()

		matches := func(k int, got string, at [2]int64) bool {
			w := hook.workers[k]
			most := min(at[1]+1, int64(len(w.states)))
			if at[1] > w.done.Load() { // the one that the crash ended
				if got == w.m.dumpAt(w.dir, false) {
					return true
				}
			}
			return slices.Contains(w.states[at[0]:max(most, at[0]+1)], got)
		}
		var got []string
		for _, w := range hook.workers {
			got = append(got, v.dump(w.dir, false))
		}
		for _, at := range slices.Backward(hook.all) {
			ok := true
			for k, w := range hook.workers {
				// A sync that found nothing to do took no cut.
				kept := slices.Contains(w.states[w.stable:], got[k]) || at[k][1] > w.done.Load()
				ok = ok && kept && matches(k, got[k], at[k])
			}
			if ok {
				return
			}
		}
		var told strings.Builder
		for k, w := range hook.workers {
			fmt.Fprintf(&told, "\n%s: %d done, %d stable, is like", w.dir, w.done.Load(), w.stable)
			for n, state := range append(w.states, w.m.dumpAt(w.dir, false)) {
				if state == got[k] {
					fmt.Fprint(&told, " ", n)
				}
			}
			fmt.Fprintf(&told, "; against %d:\n%.2000s", w.stable, diff(w.states[w.stable], got[k]))
		}
		rt.Fatalf("what is left is the state of none of the cuts %v: %s", hook.all, told.String())
	})
}
