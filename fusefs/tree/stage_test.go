package tree

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"coffer/media"
	"coffer/media/mem"
	"coffer/pipeline/mover"
)

// newRealRig makes a tree above the real pipe, on a medium in memory.
func newRealRig(t testing.TB, capacity uint64) *rig {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	m := mem.New(capacity)
	store, err := media.CreateStore(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	o := mover.Options{Medium: m, Store: store, Volume: "test", StateDir: t.TempDir(), Buffers: 24, CacheBytes: 1 << 20}
	r := &rig{t: t, cfg: Config{
		CutEvery:   time.Hour,
		ApplyEvery: time.Millisecond,
		Full:       media.ErrFull,
		MaxClean:   4,
	}}
	r.cfg.Clock = func() time.Time { return time.Unix(r.clock.Load(), 0) }
	var source *mover.Source
	r.again = func() {
		if source != nil {
			if err := source.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if source, err = mover.OpenSource(ctx, unmonitored{}, o); err != nil {
			t.Fatal(err)
		}
		r.cfg.Index, r.cfg.Collector = source.Index(), FromStage(source.Collector())
		r.cfg.Groups, r.cfg.Flight, r.cfg.Pipe = source.Groups(), source.Flight(), source.Pipe()
	}
	r.again()
	t.Cleanup(func() {
		source.Pipe().Abort(context.Canceled) // unless it has ended
		source.Close()
	})
	r.start()
	return r
}

// TestModelOnPipe does random operations of large files above the real pipe.
func TestModelOnPipe(t *testing.T) {
	fewer(t, 30)
	kinds := slices.Concat(allOps, fileOps, fileOps, []string{"sync", "sync", "settle", "forget", "reopen", "dump"})
	rapid.Check(t, func(rt *rapid.T) {
		scale := rapid.SampledFrom([]int{1, 1500, 9000}).Draw(rt, "scale")
		ops := scaled(genOps("", 0, kinds).Draw(rt, "ops"), scale)
		r := newRealRig(t, 1<<30)
		if err := r.against(context.Background(), newModel(), ops); err != nil {
			rt.Fatal(err)
		}
	})
}

// TestBigFileOnPipe writes and reads what does not fit in the segment.
func TestBigFileOnPipe(t *testing.T) {
	ctx := t.Context()
	r := newRealRig(t, 1<<30)
	data := make([]byte, 60<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	e, h, err := r.Create(ctx, someone, RootIno, "big", 0o644, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(data); off += 3 << 20 {
		p := data[off:min(len(data), off+3<<20)]
		if n, err := h.Write(ctx, p, int64(off), false); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
		got := make([]byte, len(p))
		if n, err := h.Read(ctx, got, int64(off)); n != len(p) || err != nil || !bytes.Equal(got, p) {
			t.Fatalf("read %d at %d while it is written: %v", n, off, err)
		}
	}
	h.Release()
	r.reopen()
	if h, err = r.Open(ctx, e.Ino, unix.O_RDONLY); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data)+5)
	n, err := h.Read(ctx, got, 0)
	if err != nil || !bytes.Equal(got[:n], data) {
		t.Fatalf("read %d, %v", n, err)
	}
	h.Release()
	r.close()
}

// TestFullMediumOnPipe fills a medium: a write is refused before it is taken in,
// and what was taken in stays whole.
func TestFullMediumOnPipe(t *testing.T) {
	ctx := t.Context()
	r := newRealRig(t, 40<<20)
	noise := rand.NewChaCha8([32]byte{2})
	p := make([]byte, 1<<20)
	var size int64
	var err error
	e, h, cerr := r.Create(ctx, someone, RootIno, "file", 0o644, unix.O_RDWR)
	if cerr != nil {
		t.Fatal(cerr)
	}
	for err == nil && size < 100<<20 {
		noise.Read(p)
		if _, err = h.Write(ctx, p, size, false); err == nil {
			size += int64(len(p))
		}
	}
	if !sameErr(unix.ENOSPC, err) {
		t.Fatalf("after %d bytes: %v", size, err)
	}
	if a, err := r.Getattr(ctx, e.Ino); err != nil || int64(a.Size) != size {
		t.Fatalf("size %d, want %d, %v", a.Size, size, err)
	}
	h.Release()
	if err := r.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Unlink(ctx, RootIno, "file"); err != nil {
		t.Fatal("unlink on a full medium:", err)
	}
	r.reopen()
	if _, err := r.Lookup(ctx, RootIno, "file"); !sameErr(unix.ENOENT, err) {
		t.Fatal("unlinked file after a remount:", err)
	}
	r.close()
}
