package mover

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/index"
)

// follow opens the volume of p for following, on a machine of its own.
func (p place) follow(t *testing.T, log *bytes.Buffer) *Reader {
	t.Helper()
	o := place{p.store, t.TempDir()}.options(t)
	o.Follow = true
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	r, err := OpenReader(t.Context(), o, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// openIn opens a session that begins a chunk more often than others.
func (p place) openIn(t *testing.T, chunkBytes int64) *writing {
	t.Helper()
	o := p.options(t)
	o.ChunkBytes = chunkBytes
	s, err := OpenSource(t.Context(), starter{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return &writing{t: t, s: s}
}

// catchUp looks until there is nothing new.
func catchUp(t *testing.T, r *Reader, want index.Head) {
	t.Helper()
	for range 4 {
		if _, err := r.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := r.Index().Head()
	if begun := got.Seq.Number() == 1 && got.Ordinal > want.Ordinal; got != want && !begun {
		t.Fatalf("it has come to %v, want %v", got, want)
	}
}

// TestFollow has a reader follow a volume over sessions that end, crash, and begin chunks.
func TestFollow(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	p := newPlace(t)
	p.mustOpen(t).end()
	var log bytes.Buffer
	r := p.follow(t, &log)
	w := p.openIn(t, 100<<10)
	for n := range 15 {
		switch rng.IntN(8) {
		case 0:
			w.end()
			w = p.openIn(t, 100<<10)
		case 1:
			w.crash()
			w = p.openIn(t, 100<<10)
		case 2:
			w.filler = rng.IntN(800)
		}
		for range rng.IntN(6) {
			w.put(string(rune('a'+rng.IntN(6))), strconv.Itoa(n)+string(make([]byte, rng.IntN(40))))
		}
		if rng.IntN(3) == 0 {
			continue
		}
		catchUp(t, r, w.s.index.Head())
		for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
			want, _, err := w.s.Index().Meta(key)
			if err != nil {
				t.Fatal(err)
			}
			if got, _, err := r.Index().Meta(key); err != nil || string(got) != string(want) {
				t.Fatalf("%s is %q, want %q: %v", key, got, want, err)
			}
		}
		for _, seq := range w.groups() {
			if err := r.Groups().ReadAt(t.Context(), seq, make([]byte, 1), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.end()
	if log.Len() > 0 {
		t.Errorf("nothing was wrong, and the log says:\n%s", log.String())
	}
}

// TestFollowWhileWritten has readers look all the time while somebody writes: each state that they see was one.
func TestFollowWhileWritten(t *testing.T) {
	p := newPlace(t)
	w := p.openIn(t, 200<<10)
	w.put("a", "0")
	w.put("b", "0")
	done := make(chan struct{})
	var readers sync.WaitGroup
	logs := make([]bytes.Buffer, 2)
	for k := range logs {
		r := p.follow(t, &logs[k])
		readers.Go(func() {
			last := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := r.CatchUp(t.Context()); err != nil {
					t.Error(err)
					return
				}
				a, b := number(t, r, "a"), number(t, r, "b")
				if a != b && a != b+1 || a+b < last {
					t.Errorf("a is %d and b is %d, after a sum of %d", a, b, last)
					return
				}
				last = a + b
			}
		})
	}
	for n := 1; n <= 25; n++ {
		w.put("a", strconv.Itoa(n))
		w.put("b", strconv.Itoa(n))
	}
	close(done)
	readers.Wait()
	w.end()
	for k := range logs {
		if logs[k].Len() > 0 {
			t.Errorf("nothing was wrong, and the log says:\n%s", logs[k].String())
		}
	}
}

func number(t *testing.T, r *Reader, key string) int {
	v, _, err := r.Index().Meta(key)
	n, err1 := strconv.Atoi(string(v))
	if err != nil || err1 != nil {
		t.Errorf("%s is %q: %v, %v", key, v, err, err1)
	}
	return n
}

// TestFollowTorn shows a reader the files of a store at all lengths: also with a tag half there.
func TestFollowTorn(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	p := newPlace(t)
	w := p.openIn(t, 60<<10)
	w.put("a", "0")
	grown := p.copyOf(t)
	var log bytes.Buffer
	r := grown.follow(t, &log)
	for n := range 20 {
		w.put(string(rune('a'+n%6)), strconv.Itoa(n))
	}
	head := w.s.index.Head()
	for _, name := range files(t, p.store) {
		if filepath.Base(name) == "lock" {
			continue
		}
		whole, err := os.ReadFile(filepath.Join(p.store, name))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(grown.store, name)
		have, _ := os.ReadFile(to)
		for n := len(have); n < len(whole); {
			n = min(n+1+rng.IntN(5000), len(whole))
			if err := os.WriteFile(to, whole[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			before := r.Index().Head()
			for range 3 {
				if _, err := r.CatchUp(t.Context()); err != nil {
					t.Fatalf("%d bytes of %s: %v", n, name, err)
				}
			}
			if r.Index().Head().Seq < before.Seq {
				t.Fatal("it went back")
			}
		}
	}
	catchUp(t, r, head)
	w.end()
}

// TestFollowDamage: a batch that is damaged is read from its copy; one that is damaged twice is an error, and the view
// stays as it was.
func TestFollowDamage(t *testing.T) {
	for _, twice := range []bool{false, true} {
		t.Run(fmt.Sprint(twice), func(t *testing.T) {
			p := newPlace(t)
			w := p.mustOpen(t)
			w.put("a", "0")
			var log bytes.Buffer
			r := p.follow(t, &log)
			before := r.Index().Head()
			w.put("b", "1")
			w.put("c", "2")
			hit := []bool{false}
			if twice {
				hit = append(hit, true)
			}
			for _, mirror := range hit {
				damageBatch(t, p.chunkPath(w.s.o, 1, 1, mirror), before.Seq)
			}
			if !twice {
				catchUp(t, r, w.s.index.Head())
				return
			}
			var err error
			for range 3 {
				if _, failed := r.CatchUp(t.Context()); failed != nil {
					err = failed
				}
			}
			if err == nil || r.Index().Head() != before {
				t.Errorf("%v; it is at %v, was at %v", err, r.Index().Head(), before)
			}
		})
	}
}

// damageBatch turns a bit of the first batch behind seq.
func damageBatch(t *testing.T, path string, seq chunkfmt.Seq) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for sc := chunkfmt.NewScanner(f, info.Size()); ; {
		e, err := sc.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Tag.Kind != chunkfmt.KindBatch || e.Tag.Seq <= seq {
			continue
		}
		var b [1]byte
		at := e.At + chunkfmt.TagSize + int64(e.Tag.StoredLen()/2)
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 4
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		return
	}
}

// TestFollowPruned has a reader follow while chunks are written anew that hold the end of what it has seen.
func TestFollowPruned(t *testing.T) {
	p := newPlace(t)
	live, dead := half(t, func() *writing { return p.mustOpen(t) })
	var log bytes.Buffer
	r := p.follow(t, &log)
	seen := r.Index().Head()
	catchUp(t, r, seen)
	w := p.mustOpen(t)
	pruned, err := w.s.Prune(t.Context(), w)
	if err != nil || pruned.Chunks == 0 {
		t.Fatalf("%+v, %v", pruned, err)
	}
	w.put("a", "since")
	catchUp(t, r, w.s.index.Head())
	for _, seq := range live {
		if err := r.Groups().ReadAt(t.Context(), seq, make([]byte, 1), 0); err != nil {
			t.Errorf("group %v: %v", seq, err)
		}
	}
	for _, seq := range dead {
		if _, _, ok, err := r.Index().Group(seq); ok || err != nil {
			t.Errorf("group %v, which was removed, is known: %v, %v", seq, ok, err)
		}
	}
	w.end()
	if log.Len() > 0 {
		t.Errorf("nothing was wrong, and the log says:\n%s", log.String())
	}
}

// TestKeep has the reader look by itself.
func TestKeep(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "0")
	var log bytes.Buffer
	r := p.follow(t, &log)
	w.put("a", "1")
	ctx, cancel := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	seen := make(chan struct{})
	var once sync.Once
	looking.Go(func() {
		r.Keep(ctx, func(err error) {
			if err != nil {
				t.Error(err)
			}
			if number(t, r, "a") == 1 {
				once.Do(func() { close(seen) })
			}
		})
	})
	<-seen
	cancel()
	looking.Wait()
	w.end()
}
