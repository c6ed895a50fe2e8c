package cleaner_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/dir"
	"coffer/media/faulty"
	"coffer/media/mem"
)

// TestClean removes and cleans several times, on media of both kinds: what was planned is what
// comes back, what stays is as it was, and nobody finds damage.
func TestClean(t *testing.T) {
	for kind, open := range map[string]func() media.Medium{
		"mem": func() media.Medium { return mem.New(0) },
		"dir": func() media.Medium {
			m, err := dir.Open(t.TempDir(), dir.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return m
		},
	} {
		for i := range 4 {
			t.Run(kind+" "+name(i), func(t *testing.T) {
				m := open()
				defer m.Close()
				w := newWorld(t, seeded(t, uint64(time.Now().UnixNano())), m)
				c := w.catalog(m)
				if r := w.clean(t.Context(), m, c); r.Chunks != 0 {
					t.Errorf("with nothing removed: %+v", r)
				}
				for range 3 {
					w.remove()
					before := w.size(m)
					plan, err := w.cleaner(m, c).Plan(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if w.size(m) != before {
						t.Error("a plan has changed something")
					}
					r := w.clean(t.Context(), m, c)
					if r != plan || before-w.size(m) != r.Bytes || r.Left != 0 {
						t.Errorf("planned %+v, did %+v, and %d bytes came back", plan, r, before-w.size(m))
					}
					w.check(m, c)
					w.numbers(m, c)
					if found := w.scrub(m); len(found) > 0 {
						t.Errorf("scrub: %s", strings.Join(found, "\n"))
					}
					if r := w.clean(t.Context(), m, c); r.Chunks != 0 {
						t.Errorf("a second time: %+v", r)
					}
				}
				w.check(m, w.catalog(m)) // one that is made of the chunks alone
			})
		}
	}
}

// TestAllGone: of a chunk with nothing but removed groups little is left.
func TestAllGone(t *testing.T) {
	m := mem.New(0)
	w := &world{t: t, rng: seeded(t, 1), tags: map[chunkfmt.Seq]stored{}}
	last := w.session(m, 1, 0, 3, func(int) bool { return false })
	w.session(m, 2, last, 1, func(int) bool { return true })
	for _, seq := range w.data {
		if seq.Ordinal() == 1 {
			w.removed = append(w.removed, chunkfmt.Removed{First: seq, Last: seq})
		}
	}
	c := w.catalog(m)
	r := w.clean(t.Context(), m, c)
	if dead := w.check(m, c); dead != 0 || r.Groups != len(w.removed) {
		t.Errorf("%d groups are left of %d, result %+v", dead, len(w.removed), r)
	}
	w.numbers(m, c)
}

// TestPowerCuts cuts the power at random operations of the cleaner: nothing that counts is ever
// missing, and the next run brings it to its end.
func TestPowerCuts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for i := range 25 {
		t.Run(name(i), func(t *testing.T) {
			rng := seeded(t, seed+uint64(i))
			inner := mem.New(0)
			w := newWorld(t, rng, inner)
			w.remove()
			for range 3 {
				m := faulty.Wrap(inner, nil)
				for range 2 { // killed, then killed again or cut off before all is on stable storage
					ctx, cancel := context.WithCancel(t.Context())
					m.SetRule(nil)
					c := w.catalog(m)
					m.SetRule(endAt(rng.IntN(200), cancel))
					_, err := w.cleaner(m, c).Run(ctx)
					cancel()
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Fatal(err)
					}
				}
				after, err := m.Crash(t.Context(), rng.Uint64())
				if err != nil {
					t.Fatal(err)
				}
				c := w.catalog(after)
				w.check(after, c)
				w.numbers(after, c)
				if found := w.scrub(after); len(found) > 0 {
					t.Errorf("scrub: %s", strings.Join(found, "\n"))
				}
			}
			c := w.catalog(inner)
			w.clean(t.Context(), inner, c)
			if r := w.clean(t.Context(), inner, c); r.Chunks != 0 {
				t.Errorf("something was left undone: %+v", r)
			}
			w.check(inner, c)
			if found := w.scrub(inner); len(found) > 0 {
				t.Errorf("scrub: %s", strings.Join(found, "\n"))
			}
			for _, k := range c.Chunks() {
				if k.ID.Generation() > 0 && !k.Complete {
					t.Errorf("%v is left half written", k.ID)
				}
			}
		})
	}
}

