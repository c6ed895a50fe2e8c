package stage_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// random gives n bytes that do not compress, the same for the same seed.
func random(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	p := make([]byte, n)
	rand.NewChaCha8(key).Read(p)
	return p
}

// cutAll takes a cut of the files.
func (r *rig) cutAll(kind stage.MarkerKind, files ...*file) <-chan error {
	b := &batch{ready: make(chan struct{})}
	return r.mark(stage.Marker{Kind: kind, Batch: b}, func(cut func() []stage.Tail) {
		defer close(b.ready)
		tails := cut()
		for _, f := range files {
			b.files = append(b.files, f.freeze(tails))
		}
	})
}

func (r *rig) mustWrite(f *file, off int64, p []byte) {
	r.t.Helper()
	pieces, err := r.write(&f.stream, off, p)
	if err != nil {
		r.t.Fatalf("write %d at %d: %v", len(p), off, err)
	}
	f.wrote(off, p, pieces)
}

func (r *rig) mustCheck(files ...*file) {
	r.t.Helper()
	for _, f := range files {
		if err := f.check(r.ctx); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestWriteCutReadReplay(t *testing.T) {
	r := newRig(t, t.Context(), nil)
	big, small, zeros := &file{ino: 2}, &file{ino: 3}, &file{ino: 4}
	data := random(1, 5<<20+12345)
	for off := 0; off < len(data); off += 1 << 20 {
		r.mustWrite(big, int64(off), data[off:min(off+1<<20, len(data))])
		r.mustCheck(big)
	}
	r.mustWrite(small, 0, []byte("hello"))
	for i := range 3 {
		r.mustWrite(zeros, int64(i)<<20, make([]byte, 1<<20))
	}
	if err := r.await(r.cutAll(stage.MarkCut, big, small, zeros)); err != nil {
		t.Fatal(err)
	}
	r.mustCheck(big, small, zeros)
	r.mustWrite(small, 5, []byte(" world"))
	r.c.Finish(&small.stream)
	r.mustCheck(small)
	if err := r.await(r.cutAll(stage.MarkArchive, big, small, zeros)); err != nil {
		t.Fatal(err)
	}
	if err := r.await(r.cutAll(stage.MarkEnd, big, small, zeros)); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.mustCheck(big, small, zeros)
	r.flight.Forget(r.writer.Head().Seq)
	if n := r.flight.Len(); n != 0 {
		t.Errorf("%d groups are still in flight", n)
	}
	r.mustCheck(big, small, zeros)

	got, err := replay(t.Context(), r.inner)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.compare(map[chunkfmt.Ino][]byte{2: big.data, 3: small.data, 4: zeros.data}); err != nil {
		t.Error(err)
	}
	if got.cut != 3 || got.chain != r.writer.Head().Chain {
		t.Errorf("cut %d, chain %v; want 3, %v", got.cut, got.chain, r.writer.Head().Chain)
	}
	if got.raw > len(data)+1000 {
		t.Errorf("%d bytes in groups: zeros were stored", got.raw)
	}
	n := len(got.kinds)
	if got.kinds[0] != chunkfmt.KindSessionHeader || got.kinds[1] != chunkfmt.KindArchiveHeader || got.kinds[n-1] != chunkfmt.KindSessionFooter {
		t.Errorf("kinds: %v", got.kinds)
	}
	if meta := n - len(got.groups); got.copies != meta {
		t.Errorf("%d copies of %d tags of metadata", got.copies, meta)
	}
	if got.footed < 3 {
		t.Errorf("%d chunks with a footer", got.footed)
	}
}

func TestKnownBlocksAreLeftOut(t *testing.T) {
	r := newRig(t, t.Context(), nil)
	data := random(2, 3<<20)
	a, b := &file{ino: 2}, &file{ino: 3}
	for _, f := range []*file{a, b} {
		for off := 0; off < len(data); off += 128 << 10 {
			r.mustWrite(f, int64(off), data[off:off+128<<10])
		}
		r.c.Finish(&f.stream)
		if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
			t.Fatal(err)
		}
	}
	// The same small file many times, in one shared buffer.
	var same []*file
	for i := range 50 {
		f := &file{ino: chunkfmt.Ino(10 + i)}
		r.mustWrite(f, 0, data[100:5100])
		r.c.Finish(&f.stream)
		same = append(same, f)
	}
	all := append(same, a, b)
	if err := r.await(r.cutAll(stage.MarkEnd, all...)); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.mustCheck(all...)
	got, err := replay(t.Context(), r.inner)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(data) + 5000; got.raw != want {
		t.Errorf("%d bytes in groups, want %d", got.raw, want)
	}
	if want := int64(len(data) + 49*5000); r.writer.Duplicate() != want {
		t.Errorf("%d bytes left out, want %d", r.writer.Duplicate(), want)
	}
	for _, f := range all {
		if !bytes.Equal(got.files[f.ino], f.data) {
			t.Errorf("file %d differs", f.ino)
		}
	}
}

func TestTailIsStoredProvisionallyAndThenWhole(t *testing.T) {
	r := newRig(t, t.Context(), nil)
	f := &file{ino: 2}
	for i := range 20 {
		r.mustWrite(f, int64(len(f.data)), random(uint64(i), 1000))
		if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
			t.Fatal(err)
		}
		r.mustCheck(f)
		if len(f.spans) != 1 {
			t.Fatalf("append %d: the pieces do not supersede each other: %d", i, len(f.spans))
		}
	}
	// Nothing new: the tail is not stored once more.
	before := r.flight.Len()
	if err := r.await(r.cutAll(stage.MarkCut, f)); err == nil {
		r.c.Finish(&f.stream)
	}
	if err := r.await(r.cutAll(stage.MarkEnd, f)); err != nil {
		t.Fatal(err)
	}
	if after := r.flight.Len(); after != before {
		t.Errorf("%d groups, then %d", before, after)
	}
	r.close()
	r.mustCheck(f)
	got, err := replay(t.Context(), r.inner)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.compare(map[chunkfmt.Ino][]byte{2: f.data}); err != nil {
		t.Error(err)
	}
}

// TestWritersKeepBlocks: where blocks are cut does not depend on how many write at once, as long as the pool has room for
// all of them and for one who gets buffers: the others wait for that one, rather than end each other's blocks.
func TestWritersKeepBlocks(t *testing.T) {
	const writers = 4
	ctx := watched(t, time.Minute)
	r := newRig(t, ctx, func(cfg *stage.Config) { cfg.Buffers = 3 * (writers + 3) })
	data := random(7, 12<<20)
	files := []*file{{ino: 2}}
	whole := func(f *file) error {
		for off := 0; off < len(data); off += stage.BufferSize {
			p := data[off : off+stage.BufferSize]
			pieces, err := r.write(&f.stream, int64(off), p)
			if err != nil {
				return err
			}
			f.wrote(int64(off), p, pieces)
		}
		r.c.Finish(&f.stream)
		return nil
	}
	if err := whole(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := r.await(r.cutAll(stage.MarkCut, files[0])); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range writers {
		f := &file{ino: chunkfmt.Ino(3 + i)}
		files = append(files, f)
		all.Go(func() {
			if err := whole(f); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := r.await(r.cutAll(stage.MarkEnd, files...)); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.mustCheck(files...)
	if want := int64(writers * len(data)); r.writer.Duplicate() != want {
		t.Errorf("%d bytes left out, want %d", r.writer.Duplicate(), want)
	}
}
