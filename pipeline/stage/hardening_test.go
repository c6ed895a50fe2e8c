package stage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/index/dedup"
	"coffer/media"
	"coffer/media/faulty"
	"coffer/pipeline/stage"
)

// TestRunsEndAtCuts is about memory: what a run knows of its blocks must not grow
// with the file.
func TestRunsEndAtCuts(t *testing.T) {
	for _, n := range []int{1000, 300_000, 1 << 20} {
		ctx := watched(t, time.Minute)
		r := newRig(t, ctx, nil)
		f := &file{ino: 2}
		for i := range 5 {
			r.mustWrite(f, int64(len(f.data)), random(uint64(i), n))
			last := f.spans[len(f.spans)-1].Run
			if got := last.Len(); got > int64(n+stage.SmallBlock) {
				t.Errorf("writes of %d bytes: after cut %d a run of %d bytes", n, i, got)
			}
			if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
				t.Fatal(err)
			}
			r.mustCheck(f)
		}
		if err := r.await(r.cutAll(stage.MarkEnd, f)); err != nil {
			t.Fatal(err)
		}
		r.close()
		r.mustCheck(f)
	}
}

// TestFullAndTorn: an append that was torn because the medium is full leaves a
// chunk that would say so for ever.
func TestFullAndTorn(t *testing.T) {
	ctx := watched(t, 20*time.Second)
	r := newRig(t, ctx, nil)
	f := &file{ino: 2}
	r.mustWrite(f, 0, random(1, 300_000))
	if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
		t.Fatal(err)
	}
	// What was written before the cut may be what finds the medium full, and only who waits then is told.
	waiting, once := make(chan struct{}), sometimes(1, 1, errors.Join(media.ErrFull, media.ErrTorn))
	r.medium.SetRule(func(ctx context.Context, op faulty.Op, name string) error {
		if op == faulty.Append {
			<-waiting
		}
		return once(ctx, op, name)
	})
	r.mustWrite(f, int64(len(f.data)), random(2, 300_000))
	acked := r.cutAll(stage.MarkCut, f)
	close(waiting)
	if err := r.await(acked); !errors.Is(err, media.ErrFull) {
		t.Fatalf("a cut on a full medium: %v", err)
	}
	if err := r.await(r.cutAll(stage.MarkEnd, f)); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.replays(f)
}

// replays compares what is on the medium with the files.
func (r *rig) replays(files ...*file) {
	r.t.Helper()
	got, err := replay(r.ctx, r.inner)
	if err != nil {
		r.t.Fatal(err)
	}
	want := map[chunkfmt.Ino][]byte{}
	for _, f := range files {
		want[f.ino] = f.data
	}
	if err := got.compare(want); err != nil {
		r.t.Errorf("%v", err)
	}
}

// TestFullMediumKeepsNobodyWaiting: with all buffers behind a full medium, writes
// and cuts say so instead of waiting; what was accepted is stored afterwards.
func TestFullMediumKeepsNobodyWaiting(t *testing.T) {
	ctx := watched(t, 30*time.Second)
	r := newRig(t, ctx, nil)
	f := &file{ino: 2}
	r.medium.SetRule(faulty.Fail(media.ErrFull, faulty.Append))
	var err error
	for i := uint64(0); err == nil; i++ {
		var pieces []stage.Piece
		p := random(i, 1<<20)
		at := int64(len(f.data))
		if pieces, err = r.write(&f.stream, at, p); err == nil {
			f.wrote(at, p, pieces)
		}
	}
	if !errors.Is(err, media.ErrFull) {
		t.Fatalf("a write to a full medium: %v", err)
	}
	switch slot, err := r.c.Prepare(ctx); {
	case err == nil: // there was a buffer left
		slot.Release()
	case !errors.Is(err, media.ErrFull):
		t.Fatalf("a cut on a full medium: %v", err)
	}
	r.mustCheck(f)
	r.medium.SetRule(nil)
	if err := r.await(r.cutAll(stage.MarkEnd, f)); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.replays(f)
}

// TestDetachForgetsWhatIsVoid: the next session goes on from the last batch that
// was acknowledged, so groups behind it are void, also those that are stable.
func TestDetachForgetsWhatIsVoid(t *testing.T) {
	ctx := watched(t, time.Minute)
	var table *dedup.Table
	r := newRig(t, ctx, func(cfg *stage.Config) {
		table = cfg.Dedup
		cfg.ChunkSize = 1 << 20
	})
	f := &file{ino: 2}
	r.mustWrite(f, 0, random(1, 700_000))
	if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
		t.Fatal(err)
	}
	last := r.writer.Head().Seq
	kept := table.Stats()
	// Full chunks are made stable, and acknowledged, without a cut.
	for i := 0; r.writer.Acked() <= last; i++ {
		if ctx.Err() != nil {
			t.Fatal("chunks become full and are not acknowledged")
		}
		r.mustWrite(f, int64(len(f.data)), random(uint64(10+i), 1<<20))
	}
	r.pipe.Abort(errors.New("pulled the plug"))
	r.shut()
	if got := table.Stats(); got.Entries != kept.Entries {
		t.Errorf("%d entries in the dedup table, %d before what is void", got.Entries, kept.Entries)
	}
	for n := last.Number() + 1; n < last.Number()+30; n++ {
		if _, ok := r.flight.Record(chunkfmt.MakeSeq(1, n)); ok {
			t.Errorf("group %d is void and still known", n)
		}
	}
}

