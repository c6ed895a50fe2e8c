package mover

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"coffer/chunkfmt"
)

// parts of the first chunk of a session that its header stands in: where each begins.
var headerParts = []struct {
	name string
	at   int64
}{
	{"chunk header", 50},
	{"tag", chunkfmt.ChunkHeaderSize + 30},
	{"options", chunkfmt.ChunkHeaderSize + chunkfmt.TagSize + 20},
	{"payload", chunkfmt.ChunkHeaderSize + chunkfmt.TagSize + 100},
}

func flipBit(t *testing.T, path string, at int64, bit int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1 << bit
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHeaderDamagedTwice damages both copies of the newest session's header. What the two have whole together is the
// header; where that is not all of it, the session is damaged and is never taken for one that had not begun.
func TestHeaderDamagedTwice(t *testing.T) {
	for _, ended := range []bool{true, false} {
		p := newPlace(t)
		w := p.mustOpen(t)
		w.put("a", "1")
		w.end()
		w = p.mustOpen(t)
		w.put("b", "2")
		if ended {
			w.end()
		} else {
			w.crash()
		}
		o := p.options(t)
		for _, first := range headerParts {
			for _, second := range headerParts {
				t.Run(fmt.Sprintf("ended=%v %s, %s", ended, first.name, second.name), func(t *testing.T) {
					q := p.copyOf(t)
					flipBit(t, q.chunkPath(o, 2, 1, false), first.at, 1)
					flipBit(t, q.chunkPath(o, 2, 1, true), second.at+1, 2)
					s, err := q.open(t)
					if err == nil {
						w := &writing{t: t, s: s}
						w.want(map[string]string{"a": "1", "b": "2"})
						w.end()
						return
					}
					if !errors.Is(err, ErrDamaged) {
						t.Errorf("opening it: %v", err)
					}
					behind := func(name string) bool { return name == "options" || name == "payload" }
					if first.name != second.name && !(behind(first.name) && behind(second.name)) {
						t.Errorf("the two copies have all of the header together: %v", err)
					}
				})
			}
		}
	}
}

// TestDiedWhileItBegan cuts the only chunks of a session everywhere in its header: a crash leaves that, and the next
// session goes on from the one before.
func TestDiedWhileItBegan(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "1")
	w.end()
	w = p.mustOpen(t)
	w.put("b", "never acknowledged")
	w.crash()
	o := p.options(t)
	b, err := os.ReadFile(p.chunkPath(o, 2, 1, false))
	if err != nil {
		t.Fatal(err)
	}
	whole := tagEnds(t, b)[0]
	for _, size := range []int64{0, 1, 255, 256, 300, 352, 400, whole - 1} {
		for _, other := range []int64{-1, 0, size} {
			q := p.copyOf(t)
			if err := os.Truncate(q.chunkPath(o, 2, 1, false), size); err != nil {
				t.Fatal(err)
			}
			if other < 0 {
				err = os.Remove(q.chunkPath(o, 2, 1, true))
			} else {
				err = os.Truncate(q.chunkPath(o, 2, 1, true), other)
			}
			if err != nil {
				t.Fatal(err)
			}
			w := q.mustOpen(t)
			w.want(map[string]string{"a": "1"})
			w.put("b", "2")
			w.end()
			w = q.copyOf(t).mustOpen(t)
			w.want(map[string]string{"a": "1", "b": "2"})
			w.end()
		}
	}
}

// TestNewestChunkMissing: a machine that remembers nothing of the store finds that its newest chunk of data is gone.
// The watermarks in the copies of metadata tell that there was more.
func TestNewestChunkMissing(t *testing.T) {
	for _, ended := range []bool{true, false} {
		p := newPlace(t)
		w := p.mustOpen(t)
		w.put("a", "1")
		w.end()
		w = p.mustOpen(t)
		w.put("b", "2")
		w.put("c", "3")
		group := w.groups()[2]
		if ended {
			w.end()
		} else {
			w.put("d", "4")
			w.crash()
		}
		q := p.copyOf(t)
		if err := os.Remove(q.chunkPath(p.options(t), 2, 1, false)); err != nil {
			t.Fatal(err)
		}
		w = q.mustOpen(t)
		for key, want := range map[string]string{"a": "1", "b": "2", "c": "3"} {
			if got, _, err := w.s.Index().Meta(key); err != nil || string(got) != want {
				t.Errorf("ended=%v: %s is %q, want %q (%v)", ended, key, got, want, err)
			}
		}
		var b [1]byte
		if err := w.s.Groups().ReadAt(t.Context(), group, b[:], 0); err == nil {
			t.Errorf("ended=%v: a group of the chunk that is gone reads", ended)
		}
		w.end()
	}
}

// TestHeaderInSecondChunk: a session whose first chunk stayed empty, because what was appended to it failed, begins in
// the next.
func TestHeaderInSecondChunk(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "1")
	w.end()
	w = p.mustOpen(t)
	w.put("b", "2")
	w.crash()
	o := p.options(t)
	for _, mirror := range []bool{false, true} {
		b, err := os.ReadFile(p.chunkPath(o, 2, 1, mirror))
		if err != nil {
			t.Fatal(err)
		}
		h, err := chunkfmt.ParseChunkHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		h.Chunk = chunkfmt.MakeChunkID(2, 2, mirror)
		if err := os.WriteFile(p.chunkPath(o, 2, 2, mirror), append(h.Append(nil), b[chunkfmt.ChunkHeaderSize:]...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(p.chunkPath(o, 2, 1, mirror), 0); err != nil {
			t.Fatal(err)
		}
	}
	w = p.copyOf(t).mustOpen(t)
	w.want(map[string]string{"a": "1", "b": "2"})
	w.end()
}