// endAt ends at the n-th operation: it and all later ones fail, as those of a process that was killed are never made.
func endAt(n int, end func()) faulty.Rule {
	var mu sync.Mutex
	return func(ctx context.Context, op faulty.Op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if n--; n < 0 {
			end()
			return context.Canceled
		}
		return nil
	}
}

// TestFooterBeforeTheRest: a chunk that was written anew and has its footer, but not all that is before it, as a power
// cut may leave it, does not take the old one's place.
func TestFooterBeforeTheRest(t *testing.T) {
	inner := mem.New(0)
	w := &world{t: t, rng: seeded(t, 11), tags: map[chunkfmt.Seq]stored{}}
	last := w.session(inner, 1, 0, 1, func(int) bool { return false })
	w.session(inner, 2, last, 1, func(int) bool { return true })
	for i, seq := range w.data {
		if i%2 == 0 && seq.Ordinal() == 1 {
			w.removed = append(w.removed, chunkfmt.Removed{First: seq, Last: seq})
		}
	}
	// The old one can't be deleted, as if somebody was killed just before.
	m := faulty.Wrap(inner, faulty.Fail(errors.New("killed"), faulty.Remove))
	if _, err := w.cleaner(m, w.catalog(m)).Run(t.Context()); err == nil {
		t.Fatal("the old chunk was deleted")
	}
	anew := media.ChunkName(volume, chunkfmt.MakeChunkID(1, 1, false).Of(1))
	flip(t, inner, anew, chunkfmt.ChunkHeaderSize+600)
	c := w.catalog(inner)
	r := w.clean(t.Context(), inner, c)
	if r.Chunks != 1 || w.check(inner, c) != 0 {
		t.Errorf("%+v", r)
	}
	if found := w.scrub(inner); len(found) > 0 {
		t.Errorf("scrub: %s", strings.Join(found, "\n"))
	}
}

// TestErrors makes single operations fail: what counts is there after each, and once they work all is done.
func TestErrors(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	broken := errors.New("broken")
	for i := range 20 {
		t.Run(name(i), func(t *testing.T) {
			rng := seeded(t, seed+uint64(i))
			m := faulty.Wrap(mem.New(0), nil)
			w := newWorld(t, rng, m)
			w.remove()
			c := w.catalog(m)
			ops := []faulty.Op{faulty.Create, faulty.Append, faulty.Sync, faulty.Remove, faulty.Read}
			err := broken
			if rng.IntN(2) == 0 {
				err = media.ErrFull
			}
			m.SetRule(faulty.From(rng.IntN(10), faulty.First(1+rng.IntN(5), faulty.Fail(err, ops[rng.IntN(len(ops))]))))
			_, failed := w.cleaner(m, c).Run(t.Context())
			if failed != nil && !errors.Is(failed, broken) && !errors.Is(failed, media.ErrFull) {
				t.Fatal(failed)
			}
			m.SetRule(nil)
			w.check(m, c)
			w.clean(t.Context(), m, c)
			w.check(m, c)
			if r := w.clean(t.Context(), m, c); r.Chunks != 0 || r.Left != 0 {
				t.Errorf("something was left undone: %+v", r)
			}
			if found := w.scrub(m); len(found) > 0 {
				t.Errorf("scrub: %s", strings.Join(found, "\n"))
			}
		})
	}
}

// TestFull: on a medium without room for what is left of a chunk, those are cleaned of which little is left, and
// then there is room for the others.
func TestFull(t *testing.T) {
	m := faulty.Wrap(mem.New(0), nil)
	w := &world{t: t, rng: seeded(t, 3), tags: map[chunkfmt.Seq]stored{}}
	last := w.session(m, 1, 0, 6, func(int) bool { return false })
	w.session(m, 2, last, 1, func(int) bool { return true })
	c := w.catalog(m)
	for _, k := range c.Chunks() {
		for i, seq := range w.data {
			if seq >= k.First && seq <= k.Last && k.ID.Ordinal() == 1 && (k.ID.Number()%2 == 0 || i%3 == 0) {
				w.removed = append(w.removed, chunkfmt.Removed{First: seq, Last: seq})
			}
		}
	}
	m.SetFree(30 << 10)
	if r := w.clean(t.Context(), m, c); r.Left != 0 || r.Chunks != 6 {
		t.Errorf("%+v", r)
	}
	m.SetFree(0)
	w.removed = append(w.removed, chunkfmt.Removed{First: last + 1, Last: last + 1})
	w.check(m, c)
}