// TestManyWritersAndCuts writes, overwrites, reads and finishes many files at once
// while cuts are taken. A cut needs two buffers, and gets them though the writers
// take every single one that comes free.
func TestManyWritersAndCuts(t *testing.T) {
	ctx := watched(t, time.Minute)
	r := newRig(t, ctx, func(cfg *stage.Config) { cfg.Buffers = 12 })
	r.medium.SetRule(slowly(time.Millisecond))
	// epoch is what the tree has: a cut is between two writes.
	var epoch sync.RWMutex
	files := make([]*file, 8)
	stop := make(chan struct{})
	errs := make(chan error, len(files)+1)
	var wg sync.WaitGroup
	for i := range files {
		f := &file{ino: chunkfmt.Ino(i + 2)}
		files[i] = f
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 9))
			for step := 0; ; step++ {
				select {
				case <-stop:
					errs <- nil
					return
				default:
				}
				if err := r.step(&epoch, f, rng, step); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	for range 8 {
		acked := r.cutUnder(&epoch, stage.MarkCut, files)
		if err := r.await(acked); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	wg.Wait()
	for range files {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := r.await(r.cutUnder(&epoch, stage.MarkEnd, files)); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.mustCheck(files...)
	r.replays(files...)
}

// step does one thing to f, which only the caller writes; a cut may look at it.
func (r *rig) step(epoch *sync.RWMutex, f *file, rng *rand.Rand, step int) error {
	switch what := rng.IntN(10); {
	case what == 0:
		r.c.Finish(&f.stream)
		return nil
	case what < 3:
		epoch.RLock()
		z := frozen{f.ino, f.data, f.spans}
		epoch.RUnlock()
		return (&file{ino: z.ino, data: z.data, spans: z.spans}).check(r.ctx)
	}
	n := []int{100, 4000, 60_000, 200_000, 700_000}[rng.IntN(5)]
	off := int64(len(f.data))
	if off > 512<<10 || rng.IntN(4) == 0 {
		off = rng.Int64N(off + 1)
		n = min(n, 200_000)
	}
	p := random(uint64(step)*64+uint64(f.ino), n)
	if rng.IntN(8) == 0 {
		clear(p)
	}
	slot, err := r.c.Begin(r.ctx, &f.stream, off, len(p))
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer slot.Release()
	epoch.RLock()
	defer epoch.RUnlock()
	f.wrote(off, p, slot.Write(p))
	return nil
}

func (r *rig) cutUnder(epoch *sync.RWMutex, kind stage.MarkerKind, files []*file) <-chan error {
	b := &batch{ready: make(chan struct{})}
	return r.mark(stage.Marker{Kind: kind, Batch: b}, func(cut func() []stage.Tail) {
		defer close(b.ready)
		epoch.Lock()
		defer epoch.Unlock()
		tails := cut()
		for _, f := range files {
			b.files = append(b.files, f.freeze(tails))
		}
	})
}

// TestDiscardedChunk stops a pipe between the making of a chunk and its first append. The chunk can be removed and made
// anew, as a server does for a client that comes back.
func TestDiscardedChunk(t *testing.T) {
	ctx := watched(t, 20*time.Second)
	appending := make(chan struct{})
	var once sync.Once
	r := newRig(t, ctx, func(cfg *stage.Config) {
		cfg.Medium.(*faulty.Medium).SetRule(func(ctx context.Context, op faulty.Op, _ string) error {
			if op != faulty.Append {
				return nil
			}
			once.Do(func() { close(appending) })
			<-ctx.Done()
			return ctx.Err()
		})
	})
	<-appending
	r.pipe.Abort(errors.New("stopped"))
	_ = r.pipe.Wait() // says that it was stopped
	for _, k := range r.catalog.Chunks() {
		if err := r.inner.Remove(ctx, k.Name); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.catalog.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	h := chunkfmt.ChunkHeader{Volume: testKeys.ID, Chunk: chunkfmt.MakeChunkID(1, 1, false)}
	if err := r.catalog.AddChunk(h); err != nil {
		t.Errorf("make the chunk anew: %v", err)
	}
	r.shut()
}
