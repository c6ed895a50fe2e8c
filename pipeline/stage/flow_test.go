package stage_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/faulty"
	"coffer/pipeline/stage"
)

// TestBound has several writers fill a pipe whose store stands still: they wait with no more pending than the bound, whoever
// holds it, and go on when it moves. What they have written is there.
func TestBound(t *testing.T) {
	for _, c := range []struct {
		bound int64
		size  int
	}{{1 << 20, 5000}, {1 << 20, 100_000}, {1 << 20, 1 << 20}, {3 << 20, 1 << 20}} {
		t.Run(fmt.Sprint(c.bound, " ", c.size), func(t *testing.T) { testBound(t, c.bound, c.size) })
	}
}

func testBound(t *testing.T, bound int64, size int) {
	ctx := watched(t, 2*time.Minute)
	r := newRig(t, ctx, func(cfg *stage.Config) { cfg.Buffers = 64 })
	r.writer.Bound(bound)
	still := make(chan struct{})
	var held atomic.Bool
	held.Store(true)
	r.medium.SetRule(func(ctx context.Context, op faulty.Op, _ string) error {
		if op == faulty.Append && held.Load() {
			select {
			case <-still:
			case <-ctx.Done():
			}
		}
		return nil
	})
	const writers = 4
	total := 2 * int(bound) // more than one of them can write
	files := make([]*file, writers)
	var wg sync.WaitGroup
	for i := range files {
		files[i] = &file{ino: chunkfmt.Ino(i + 2)}
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(size)))
			for len(files[i].data) < total {
				r.mustWrite(files[i], int64(len(files[i].data)), random(rng.Uint64(), size))
				if p := r.writer.Pending(); p > bound+stage.BufferSize {
					t.Errorf("%d bytes are pending, the bound is %d", p, bound)
				}
			}
		})
	}
	// All of them stand still at last.
	for {
		if now, _ := r.writer.Bounded(); now == writers {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(context.Cause(ctx))
		}
		time.Sleep(time.Millisecond)
	}
	if p := r.writer.Pending(); p < bound/2 {
		t.Errorf("they wait with %d bytes pending, the bound is %d", p, bound)
	}
	held.Store(false)
	close(still)
	wg.Wait()
	if err := r.await(r.cutAll(stage.MarkEnd, files...)); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.replays(files...)
}

// TestBoundKeepsBlocks: where blocks are cut does not depend on the bound, as long as one file is written and the bound
// is twice the longest block: with less, that block may be all that is pending, and none of it on its way.
func TestBoundKeepsBlocks(t *testing.T) {
	data := random(5, 6<<20)
	blocks := func(bound int64) (all []chunkfmt.BlockRecord) {
		ctx := watched(t, time.Minute)
		r := newRig(t, ctx, nil)
		r.writer.Bound(bound)
		var written atomic.Bool
		still := func() bool { now, _ := r.writer.Bounded(); return now > 0 }
		r.medium.SetRule(func(ctx context.Context, op faulty.Op, _ string) error {
			// With a bound, the store stands still until the writer does.
			for bound > 0 && op == faulty.Append && !written.Load() && !still() && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		f := &file{ino: 2}
		for len(f.data) < len(data) {
			r.mustWrite(f, int64(len(f.data)), data[len(f.data):][:128<<10])
		}
		written.Store(true)
		if err := r.await(r.cutAll(stage.MarkEnd, f)); err != nil {
			t.Fatal(err)
		}
		r.close()
		if _, waits := r.writer.Bounded(); waits > 0 != (bound > 0) {
			t.Errorf("with a bound of %d it has waited %d times", bound, waits)
		}
		for _, seq := range slices.Sorted(maps.Keys(r.index.groups)) {
			all = append(all, r.index.groups[seq].Blocks...)
		}
		return all
	}
	if diff := cmp.Diff(blocks(0), blocks(2<<20)); diff != "" {
		t.Errorf("blocks differ (-without +with):\n%s", diff)
	}
}

// TestBoundEnds: who waits for the bound is told when the medium is full, and when the pipe ends.
func TestBoundEnds(t *testing.T) {
	ctx := watched(t, time.Minute)
	r := newRig(t, ctx, nil)
	f := &file{ino: 2}
	r.mustWrite(f, 0, random(1, 1000))
	if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
		t.Fatal(err)
	}
	r.writer.Bound(1)
	r.medium.SetRule(faulty.Fail(media.ErrFull, faulty.Append, faulty.Create))
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = r.write(&f.stream, int64(len(f.data)), random(2, 300_000))
	}
	if !errors.Is(err, media.ErrFull) {
		t.Fatalf("on a full medium: %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		var err error
		for err == nil || errors.Is(err, media.ErrFull) {
			_, err = r.write(&f.stream, int64(len(f.data)), random(3, 300_000))
		}
		ended <- err
	}()
	r.pipe.Abort(errors.New("killed"))
	if err := <-ended; !errors.Is(err, stage.ErrClosed) {
		t.Errorf("when the pipe ended: %v", err)
	}
	r.shut()
}
