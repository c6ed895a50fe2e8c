package mover

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"coffer/chunkfmt"
)

// TestResumedChunk: a session whose server lost power goes on in another chunk, from the first number that was not
// acknowledged. What the chunk before holds of these numbers may have holes; the log is what both chunks hold together.
func TestResumedChunk(t *testing.T) {
	for name, stable := range map[string]bool{"unacknowledged": false, "acknowledged": true} {
		t.Run(name, func(t *testing.T) { testResumedChunk(t, stable) })
	}
}

func testResumedChunk(t *testing.T, stable bool) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "1")
	w.put("b", "2")
	w.crash()
	o := p.options(t)
	path := p.chunkPath(o, 1, 1, false)
	chunk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lost := lastData(t, chunk)
	resumed := resumeAt(t, chunk, lost.Tag.Seq, stable)
	if err := os.WriteFile(p.chunkPath(o, 1, 2, false), resumed, 0o600); err != nil {
		t.Fatal(err)
	}
	// The power cut left a hole in the group, and what was written behind it.
	clear(chunk[lost.At+chunkfmt.TagSize:][:lost.Tag.StoredLen()])
	if err := os.WriteFile(path, chunk, 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := p.copyOf(t).mustOpen(t)
	fresh.want(map[string]string{"a": "1", "b": "2"})
	// "b2" a thousand times, as put has it.
	var b [2]byte
	if err := fresh.s.Groups().ReadAt(t.Context(), lost.Tag.Seq, b[:], 100); err != nil || string(b[:]) != "b2" {
		t.Errorf("the group reads as %q, %v", b, err)
	}
	fresh.end()
}

func entriesOf(t *testing.T, chunk []byte) (all []chunkfmt.Entry) {
	t.Helper()
	sc := chunkfmt.NewScanner(bytes.NewReader(chunk), int64(len(chunk)))
	for {
		e, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

func lastData(t *testing.T, chunk []byte) (last chunkfmt.Entry) {
	t.Helper()
	for _, e := range entriesOf(t, chunk) {
		if e.Tag.Kind == chunkfmt.KindData {
			last = e
		}
	}
	if last.At == 0 {
		t.Fatal("the chunk under test holds no data")
	}
	return last
}

// resumeAt makes the second chunk of a session, of what the first holds from seq on. Stable has its last tag say that
// all before it was acknowledged.
func resumeAt(t *testing.T, chunk []byte, seq chunkfmt.Seq, stable bool) []byte {
	t.Helper()
	h, err := chunkfmt.ParseChunkHeader(chunk)
	if err != nil {
		t.Fatal(err)
	}
	h.Chunk, h.First = chunkfmt.MakeChunkID(1, 2, false), seq
	b := h.Append(nil)
	for _, e := range entriesOf(t, chunk) {
		if e.Tag.Seq < seq {
			continue
		}
		tag := e.Tag
		tag.Offset = uint64(len(b))
		if stable {
			tag.Watermark = tag.Seq - 1
		}
		b = append(b, make([]byte, chunkfmt.TagSize)...)
		tag.Put(b[tag.Offset:])
		b = append(b, chunk[e.At+chunkfmt.TagSize:][:e.Tag.StoredLen()]...)
	}
	return b
}
