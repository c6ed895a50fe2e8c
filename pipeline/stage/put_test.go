package stage_test

import (
	"bytes"
	"errors"
	"testing"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// TestPut puts blocks that are known, more than a buffer holds: each is stored anew, and read, also when its bytes have
// left memory. What is written later is found there.
func TestPut(t *testing.T) {
	r := newRig(t, t.Context(), nil)
	f := &file{ino: 2}
	r.mustWrite(f, 0, random(1, stage.SmallBlock-1))
	r.c.Finish(&f.stream)
	if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
		t.Fatal(err)
	}
	before := r.flight.Len()
	var blocks []*stage.Block
	data := [][]byte{f.data}
	for i := range 40 {
		data = append(data, random(uint64(i), 1000*(i+1)))
	}
	for _, p := range data {
		b, err := r.c.Put(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b)
	}
	for _, n := range []int{0, stage.SmallBlock + 1} {
		if _, err := r.c.Put(t.Context(), make([]byte, n)); err == nil {
			t.Errorf("%d bytes were put", n)
		}
	}
	again := &file{ino: 3}
	r.mustWrite(again, 0, data[7])
	r.c.Finish(&again.stream)
	if err := r.await(r.cutAll(stage.MarkEnd, f, again)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.c.Put(t.Context(), data[1]); !errors.Is(err, stage.ErrClosed) {
		t.Errorf("put after the end: %v", err)
	}
	r.close()
	r.mustCheck(f, again)
	if n := r.writer.Duplicate(); n != int64(len(data[7])) {
		t.Errorf("%d bytes were left out", n)
	}
	if r.flight.Len() <= before {
		t.Error("nothing was stored anew")
	}
	first := map[chunkfmt.Seq]bool{}
	for i, b := range blocks {
		seq, off, hole, ok := b.Place()
		if !ok || hole {
			t.Fatalf("block %d has no place", i)
		}
		first[seq] = true
		got := make([]byte, len(data[i]))
		if err := r.groups.ReadAt(t.Context(), seq, got, off); err != nil || !bytes.Equal(got, data[i]) {
			t.Errorf("block %d: other bytes, or %v", i, err)
		}
	}
	if len(first) < 2 {
		t.Errorf("all in %d groups", len(first))
	}
}
