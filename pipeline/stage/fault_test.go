package stage_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/faulty"
	"coffer/pipeline/stage"
)

// TestMain draws fewer runs than rapid does by itself: each is a whole session on
// a medium in trouble. COFFER_CHECKS and -rapid.checks say otherwise.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", cmp.Or(os.Getenv("COFFER_CHECKS"), "25")); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// watched gives a context that ends, with a dump of all goroutines, if the test
// takes so long that something must be waiting for ever.
func watched(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	watchdog := time.AfterFunc(limit, func() {
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		cancel(errors.New("deadlock: nothing has moved for too long"))
	})
	t.Cleanup(func() { watchdog.Stop(); cancel(nil) })
	return ctx
}

// slowly delays every append and sync.
func slowly(by time.Duration) faulty.Rule {
	return func(ctx context.Context, op faulty.Op, _ string) error {
		if op == faulty.Append || op == faulty.Sync {
			select {
			case <-time.After(by):
			case <-ctx.Done():
			}
		}
		return nil
	}
}

// sometimes fails every nth append with err, as often as it is left.
func sometimes(n int64, left int64, err error) faulty.Rule {
	var count, failed atomic.Int64
	return func(_ context.Context, op faulty.Op, _ string) error {
		if op == faulty.Append && count.Add(1)%n == 0 && failed.Add(1) <= left {
			return err
		}
		return nil
	}
}

// TestTenThousandStreams writes 10,000 files round robin through a pool of 16
// buffers, reads from others meanwhile, and takes cuts.
func TestTenThousandStreams(t *testing.T) {
	ctx := watched(t, 3*time.Minute)
	r := newRig(t, ctx, func(cfg *stage.Config) { cfg.Buffers, cfg.ChunkSize = 16, 32<<20 })
	files := make([]*file, 10_000)
	for i := range files {
		files[i] = &file{ino: chunkfmt.Ino(i + 2)}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 2 {
		for i, f := range files {
			p := random(uint64(round*len(files)+i), 500+rng.IntN(3000))
			r.mustWrite(f, int64(len(f.data)), p)
			if i%100 == 0 {
				r.mustCheck(files[rng.IntN(len(files))])
			}
		}
		if err := r.await(r.cutAll(stage.MarkCut, files[:100]...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.await(r.cutAll(stage.MarkEnd, files...)); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.replays(files...)
}

// TestTroubledMedium writes, reads and cuts at random through the smallest pools
// while the medium is slow, fails now and then, or is full for a while. Nothing
// may be lost, and nothing may hang.
func TestTroubledMedium(t *testing.T) {
	for _, trouble := range []struct {
		name string
		rule func() faulty.Rule
	}{
		{"slow", func() faulty.Rule { return slowly(2 * time.Millisecond) }},
		{"failing appends", func() faulty.Rule { return sometimes(3, 1000, errors.New("input/output error")) }},
		{"torn appends", func() faulty.Rule { return sometimes(4, 1000, media.ErrTorn) }},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			ctx := watched(t, 2*time.Minute)
			rapid.Check(t, func(rt *rapid.T) {
				r := newRig(rt, ctx, func(cfg *stage.Config) {
					cfg.Buffers = rapid.IntRange(stage.MinBuffers, 12).Draw(rt, "buffers")
				})
				r.medium.SetRule(trouble.rule())
				files := []*file{{ino: 2}, {ino: 3}, {ino: 4}, {ino: 5}, {ino: 6}}
				for range rapid.IntRange(1, 12).Draw(rt, "steps") {
					f := files[rapid.IntRange(0, len(files)-1).Draw(rt, "file")]
					switch rapid.IntRange(0, 9).Draw(rt, "step") {
					case 0:
						if err := r.await(r.cutAll(stage.MarkCut, files...)); err != nil {
							rt.Fatal(err)
						}
					case 1:
						r.c.Finish(&f.stream)
					case 2:
						r.mustCheck(f)
					default:
						off := int64(len(f.data))
						if rapid.IntRange(0, 3).Draw(rt, "where") == 0 {
							off = rapid.Int64Range(0, off).Draw(rt, "off")
						}
						n := rapid.SampledFrom([]int{1, 700, 700, 5000, 5000, 130_000, 130_000, 1 << 20}).Draw(rt, "n")
						r.mustWrite(f, off, random(rapid.Uint64Range(0, 5).Draw(rt, "seed"), n))
					}
				}
				if err := r.await(r.cutAll(stage.MarkEnd, files...)); err != nil {
					rt.Fatal(err)
				}
				r.close()
				r.mustCheck(files...)
				got, err := replay(ctx, r.inner)
				if err != nil {
					rt.Fatal(err)
				}
				want := map[chunkfmt.Ino][]byte{}
				for _, f := range files {
					want[f.ino] = f.data
				}
				if err := got.compare(want); err != nil {
					rt.Fatal(err)
				}
			})
		})
	}
}

// TestFullForAWhile fills the medium: whoever waits is told, what was accepted
// stays, and all of it is stored when there is space again.
func TestFullForAWhile(t *testing.T) {
	ctx := watched(t, time.Minute)
	r := newRig(t, ctx, nil)
	f := &file{ino: 2}
	r.mustWrite(f, 0, random(1, 300_000))
	if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
		t.Fatal(err)
	}
	r.medium.SetRule(faulty.Fail(media.ErrFull, faulty.Append, faulty.Create))
	r.mustWrite(f, int64(len(f.data)), random(2, 700_000))
	if err := r.await(r.cutAll(stage.MarkCut, f)); !errors.Is(err, media.ErrFull) {
		t.Fatalf("a cut on a full medium: %v", err)
	}
	r.mustCheck(f)
	r.medium.SetRule(nil)
	// Nobody is told of a full medium once it is not: asking is what looks.
	if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
		t.Fatal(err)
	}
	if err := r.await(r.cutAll(stage.MarkEnd, f)); err != nil {
		t.Fatal(err)
	}
	r.close()
	got, err := replay(ctx, r.inner)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.compare(map[chunkfmt.Ino][]byte{2: f.data}); err != nil {
		t.Error(err)
	}
}