// TestDamageStays: a chunk in which something is damaged is left as it is, and so is what says of it.
func TestDamageStays(t *testing.T) {
	for what, at := range map[string]int64{"header": 50, "tag": chunkfmt.ChunkHeaderSize + 30, "payload": chunkfmt.ChunkHeaderSize + chunkfmt.TagSize + 90} {
		t.Run(what, func(t *testing.T) {
			inner := mem.New(0)
			w := &world{t: t, rng: seeded(t, 5), tags: map[chunkfmt.Seq]stored{}}
			last := w.session(inner, 1, 0, 2, func(int) bool { return false })
			w.session(inner, 2, last, 1, func(int) bool { return true })
			w.remove()
			flip(t, inner, media.ChunkName(volume, chunkfmt.MakeChunkID(1, 1, false)), at)
			before := w.scrub(inner)
			r := w.clean(t.Context(), inner, w.catalog(inner))
			after := w.scrub(inner)
			if len(before) == 0 || strings.Join(before, "\n") != strings.Join(after, "\n") || r.Left != 1 {
				t.Errorf("%+v, found before:\n%s\nand after:\n%s", r, strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
		})
	}
}

func flip(t *testing.T, m media.Medium, name string, at int64) {
	t.Helper()
	b, err := media.ReadAll(t.Context(), m, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x10
	if err := m.Put(t.Context(), name, b); err != nil {
		t.Fatal(err)
	}
}

// TestMissingEndStays: a chunk that was torn before what was acknowledged is not made one that looks whole.
func TestMissingEndStays(t *testing.T) {
	for _, inMiddle := range []bool{true, false} {
		inner := mem.New(0)
		w := &world{t: t, rng: seeded(t, 9), tags: map[chunkfmt.Seq]stored{}}
		last := w.session(inner, 1, 0, 2, func(int) bool { return true })
		w.session(inner, 2, last, 1, func(int) bool { return true })
		w.remove()
		id := chunkfmt.MakeChunkID(1, 2, false)
		if inMiddle {
			id = chunkfmt.MakeChunkID(1, 1, false)
		}
		name := media.ChunkName(volume, id)
		b, err := media.ReadAll(t.Context(), inner, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := inner.Put(t.Context(), name, b[:len(b)/2]); err != nil {
			t.Fatal(err)
		}
		before := w.scrub(inner)
		w.clean(t.Context(), inner, w.catalog(inner))
		after := w.scrub(inner)
		if len(before) == 0 || strings.Join(before, "\n") != strings.Join(after, "\n") {
			t.Errorf("found before:\n%s\nand after:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	}
}

// TestReadersMeanwhile reads all that counts through the catalog while the volume is cleaned again and again.
func TestReadersMeanwhile(t *testing.T) {
	m := mem.New(0)
	w := newWorld(t, seeded(t, uint64(time.Now().UnixNano())), m)
	c := w.catalog(m)
	rounds := make([][]chunkfmt.Removed, 5)
	var live []chunkfmt.Seq
	for i, seq := range w.data {
		if k := i * 7 % 10; k < len(rounds) {
			rounds[k] = append(rounds[k], chunkfmt.Removed{First: seq, Last: seq})
		} else {
			live = append(live, seq)
		}
	}
	var reading sync.WaitGroup
	stop := make(chan struct{})
	for r := range 2 {
		reading.Go(func() {
			for i := r; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := w.read(m, c, live[i%len(live)]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, more := range rounds {
		w.removed = append(w.removed, more...)
		w.sort()
		w.clean(t.Context(), m, c)
	}
	close(stop)
	reading.Wait()
}

// TestScrubMeanwhile scrubs while the volume is cleaned: there is nothing to be found.
func TestScrubMeanwhile(t *testing.T) {
	m := mem.New(0)
	w := newWorld(t, seeded(t, uint64(time.Now().UnixNano())), m)
	c := w.catalog(m)
	w.remove()
	var cleaning sync.WaitGroup
	for range 20 {
		removed := slices.Clone(w.removed)
		cleaning.Go(func() {
			if _, err := w.cleaner(m, c).Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if found := w.scrub(m); len(found) > 0 {
			t.Errorf("scrub: %s", strings.Join(found, "\n"))
		}
		cleaning.Wait()
		w.removed = removed
		w.remove()
	}
}
