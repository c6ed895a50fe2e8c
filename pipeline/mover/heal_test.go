package mover

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// damage flips a bit in the sealed bytes of a group.
func (p place) damage(t *testing.T, o Options, seq chunkfmt.Seq) {
	t.Helper()
	path := p.chunkPath(o, seq.Ordinal(), 1, false)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entriesOf(t, b) {
		if e.Tag.Seq == seq && e.Tag.Kind == chunkfmt.KindData {
			flipBit(t, path, e.At+chunkfmt.TagSize+3, 4)
			return
		}
	}
	t.Fatalf("no group %v in %s", seq, path)
}

func bad(seqs ...chunkfmt.Seq) (all records) {
	for _, seq := range seqs {
		all = append(all, chunkfmt.Record{Op: chunkfmt.OpPut, Kind: chunkfmt.RecBad, Key: chunkfmt.BadKey(seq), Value: []byte("rot")})
	}
	return all
}

// wantGroup reads a group whole and in pieces.
func (w *writing) wantGroup(seq chunkfmt.Seq, want []byte) {
	w.t.Helper()
	for _, at := range []int{0, 1, len(want) / 2, len(want) - 1} {
		got := make([]byte, len(want)-at)
		if err := w.s.Groups().ReadAt(w.t.Context(), seq, got, uint32(at)); err != nil || !bytes.Equal(got, want[at:]) {
			w.t.Errorf("group %v from %d on: wrong bytes or %v", seq, at, err)
		}
	}
	if err := w.s.Groups().ReadAt(w.t.Context(), seq, make([]byte, len(want)+1), 0); !errors.Is(err, stage.ErrRange) {
		w.t.Errorf("group %v beyond its end: %v", seq, err)
	}
}

// cutFiles writes several files, which share a group if they are small, and a batch.
func (w *writing) cutFiles(files ...[]byte) {
	w.t.Helper()
	for _, data := range files {
		var stream stage.Stream
		slot, err := w.s.Collector().Begin(w.t.Context(), &stream, 0, len(data))
		if err != nil {
			w.t.Fatal(err)
		}
		slot.Write(data)
		slot.Release()
		w.s.Collector().Finish(&stream)
	}
	w.cut(stage.MarkCut, "a", "1", nil)
}

// TestHealedByTheNextCopy damages groups, says so in the log, and writes the same content again: what names the
// damaged groups reads it from there, in the same session, after it, and on another machine.
func TestHealedByTheNextCopy(t *testing.T) {
	p := newPlace(t)
	large := bytes.Repeat([]byte("a large block, by itself. "), 8000)
	var small [][]byte
	for i := range 20 {
		small = append(small, bytes.Repeat([]byte(fmt.Sprintf("small block %d ", i)), 50+i))
	}
	shared := bytes.Join(small, nil)
	w := p.mustOpen(t)
	w.cutFiles(large)
	w.cutFiles(small...)
	groups := w.groups()
	if len(groups) != 2 {
		t.Fatalf("%d groups under test", len(groups))
	}
	w.end()
	o := p.options(t)
	for _, seq := range groups {
		p.damage(t, o, seq)
	}

	w = p.mustOpen(t)
	w.extra = bad(groups...)
	w.cut(stage.MarkCut, "a", "2", nil)
	w.extra = nil
	// Half of the small ones come back, in another order, beside others; then the rest.
	w.cutFiles([]byte("new"), small[7], small[3], small[12], []byte("newer"))
	for i, data := range small {
		at := bytes.Index(shared, data)
		got := make([]byte, len(data))
		err := w.s.Groups().ReadAt(t.Context(), groups[1], got, uint32(at))
		switch back := i == 7 || i == 3 || i == 12; {
		case back && (err != nil || !bytes.Equal(got, data)):
			t.Errorf("block %d, which came back: %v", i, err)
		case !back && !errors.Is(err, stage.ErrDamaged):
			t.Errorf("block %d, which is lost: %v", i, err)
		}
	}
	w.cutFiles(small...)
	w.cutFiles(large)
	w.wantGroup(groups[0], large)
	w.wantGroup(groups[1], shared)
	if n := len(w.groups()); n != 5 {
		t.Errorf("%d groups, want 2 and 3 that were stored again", n)
	}
	replaced := w.groups()[4]
	w.end()

	for _, q := range []place{p, p.copyOf(t)} {
		w := q.mustOpen(t)
		w.wantGroup(groups[0], large)
		w.wantGroup(groups[1], shared)
		w.end()
	}

	// What healed is damaged in turn: the next copy heals both.
	p.damage(t, o, replaced)
	w = p.mustOpen(t)
	w.extra = bad(replaced)
	w.cut(stage.MarkCut, "a", "3", nil)
	w.extra = nil
	if err := w.s.Groups().ReadAt(t.Context(), groups[0], make([]byte, 1), 0); !errors.Is(err, stage.ErrDamaged) {
		t.Errorf("a group whose other place is damaged too: %v", err)
	}
	w.cutFiles(large)
	w.wantGroup(groups[0], large)
	w.wantGroup(replaced, large)
	w.end()
}

// TestHealedByAnother: a record that names another block, or a circle of records, is not believed.
func TestHealedByAnother(t *testing.T) {
	p := newPlace(t)
	one, two := bytes.Repeat([]byte("one"), 30_000), bytes.Repeat([]byte("two"), 30_000)
	w := p.mustOpen(t)
	w.cutFiles(one)
	w.cutFiles(two)
	groups := w.groups()
	heal := func(damaged, by chunkfmt.Seq) chunkfmt.Record {
		h := chunkfmt.Healed{Length: uint32(len(one)), Group: by}
		return chunkfmt.Record{Op: chunkfmt.OpPut, Kind: chunkfmt.RecHealed, Key: chunkfmt.HealedKey(damaged, 0), Value: h.Append(nil)}
	}
	w.extra = records{heal(groups[0], groups[1]), heal(groups[1], groups[1])}
	w.cut(stage.MarkCut, "a", "1", nil)
	w.extra = nil
	w.end()
	w = p.mustOpen(t)
	w.wantGroup(groups[0], one) // from its own place, which is whole
	w.wantGroup(groups[1], two)
	w.end()
	for _, seq := range groups {
		p.damage(t, p.options(t), seq)
	}
	w = p.mustOpen(t)
	for _, seq := range groups {
		if err := w.s.Groups().ReadAt(t.Context(), seq, make([]byte, 1), 0); !errors.Is(err, stage.ErrDamaged) {
			t.Errorf("group %v: %v", seq, err)
		}
	}
	w.end()
}
