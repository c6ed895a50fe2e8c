package tree

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"runtime/pprof"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/faulty"
	"coffer/media/mem"
	"coffer/pipeline"
	"coffer/pipeline/mover"
)

// volume is a tree above everything that is really below it, down to a medium in
// memory that can be made to fail.
type volume struct {
	*rig
	medium *faulty.Medium
	source *mover.Source
	o      mover.Options
	change func(*volume)
	ticks  atomic.Int64
}

// unmonitored starts pipes that no monitor knows.
type unmonitored struct{}

func (unmonitored) Initiate(ctx context.Context, spec pipeline.Spec) (*pipeline.Pipe, error) {
	return pipeline.Start(ctx, spec)
}

// newVolume makes an empty volume on a medium of capacity bytes and opens it.
// change, if not nil, is called before each opening.
func newVolume(t testing.TB, capacity uint64, change func(*volume)) *volume {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	v := &volume{rig: &rig{t: t}, medium: faulty.Wrap(mem.New(capacity), nil), change: change}
	v.o = mover.Options{
		Store: chunkfmt.StoreID{1}, Master: [32]byte{2}, Volume: "main",
		StateDir: t.TempDir(), Buffers: 16, Instances: 2, CacheBytes: 4 << 20, DedupBytes: 1 << 20,
		ChunkBytes: 2 << 20, Log: quiet,
		Clock: func() time.Time { return time.Unix(v.ticks.Add(10), 0) }, // all that is noted is stale
	}
	v.cfg = Config{
		Clock: func() time.Time { return time.Unix(v.clock.Load(), 0) },
		Full:  media.ErrFull, CutEvery: time.Hour, ApplyEvery: time.Millisecond, Log: quiet,
	}
	v.below()
	v.start()
	return v
}

// below opens what is below the tree.
func (v *volume) below() {
	v.t.Helper()
	v.o.Medium = v.medium
	if v.change != nil {
		v.change(v)
	}
	s, err := mover.OpenSource(v.t.Context(), unmonitored{}, v.o)
	if err != nil {
		v.t.Fatal(err)
	}
	v.source = s
	v.cfg.Index, v.cfg.Collector = s.Index(), FromStage(s.Collector())
	v.cfg.Groups, v.cfg.Flight, v.cfg.Pipe = s.Groups(), s.Flight(), s.Pipe()
}

// end closes everything in order.
func (v *volume) end() {
	v.t.Helper()
	if err := v.Close(context.WithoutCancel(v.t.Context())); err != nil {
		v.t.Error(err)
	}
	if err := v.source.Close(); err != nil {
		v.t.Error(err)
	}
	if d := v.dirty.Load(); d != 0 {
		v.t.Errorf("%d bytes dirty after close", d)
	}
	clear(v.open[:])
}

// die closes what is left of a volume whose pipe has failed or is made to fail
// now.
func (v *volume) die(ctx context.Context) {
	v.t.Helper()
	v.source.Pipe().Abort(errors.New("the test pulls the plug"))
	if err := v.Close(ctx); err == nil {
		v.t.Error("closing a tree without a pipe claims success")
	}
	if err := v.source.Close(); err == nil {
		v.t.Error("closing a dead pipe claims success")
	}
	clear(v.open[:])
}

// revive opens the volume again after die.
func (v *volume) revive() {
	v.t.Helper()
	v.below()
	v.start()
}

// fewer makes rapid draw n times in this test, unless -rapid.checks or COFFER_CHECKS says how often.
func fewer(t *testing.T, n int) {
	t.Helper()
	if more, err := strconv.Atoi(os.Getenv("COFFER_CHECKS")); err == nil {
		n = more
	}
	checks := flag.Lookup("rapid.checks")
	if old := checks.Value.String(); old == checks.DefValue {
		if err := flag.Set(checks.Name, strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(checks.Name, old) })
	}
}

// watched gives a context that ends, with a dump of all goroutines, if the test
// takes so long that something must be waiting for ever.
func watched(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	watchdog := time.AfterFunc(limit, func() {
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		cancel(errors.New("deadlock: nothing has moved for too long"))
	})
	t.Cleanup(func() { watchdog.Stop(); cancel(nil) })
	return ctx
}
