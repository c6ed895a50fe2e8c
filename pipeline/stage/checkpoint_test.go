package stage_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/faulty"
	"coffer/pipeline/stage"
)

// fakeImage has so many pieces, each with one key of size random bytes.
type fakeImage struct {
	pieces, size int
	sent         [][]byte
	fail         error // instead of the last piece
	before       func(n int)
}

func (im *fakeImage) Piece(dst []byte) ([]byte, bool, error) {
	n := len(im.sent)
	last := n == im.pieces-1
	if im.before != nil {
		im.before(n)
	}
	if last && im.fail != nil {
		return nil, false, im.fail
	}
	w := chunkfmt.NewPieceWriter(dst, chunkfmt.PieceHeader{Part: uint32(n), Head: 7})
	if !w.Add(1, []byte("key"), random(uint64(n), im.size), nil) {
		return nil, false, fmt.Errorf("%d bytes do not fit", im.size)
	}
	im.sent = append(im.sent, bytes.Clone(w.Bytes()))
	return w.Bytes(), last, nil
}

// TestCheckpoint sends an image while files are written and cut.
func TestCheckpoint(t *testing.T) {
	ctx := watched(t, time.Minute)
	r := newRig(t, ctx, nil)
	f := &file{ino: 2}
	im := &fakeImage{pieces: 12, size: 100_000}
	im.before = func(n int) {
		r.mustWrite(f, int64(len(f.data)), random(uint64(n), 200_000))
		if n%5 == 2 {
			if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
				t.Error(err)
			}
		}
	}
	if err := r.c.Checkpoint(ctx, im); err != nil {
		t.Fatal(err)
	}
	head := r.writer.Head()
	r.mu.Lock()
	if head != r.head {
		t.Errorf("the head is %v, want that of the last batch, %v", head.Seq, r.head.Seq)
	}
	r.mu.Unlock()
	if r.writer.Acked() < head.Seq {
		t.Errorf("acknowledged up to %v", r.writer.Acked())
	}
	second := &fakeImage{pieces: 1, size: 10}
	if err := r.c.Checkpoint(ctx, second); err != nil {
		t.Fatal(err)
	}
	if err := r.await(r.cutAll(stage.MarkEnd, f)); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.mustCheck(f)
	got, err := replay(ctx, r.inner)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.compare(map[chunkfmt.Ino][]byte{2: f.data}); err != nil {
		t.Error(err)
	}
	if len(got.pieces) != 13 {
		t.Fatalf("%d pieces", len(got.pieces))
	}
	for i, p := range got.pieces {
		want, last, first := im.sent[min(i, 11)], i >= 11, got.pieces[0].tag.Seq
		if i == 12 {
			want, first = second.sent[0], p.tag.Seq
		}
		chunkfmt.SetPieceFirst(want, first)
		if !bytes.Equal(p.payload, want) || (p.tag.Flags&chunkfmt.FlagMore == 0) != last {
			t.Errorf("piece %d with flags %x: %d bytes, want %d", i, p.tag.Flags, len(p.payload), len(want))
		}
	}
	if meta := len(got.kinds) - len(got.groups); got.copies != meta {
		t.Errorf("%d copies of %d tags of metadata", got.copies, meta)
	}
}

// TestCheckpointFails: who waits for a checkpoint is told, and nobody else is hindered.
func TestCheckpointFails(t *testing.T) {
	bad := errors.New("bad image")
	for what, c := range map[string]struct {
		do   func(r *rig, im *fakeImage)
		want error
	}{
		"an image that ends":  {func(_ *rig, im *fakeImage) { im.fail = bad }, bad},
		"a session that ends": {func(r *rig, im *fakeImage) { r.await(r.cutAll(stage.MarkEnd)) }, stage.ErrClosed},
		"a medium that is full": {func(r *rig, im *fakeImage) {
			r.medium.SetRule(faulty.Fail(media.ErrFull, faulty.Append))
		}, media.ErrFull},
		"a medium that fails to sync": {func(r *rig, im *fakeImage) {
			r.medium.SetRule(faulty.Fail(bad, faulty.Sync))
		}, bad},
	} {
		ctx := watched(t, time.Minute)
		r := newRig(t, ctx, nil)
		f := &file{ino: 2}
		r.mustWrite(f, 0, random(1, 300_000))
		if err := r.await(r.cutAll(stage.MarkCut, f)); err != nil {
			t.Fatal(err)
		}
		im := &fakeImage{pieces: 12, size: 60_000}
		im.before = func(n int) {
			if n == 6 {
				c.do(r, im)
			}
		}
		// A pipe that failed is closed, to who comes after that.
		closed := c.want == bad && im.fail == nil
		if err := r.c.Checkpoint(ctx, im); !errors.Is(err, c.want) && !(closed && errors.Is(err, stage.ErrClosed)) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		r.medium.SetRule(nil)
		switch c.want {
		case stage.ErrClosed:
			r.close()
		case bad:
			if im.fail == nil {
				r.shut()
				continue
			}
			fallthrough
		default:
			if err := r.await(r.cutAll(stage.MarkEnd, f)); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			r.close()
		}
		r.mustCheck(f)
		got, err := replay(ctx, r.inner)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(got.pieces, func(p storedPiece) bool { return p.tag.Flags&chunkfmt.FlagMore == 0 }) {
			t.Errorf("%s: the last piece is there", what)
		}
	}
}

// TestCheckpointLeavesRoom: a checkpoint does not take what is kept for metadata, as data
// does not.
func TestCheckpointLeavesRoom(t *testing.T) {
	ctx := watched(t, time.Minute)
	r := newRig(t, ctx, func(cfg *stage.Config) { cfg.Reserve = 1 << 62 })
	if err := r.c.Checkpoint(ctx, &fakeImage{pieces: 3, size: 1000}); !errors.Is(err, media.ErrFull) {
		t.Fatal(err)
	}
	if err := r.await(r.cutAll(stage.MarkEnd)); err != nil {
		t.Fatal(err)
	}
	r.close()
}
