package index

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"coffer/chunkfmt"
)

// cellsOf reads [off, off+n) of a file into cells.
func cellsOf(t require, r *Reader, ino chunkfmt.Ino, off, n, unit uint64) map[uint64]cell {
	got := map[uint64]cell{}
	last := off
	noError(t, r.Extents(ino, off, n, func(e chunkfmt.Extent) bool {
		if e.Offset < last || e.Length == 0 || e.Offset+e.Length > off+n {
			t.Fatalf("extent %+v after %d in [%d, +%d)", e, last, off, n)
		}
		last = e.Offset + e.Length
		for i := uint64(0); i < e.Length; i += unit {
			got[e.Offset+i] = cell{e.Group, e.GroupOffset + uint32(i)}
		}
		return true
	}))
	return got
}

// TestExtents writes, punches and truncates one file at random around the border of
// two segments, so densely that parts split and vanish.
func TestExtents(t *testing.T) {
	const unit, n = 4096, 1500
	const base = 2*segmentSize - n/2*unit
	rapid.Check(t, func(t *rapid.T) {
		x, done := openRapid(t)
		defer done()
		m, seq := newModel(), chunkfmt.MakeSeq(1, 1)
		var sealed []map[uint64]cell
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			var b Batch
			if rapid.IntRange(0, 1).Draw(t, "dense") == 0 {
				stride := uint64(rapid.IntRange(1, 3).Draw(t, "stride"))
				first := uint64(rapid.IntRange(0, n/2).Draw(t, "first"))
				for i := range uint64(rapid.IntRange(1, 700).Draw(t, "run")) {
					seq++
					e := chunkfmt.Extent{Offset: base + (first+i*stride)*unit, Length: unit, Group: seq}
					m.write(7, e, unit)
					b.Records = append(b.Records, recExtent(7, e))
				}
			}
			for range rapid.IntRange(0, 30).Draw(t, "writes") {
				e := drawExtent(t, &seq, unit, base, n)
				m.write(7, e, unit)
				b.Records = append(b.Records, recExtent(7, e))
			}
			if rapid.Bool().Draw(t, "seal") {
				sealed = append(sealed, maps.Clone(m.cells[7]))
				b.Records = append(b.Records, recArchive(uint32(len(sealed))))
			}
			noError(t, x.Apply([]Batch{b}, Head{}, nil))
			if got := cellsOf(t, &x.Reader, 7, 0, endOfFile, unit); !maps.Equal(got, m.cells[7]) {
				t.Fatalf("%d cells, want %d", len(got), len(m.cells[7]))
			}
			off := base + unit*uint64(rapid.IntRange(0, n).Draw(t, "off"))
			length := unit * uint64(rapid.IntRange(1, n).Draw(t, "n"))
			want := maps.Clone(m.cells[7])
			maps.DeleteFunc(want, func(at uint64, _ cell) bool { return at < off || at >= off+length })
			if got := cellsOf(t, &x.Reader, 7, off, length, unit); !maps.Equal(got, want) {
				t.Fatalf("range: %d cells, want %d", len(got), len(want))
			}
		}
		for i, want := range sealed {
			if got := cellsOf(t, x.At(uint32(i+1)), 7, 0, endOfFile, unit); !maps.Equal(got, want) {
				t.Fatalf("archive %d: %d cells, want %d", i+1, len(got), len(want))
			}
		}
		partsAreSmall(t, x)
	})
}

func partsAreSmall(t require, x *Index) {
	noError(t, x.each(extents, func(key, payload []byte, _ *section) (bool, error) {
		if n := len(payload) / spanSize; n == 0 || n > partSpans {
			t.Fatalf("part %x has %d extents", key, n)
		}
		return true, nil
	}))
}

// TestExtentsJoin checks that what was written in pieces and hangs together is kept
// as one, and that a file in order takes few parts.
func TestExtentsJoin(t *testing.T) {
	x := openTemp(t)
	const piece = 4096
	for i := range uint64(256) {
		apply(t, x, recExtent(5, chunkfmt.Extent{Offset: i * piece, Length: piece, Group: 9, GroupOffset: uint32(i * piece)}))
	}
	var got []chunkfmt.Extent
	noError(t, x.Extents(5, 0, endOfFile, func(e chunkfmt.Extent) bool { got = append(got, e); return true }))
	if want := []chunkfmt.Extent{{Length: 256 * piece, Group: 9}}; !slices.Equal(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

// TestTruncateFar checks that cutting off a sparse file of the largest size is not
// a walk through all the segments that it does not have.
func TestTruncateFar(t *testing.T) {
	x := openTemp(t)
	far := uint64(endOfFile - 4096)
	apply(t, x, recExtent(3, chunkfmt.Extent{Length: 10, Group: 1}),
		recExtent(3, chunkfmt.Extent{Offset: far, Length: 4096, Group: 2}))
	apply(t, x, recExtent(3, chunkfmt.Extent{Offset: 4, Length: far - 3}))
	var got []string
	show := func(e chunkfmt.Extent) bool {
		got = append(got, fmt.Sprint(e.Offset, "+", e.Length))
		return true
	}
	noError(t, x.Extents(3, 0, endOfFile, show))
	want := []string{"0+4", fmt.Sprint(far+1, "+", 4095)}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	apply(t, x, recExtent(3, chunkfmt.Extent{Offset: 2, Length: endOfFile}))
	got = nil
	noError(t, x.Extents(3, 0, endOfFile, show))
	if want := []string{"0+2"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	apply(t, x, recExtent(3, chunkfmt.Extent{Length: endOfFile}))
	noError(t, x.each(extents, func(key, _ []byte, _ *section) (bool, error) {
		t.Fatalf("part %x is left", key)
		return false, nil
	}))
}
