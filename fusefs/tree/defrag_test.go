package tree

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// partsOf counts in how many places the bytes of a file are.
func partsOf(t *testing.T, v *volume, h *Handle, size int64) int {
	t.Helper()
	h.i.mu.RLock()
	defer h.i.mu.RUnlock()
	parts, err := v.layout(h.i, 0, size, nil)
	if err != nil {
		t.Fatal(err)
	}
	return len(parts)
}

// settled makes the tree clean, so that what is read comes from the index.
func settled(t *testing.T, v *volume) {
	t.Helper()
	if err := v.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func newDefragVolume(t *testing.T) *volume {
	return newVolume(t, 1<<30, func(v *volume) { v.cfg.DefragEvery, v.cfg.DefragAfter = time.Hour, 10*time.Second })
}

// TestScatteredFileIsGathered overwrites a file at random and finds it in few
// parts afterwards, with the same bytes, times and holes, also after a remount.
func TestScatteredFileIsGathered(t *testing.T) {
	ctx := watched(t, 2*time.Minute)
	const size = 4 << 20
	v := newDefragVolume(t)
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, size)
	for at := 0; at < size; at += 8 {
		data[at] = byte(rng.Uint32())
	}
	hole := [2]int{2<<20 + 8192, 2<<20 + 300_000}
	clear(data[hole[0]:hole[1]])
	e, h, err := v.Create(ctx, someone, RootIno, "scattered", 0o644, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	write := func(from, to int) {
		t.Helper()
		if _, err := h.Write(ctx, data[from:to], int64(from), false); err != nil {
			t.Fatal(err)
		}
	}
	write(0, hole[0])
	write(hole[1], size)
	for range 800 { // not so many that a window is due at once
		at := rng.IntN(size/4096) * 4096
		if at+4096 > hole[0]&^4095 && at < hole[1] {
			continue
		}
		data[at+rng.IntN(4096)]++
		write(at, at+4096)
	}
	settled(t, v)
	before := partsOf(t, v, h, size)
	if before < 300 {
		t.Fatalf("only %d parts before", before)
	}
	attr, err := v.Getattr(ctx, e.Ino)
	if err != nil {
		t.Fatal(err)
	}

	v.defragment(ctx)
	if n := partsOf(t, v, h, size); n < before {
		t.Errorf("%d parts at once: what is still written to is written again", n)
	}
	v.clock.Add(11)
	v.defragment(ctx)
	check := func() {
		t.Helper()
		if n := partsOf(t, v, h, size); n > 60 {
			t.Errorf("%d parts of %d are left", n, before)
		}
		got := make([]byte, size+1)
		n, err := h.Read(ctx, got, 0)
		if err != nil || !bytes.Equal(got[:n], data) {
			t.Fatalf("read %d bytes, %v: they differ", n, err)
		}
		if at, err := h.Seek(ctx, int64(hole[0]), unix.SEEK_DATA); err != nil || at != int64(hole[1]) {
			t.Errorf("data behind the hole at %d, %v", at, err)
		}
		if now, err := v.Getattr(ctx, e.Ino); err != nil || now != attr {
			t.Errorf("attributes %+v, %v; they were %+v", now, err, attr)
		}
	}
	check()
	settled(t, v)
	check()
	h.Release()
	v.end()
	v.revive()
	if h, err = v.Open(ctx, e.Ino, unix.O_RDONLY); err != nil {
		t.Fatal(err)
	}
	check()
	h.Release()
	v.end()
}

// TestLogIsGathered appends a line a cut.
func TestLogIsGathered(t *testing.T) {
	ctx := watched(t, 2*time.Minute)
	v := newDefragVolume(t)
	e, h, err := v.Create(ctx, someone, RootIno, "log", 0o644, unix.O_WRONLY|unix.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	var want []byte
	for k := range 600 {
		// Opened for each line, as a shell does.
		if h, err = v.Open(ctx, e.Ino, unix.O_WRONLY|unix.O_APPEND); err != nil {
			t.Fatal(err)
		}
		line := bytes.Repeat([]byte{byte(k), byte(k >> 8), '\n'}, 30)
		if _, err := h.Write(ctx, line, 0, false); err != nil {
			t.Fatal(err)
		}
		want = append(want, line...)
		h.Release()
		settled(t, v)
		v.defragment(ctx)
	}
	if h, err = v.Open(ctx, e.Ino, unix.O_RDONLY); err != nil {
		t.Fatal(err)
	}
	if n := partsOf(t, v, h, int64(len(want))); n > defragMany+2*defragFew {
		t.Errorf("%d parts of 600 lines", n)
	}
	v.clock.Add(11)
	v.defragment(ctx)
	if n := partsOf(t, v, h, int64(len(want))); n > 2*defragFew {
		t.Errorf("%d parts at rest", n)
	}
	got := make([]byte, len(want)+1)
	if n, err := h.Read(ctx, got, 0); err != nil || !bytes.Equal(got[:n], want) {
		t.Errorf("read %d bytes, %v: they differ", n, err)
	}
	h.Release()
	v.end()
}

// TestReadingFindsWhatIsScattered: after a remount nobody knows of it but who reads.
func TestReadingFindsWhatIsScattered(t *testing.T) {
	ctx := watched(t, 2*time.Minute)
	v := newDefragVolume(t)
	e, h, err := v.Create(ctx, someone, RootIno, "file", 0o644, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	const size = 512 << 10
	rng := rand.New(rand.NewPCG(3, 4))
	for _, k := range rng.Perm(size / 4096) {
		p := make([]byte, 4096)
		p[0], p[1] = byte(k), byte(rng.Uint32())
		if _, err := h.Write(ctx, p, int64(k)*4096, false); err != nil {
			t.Fatal(err)
		}
	}
	h.Release()
	v.end()
	v.revive()
	if h, err = v.Open(ctx, e.Ino, unix.O_RDONLY); err != nil {
		t.Fatal(err)
	}
	v.defragment(ctx)
	before := partsOf(t, v, h, size)
	want := make([]byte, size)
	if _, err := h.Read(ctx, want, 0); err != nil {
		t.Fatal(err)
	}
	v.defragment(ctx)
	if n := partsOf(t, v, h, size); before < 100 || n > 12 {
		t.Errorf("%d parts became %d", before, n)
	}
	got := make([]byte, size)
	if _, err := h.Read(ctx, got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the bytes differ: %v", err)
	}
	h.Release()
	v.end()
}

// TestDefragmentingBesideWriters: whoever writes, truncates and punches meanwhile
// finds what he has written.
func TestDefragmentingBesideWriters(t *testing.T) {
	ctx := watched(t, 2*time.Minute)
	v := newDefragVolume(t)
	_, h, err := v.Create(ctx, someone, RootIno, "busy", 0o644, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for over.Err() == nil {
			v.clock.Add(11)
			v.defragment(over)
		}
	})
	wg.Go(func() {
		for over.Err() == nil {
			if err := v.Sync(ctx); err != nil {
				t.Error(err)
				return
			}
		}
	})
	rng := rand.New(rand.NewPCG(5, 6))
	model := make([]byte, 0, 2<<20)
	for step := range 6000 {
		switch n := rng.IntN(100); {
		case n == 0:
			size := rng.IntN(2 << 20)
			if _, err := v.Setattr(ctx, h.Ino(), SetAttr{Valid: SetSize, Size: uint64(size)}, h); err != nil {
				t.Fatal(err)
			}
			if size < len(model) {
				clear(model[size:])
			}
			model = model[:size]
		case n < 4 && len(model) > 10_000:
			at := rng.IntN(len(model) - 8192)
			if err := h.Fallocate(ctx, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(at), 8192); err != nil {
				t.Fatal(err)
			}
			clear(model[at : at+8192])
		default:
			p := make([]byte, 1+rng.IntN(5000))
			for k := range p {
				p[k] = byte(step + k)
			}
			at := rng.IntN(2<<20 - len(p))
			if _, err := h.Write(ctx, p, int64(at), false); err != nil {
				t.Fatal(err)
			}
			model = model[:max(len(model), at+len(p))]
			copy(model[at:], p)
		}
		if step%500 == 0 {
			got := make([]byte, 2<<20)
			if n, err := h.Read(ctx, got, 0); err != nil || !bytes.Equal(got[:n], model) {
				t.Fatalf("step %d: read %d of %d bytes, %v: they differ", step, n, len(model), err)
			}
		}
	}
	cancel()
	wg.Wait()
	h.Release()
	v.end()
}
