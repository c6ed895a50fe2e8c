package mover

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
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

// TestEitherCopy damages one tag of metadata in its chunk and another one in the mirror, in all ways that the newest
// session can be hit: each is read where it is whole, also behind what is known to be acknowledged.
func TestEitherCopy(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, ended := range []bool{true, false} {
		p := newPlace(t)
		w := p.mustOpen(t)
		w.put("a", "1")
		w.cut(stage.MarkArchive, "b", "2", nil)
		w.put("c", "3")
		if ended {
			w.end()
		} else {
			w.crash()
		}
		o := p.options(t)
		metadata := func(mirror bool) (all []chunkfmt.Entry) {
			b, err := os.ReadFile(p.chunkPath(o, 1, 1, mirror))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entriesOf(t, b) {
				if e.Tag.Kind != chunkfmt.KindData {
					all = append(all, e)
				}
			}
			return all
		}
		main, mirror := metadata(false), metadata(true)
		if len(main) != len(mirror) || len(main) < 7 {
			t.Fatalf("%d tags of metadata, %d in the mirror", len(main), len(mirror))
		}
		for range 30 {
			i, j := rng.IntN(len(main)), rng.IntN(len(main)-1)
			if j >= i {
				j++
			}
			inTag, inOther := rng.IntN(2) == 0, rng.IntN(2) == 0
			at := func(e chunkfmt.Entry, inTag bool) int64 {
				if inTag {
					return e.At + rng.Int64N(chunkfmt.TagSize)
				}
				return e.At + chunkfmt.TagSize + rng.Int64N(int64(e.Tag.StoredLen()))
			}
			q := p.copyOf(t)
			flipBit(t, q.chunkPath(o, 1, 1, false), at(main[i], inTag), rng.IntN(8))
			flipBit(t, q.chunkPath(o, 1, 1, true), at(mirror[j], inOther), rng.IntN(8))
			w := q.mustOpen(t)
			w.want(map[string]string{"a": "1", "b": "2", "c": "3"})
			w.end()
		}
	}
}