// TestFailedSync: after a sync that failed nobody knows what is stable, so the
// pipe ends, says so to whoever waits, and hangs nobody.
func TestFailedSync(t *testing.T) {
	ctx := watched(t, time.Minute)
	r := newRig(t, ctx, nil)
	f := &file{ino: 2}
	r.mustWrite(f, 0, random(1, 300_000))
	if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk is on fire")
	r.medium.SetRule(faulty.Fail(broken, faulty.Sync))
	r.mustWrite(f, int64(len(f.data)), random(2, 300_000))
	if err := r.await(r.cutAll(stage.MarkCut, f)); !errors.Is(err, broken) {
		t.Fatalf("a cut whose sync failed: %v", err)
	}
	if err := r.pipe.Wait(); !errors.Is(err, broken) {
		t.Fatalf("the pipe ended with %v", err)
	}
	if _, err := r.write(&f.stream, int64(len(f.data)), []byte("more")); err == nil {
		t.Fatal("a write into a pipe that has failed was accepted")
	}
	r.shut()
}

// crashed writes with cuts, loses what was not synced, and says what is wrong
// with what is left.
func crashed(t *testing.T, seed uint64, faults stage.Faults) error {
	t.Helper()
	ctx := watched(t, time.Minute)
	r := newRig(t, ctx, func(cfg *stage.Config) { cfg.Faults = faults })
	f := &file{ino: 2}
	var stable []byte
	rng := rand.New(rand.NewPCG(seed, 3))
	for range 2 + rng.IntN(4) {
		r.mustWrite(f, int64(len(f.data)), random(rng.Uint64(), 1+rng.IntN(900_000)))
		if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
			t.Fatal(err)
		}
		stable = bytes.Clone(f.data)
		r.mustWrite(f, int64(len(f.data)), random(rng.Uint64(), 1+rng.IntN(900_000)))
	}
	after, err := r.medium.Crash(ctx, seed)
	if err != nil {
		t.Fatal(err)
	}
	r.pipe.Abort(errors.New("power cut"))
	r.shut()
	got, err := replay(ctx, after)
	if err != nil {
		return err
	}
	return got.compare(map[chunkfmt.Ino][]byte{2: stable})
}

// TestCrash: all that was acknowledged is there after a crash that loses any part
// of what was not synced. With the syncs or the order left out, the test finds that
// it is not.
func TestCrash(t *testing.T) {
	for seed := range uint64(10) {
		if err := crashed(t, seed, stage.Faults{}); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	for name, faults := range map[string]stage.Faults{
		"without a single sync":    {NoSync: true},
		"with batches before data": {BatchFirst: true},
	} {
		if !found(t, faults) {
			t.Errorf("%s nothing was lost: the test is blind", name)
		}
	}
}

// found says whether any crash shows that a promise is broken.
func found(t *testing.T, faults stage.Faults) bool {
	t.Helper()
	for seed := range uint64(10) {
		if err := crashed(t, seed, faults); err != nil {
			t.Logf("%+v: seed %d: %v", faults, seed, err)
			return true
		}
	}
	return false
}

// TestHeaderInFirstChunk: readers look for a session's header in its first chunk and in the copy of that. If the medium
// takes it only later, it is there; if it fails, the session has not begun.
func TestHeaderInFirstChunk(t *testing.T) {
	for _, c := range []struct {
		name string
		rule faulty.Rule
		fine bool
	}{
		{"full at the beginning", faulty.First(3, faulty.Fail(media.ErrFull, faulty.Create)), true},
		{"full at the copy", faulty.Named(".mirror", faulty.First(3, faulty.Fail(media.ErrFull, faulty.Create))), true},
		{"no first chunk", faulty.First(1, faulty.Fail(syscall.EIO, faulty.Create)), false},
		{"torn", faulty.First(1, faulty.Fail(media.ErrTorn, faulty.Append)), false},
		{"no copy", faulty.Named(".mirror", faulty.First(1, faulty.Fail(syscall.EIO, faulty.Append))), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := watched(t, time.Minute)
			r := newRig(t, ctx, func(cfg *stage.Config) { cfg.Medium.(*faulty.Medium).SetRule(c.rule) })
			if !c.fine {
				if err := r.pipe.Wait(); !errors.Is(err, stage.ErrMedium) {
					t.Errorf("without its header: %v", err)
				}
				r.shut()
				return
			}
			f := &file{ino: 2}
			r.mustWrite(f, 0, random(1, 300_000))
			err := r.await(r.cutAll(stage.MarkCut, f))
			for errors.Is(err, media.ErrFull) {
				err = r.await(r.cutAll(stage.MarkCut, f))
			}
			if err != nil {
				t.Fatal(err)
			}
			r.pipe.Abort(errors.New("killed"))
			r.shut()
			infos, err := r.medium.List(ctx, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range infos {
				if _, id, ok := media.ParseChunkName(info.Name); ok && id.Number() != 1 {
					t.Errorf("%s is there", info.Name)
				}
			}
		})
	}
}
