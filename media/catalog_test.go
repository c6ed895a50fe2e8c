package media_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/faulty"
	"coffer/media/mem"
)

var volume = chunkfmt.VolumeID{1, 2, 3}

func seqs(ordinal uint32, from, to uint64) []chunkfmt.Seq {
	var list []chunkfmt.Seq
	for n := from; n <= to; n++ {
		list = append(list, chunkfmt.MakeSeq(ordinal, n))
	}
	return list
}

// writer writes one chunk as the store stage does.
type writer struct {
	t        *testing.T
	appender media.Appender
	id       chunkfmt.ChunkID
	tags     []chunkfmt.Tag
}

func newWriter(t *testing.T, m media.Medium, id chunkfmt.ChunkID) *writer {
	t.Helper()
	a, err := m.Create(t.Context(), media.ChunkName(volume, id))
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{t: t, appender: a, id: id}
	h := w.header()
	w.append(h.Append(nil))
	return w
}

func (w *writer) header() chunkfmt.ChunkHeader {
	return chunkfmt.ChunkHeader{Layout: chunkfmt.LayoutFramed, Volume: volume, Chunk: w.id}
}

func (w *writer) append(b []byte) int64 {
	w.t.Helper()
	off, err := w.appender.Append(w.t.Context(), b)
	if err != nil {
		w.t.Fatal(err)
	}
	return off
}

// write writes tags with a few bytes each and returns them.
func (w *writer) write(list ...chunkfmt.Seq) []chunkfmt.Tag {
	w.t.Helper()
	start := len(w.tags)
	for _, seq := range list {
		body := make([]byte, 20+int(seq)%50)
		binary.BigEndian.PutUint64(body, uint64(seq))
		tag := chunkfmt.Tag{
			Version: chunkfmt.TagVersion, Kind: chunkfmt.KindData, Seq: seq,
			Offset: uint64(w.appender.Size()), SealedLen: uint32(len(body)), CRC: chunkfmt.Checksum(body),
		}
		b := make([]byte, chunkfmt.TagSize)
		tag.Put(b)
		w.append(append(b, body...))
		w.tags = append(w.tags, tag)
	}
	return w.tags[start:]
}

func (w *writer) finish() int64 {
	w.t.Helper()
	w.append(chunkfmt.AppendFooter(nil, w.tags))
	return w.appender.Size()
}

func writeChunk(t *testing.T, m media.Medium, id chunkfmt.ChunkID, list ...chunkfmt.Seq) {
	t.Helper()
	w := newWriter(t, m, id)
	w.write(list...)
	w.finish()
}

func openCatalog(t *testing.T, path string, m media.Medium, o media.CatalogOptions) *media.Catalog {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	c, err := media.OpenCatalog(t.Context(), path, m, volume, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close catalog: %v", err)
		}
	})
	return c
}

func refresh(t *testing.T, c *media.Catalog) {
	t.Helper()
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// checkPlace reads the tag at a place and compares its number.
func checkPlace(ctx context.Context, m media.Medium, seq chunkfmt.Seq, at chunkfmt.Location) error {
	b := make([]byte, chunkfmt.TagSize)
	if _, err := m.ReadAt(ctx, media.ChunkName(volume, at.Chunk), b, int64(at.Offset)); err != nil {
		return fmt.Errorf("%v: %w", seq, err)
	}
	tag, err := chunkfmt.ParseTag(b)
	if err != nil || tag.Seq != seq || uint32(tag.StoredLen()) != at.Length {
		return fmt.Errorf("looked up %v, found %v of %d bytes, want %d: %w", seq, tag.Seq, tag.StoredLen(), at.Length, err)
	}
	return nil
}

func wantFound(t *testing.T, c *media.Catalog, m media.Medium, list ...chunkfmt.Seq) {
	t.Helper()
	for _, seq := range list {
		at, err := c.Lookup(seq)
		if err == nil {
			err = checkPlace(t.Context(), m, seq, at)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func wantMissing(t *testing.T, c *media.Catalog, list ...chunkfmt.Seq) {
	t.Helper()
	for _, seq := range list {
		if at, err := c.Lookup(seq); !errors.Is(err, media.ErrNoTag) {
			t.Errorf("look up %v: %+v, %v; want ErrNoTag", seq, at, err)
		}
	}
}

func TestCatalogOfFinishedChunks(t *testing.T) {
	m := mem.New(0)
	writeChunk(t, m, chunkfmt.MakeChunkID(1, 1, false), seqs(1, 1, 100)...)
	writeChunk(t, m, chunkfmt.MakeChunkID(1, 2, false), seqs(1, 101, 150)...)
	writeChunk(t, m, chunkfmt.MakeChunkID(2, 1, false), seqs(2, 1, 10)...)
	c := openCatalog(t, "", m, media.CatalogOptions{})
	wantMissing(t, c, seqs(1, 1, 1)...)
	refresh(t, c)
	wantFound(t, c, m, seqs(1, 1, 150)...)
	wantFound(t, c, m, seqs(2, 1, 10)...)
	wantMissing(t, c, 0, chunkfmt.MakeSeq(1, 151), chunkfmt.MakeSeq(2, 11), chunkfmt.MakeSeq(3, 1))
	got := c.Chunks()
	if len(got) != 3 || got[0].Tags != 100 || !got[0].Complete || got[1].First != chunkfmt.MakeSeq(1, 101) || got[1].Last != chunkfmt.MakeSeq(1, 150) {
		t.Errorf("chunks: %+v", got)
	}
}

// TestCatalogOfGrowingChunk looks up what was written a moment ago, through
// sealing, and in a catalog that was opened later.
func TestCatalogOfGrowingChunk(t *testing.T) {
	m := mem.New(0)
	path := filepath.Join(t.TempDir(), "volumes", "catalog")
	c := openCatalog(t, path, m, media.CatalogOptions{})
	refresh(t, c)
	id := chunkfmt.MakeChunkID(1, 1, false)
	w := newWriter(t, m, id)
	if err := c.AddChunk(w.header()); err != nil {
		t.Fatal(err)
	}
	if err := c.AddChunk(w.header()); !errors.Is(err, media.ErrExist) {
		t.Errorf("second add: %v, want ErrExist", err)
	}
	for n := uint64(1); n <= 50; n += 10 {
		c.Extend(id, w.write(seqs(1, n, n+9)...))
		wantFound(t, c, m, seqs(1, 1, n+9)...)
		wantMissing(t, c, chunkfmt.MakeSeq(1, n+10))
		refresh(t, c) // does not get in the way
	}
	if got := c.Chunks(); len(got) != 1 || got[0].Tags != 50 || got[0].Complete || got[0].Size != w.appender.Size() {
		t.Errorf("growing chunk: %+v", got)
	}
	size := w.finish()
	if err := c.SealChunk(id, size); err != nil {
		t.Fatal(err)
	}
	if err := c.SealChunk(id, size); err == nil {
		t.Errorf("sealed a chunk twice")
	}
	wantFound(t, c, m, seqs(1, 1, 50)...)
	before := c.Chunks()
	refresh(t, c)
	if after := c.Chunks(); !slices.Equal(after, before) || !after[0].Complete || after[0].Size != size {
		t.Errorf("refresh changed %+v to %+v", before, after)
	}
	// Another one knows the sealed chunk from the file alone.
	later := openCatalog(t, path, m, media.CatalogOptions{})
	if got := later.Chunks(); !slices.Equal(got, before) {
		t.Errorf("opened again: %+v, want %+v", got, before)
	}
	wantFound(t, later, m, seqs(1, 1, 50)...)
}

func TestCatalogOfTornChunk(t *testing.T) {
	m := mem.New(0)
	w := newWriter(t, m, chunkfmt.MakeChunkID(1, 1, false))
	w.write(seqs(1, 1, 20)...)
	w.append(make([]byte, 30)) // half a tag
	c := openCatalog(t, "", m, media.CatalogOptions{})
	refresh(t, c)
	wantFound(t, c, m, seqs(1, 1, 20)...)
	if got := c.Chunks(); len(got) != 1 || got[0].Complete || got[0].Tags != 20 {
		t.Errorf("torn chunk: %+v", got)
	}

	// One that the writer itself gave up.
	id := chunkfmt.MakeChunkID(2, 1, false)
	w = newWriter(t, m, id)
	if err := c.AddChunk(w.header()); err != nil {
		t.Fatal(err)
	}
	c.Extend(id, w.write(seqs(2, 1, 5)...))
	if err := c.LeaveChunk(id); err != nil {
		t.Fatal(err)
	}
	wantFound(t, c, m, seqs(2, 1, 5)...)
	refresh(t, c)
	wantFound(t, c, m, seqs(2, 1, 5)...)
}

// TestCatalogFollowsAnotherWriter reads a volume that another process writes.
func TestCatalogFollowsAnotherWriter(t *testing.T) {
	m := mem.New(0)
	c := openCatalog(t, "", m, media.CatalogOptions{})
	w := newWriter(t, m, chunkfmt.MakeChunkID(1, 1, false))
	for n := uint64(1); n <= 9; n += 3 {
		w.write(seqs(1, n, n+2)...)
		refresh(t, c)
		wantFound(t, c, m, seqs(1, 1, n+2)...)
	}
	w.finish()
	refresh(t, c)
	wantFound(t, c, m, seqs(1, 1, 9)...)
	if got := c.Chunks(); !got[0].Complete {
		t.Errorf("finished chunk: %+v", got)
	}
	if err := m.Remove(t.Context(), c.Chunks()[0].Name); err != nil {
		t.Fatal(err)
	}
	refresh(t, c)
	wantMissing(t, c, seqs(1, 1, 9)...)
	if left := c.Chunks(); len(left) != 0 {
		t.Errorf("removed chunk: %+v", left)
	}
}

// TestCatalogPlaces has one tag in a mirror, in its chunk, and moved.
func TestCatalogPlaces(t *testing.T) {
	m := mem.New(0)
	mirror, first, moved := chunkfmt.MakeChunkID(1, 1, true), chunkfmt.MakeChunkID(1, 1, false), chunkfmt.MakeChunkID(9, 1, false)
	seq := chunkfmt.MakeSeq(1, 7)
	writeChunk(t, m, mirror, seq, chunkfmt.MakeSeq(1, 99))
	writeChunk(t, m, first, seqs(1, 1, 9)...)
	writeChunk(t, m, moved, chunkfmt.MakeSeq(5, 1), seq, chunkfmt.MakeSeq(1, 3))
	c := openCatalog(t, "", m, media.CatalogOptions{})
	refresh(t, c)
	places, err := c.Places(seq)
	if err != nil || len(places) != 3 || places[2].Chunk != mirror {
		t.Fatalf("places: %+v, %v; want three, the mirror last", places, err)
	}
	for _, at := range places {
		if err := checkPlace(t.Context(), m, seq, at); err != nil {
			t.Error(err)
		}
	}
	wantFound(t, c, m, chunkfmt.MakeSeq(1, 99)) // in the mirror only
	// The chunk goes once its groups have moved.
	if err := m.Remove(t.Context(), media.ChunkName(volume, first)); err != nil {
		t.Fatal(err)
	}
	c.RemoveChunk(first)
	wantFound(t, c, m, seq, chunkfmt.MakeSeq(1, 3), chunkfmt.MakeSeq(5, 1))
	wantMissing(t, c, chunkfmt.MakeSeq(1, 4))
}

// TestCatalogModel writes chunks of any numbers and compares with a set.
func TestCatalogModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := mem.New(0)
		c := openCatalog(t, "", m, media.CatalogOptions{DirectoryBytes: 1})
		known := make(map[chunkfmt.Seq]bool)
		seq := rapid.Custom(func(rt *rapid.T) chunkfmt.Seq {
			return chunkfmt.MakeSeq(rapid.Uint32Range(1, 2).Draw(rt, "ordinal"), rapid.Uint64Range(1, 300).Draw(rt, "number"))
		})
		chunks := rapid.IntRange(1, 6).Draw(rt, "chunks")
		for n := range chunks {
			list := rapid.SliceOfN(seq, 0, 60).Draw(rt, "numbers")
			id := chunkfmt.MakeChunkID(1, uint32(n+1), rapid.Bool().Draw(rt, "mirror"))
			if rapid.Bool().Draw(rt, "told") {
				w := newWriter(t, m, id)
				if err := c.AddChunk(w.header()); err != nil {
					rt.Fatal(err)
				}
				c.Extend(id, w.write(list...))
				if rapid.Bool().Draw(rt, "sealed") {
					if err := c.SealChunk(id, w.finish()); err != nil {
						rt.Fatal(err)
					}
				}
			} else {
				writeChunk(t, m, id, list...)
			}
			for _, s := range list {
				known[s] = true
			}
		}
		refresh(t, c)
		for ordinal := range uint32(3) {
			for n := range uint64(302) {
				s := chunkfmt.MakeSeq(ordinal+1, n)
				at, err := c.Lookup(s)
				switch {
				case known[s] && err == nil:
					if err := checkPlace(t.Context(), m, s, at); err != nil {
						rt.Fatal(err)
					}
				case known[s] || !errors.Is(err, media.ErrNoTag):
					rt.Fatalf("look up %v: %+v, %v; is there: %v", s, at, err, known[s])
				}
			}
		}
	})
}

// TestCatalogReadsOnce counts the reads of the medium in the steady state.
func TestCatalogReadsOnce(t *testing.T) {
	reads := 0
	m := faulty.Wrap(mem.New(0), func(_ context.Context, op faulty.Op, _ string) error {
		if op == faulty.Read {
			reads++
		}
		return nil
	})
	writeChunk(t, m, chunkfmt.MakeChunkID(1, 1, false), seqs(1, 1, 500)...)
	c := openCatalog(t, "", m, media.CatalogOptions{})
	refresh(t, c)
	lookAll := func() {
		for _, s := range seqs(1, 1, 500) {
			if _, err := c.Lookup(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	lookAll()
	before := reads
	lookAll()
	if reads != before || before > 8 {
		t.Errorf("%d reads for the first 500 lookups, %d for the next; want a few, 0", before, reads-before)
	}
}

func TestCatalogOfUnreadableChunk(t *testing.T) {
	m := faulty.Wrap(mem.New(0), nil)
	bad, good := chunkfmt.MakeChunkID(1, 1, false), chunkfmt.MakeChunkID(1, 2, false)
	writeChunk(t, m, bad, seqs(1, 1, 9)...)
	writeChunk(t, m, good, seqs(1, 10, 19)...)
	m.SetRule(faulty.Named(media.ChunkName(volume, bad), faulty.Fail(syscall.EIO, faulty.Read)))
	c := openCatalog(t, "", m, media.CatalogOptions{})
	refresh(t, c)
	wantFound(t, c, m, seqs(1, 10, 19)...)
	wantMissing(t, c, seqs(1, 1, 9)...)
	m.SetRule(nil)
	refresh(t, c)
	wantFound(t, c, m, seqs(1, 1, 19)...)
	// Its bytes go bad when the catalog knows it and has forgotten its directory.
	c = openCatalog(t, "", m, media.CatalogOptions{DirectoryBytes: 1})
	refresh(t, c)
	wantFound(t, c, m, seqs(1, 10, 10)...)
	m.SetRule(faulty.Named(media.ChunkName(volume, bad), faulty.Fail(syscall.EIO, faulty.Read)))
	if _, err := c.Lookup(chunkfmt.MakeSeq(1, 1)); !errors.Is(err, syscall.EIO) {
		t.Errorf("lookup in an unreadable chunk: %v, want EIO", err)
	}
}

// TestCatalogMovedMeanwhile puts the tags of a chunk into its next generation between a lookup's choice of the chunk and
// its read.
func TestCatalogMovedMeanwhile(t *testing.T) {
	m := faulty.Wrap(mem.New(0), nil)
	old, other := chunkfmt.MakeChunkID(1, 1, false), chunkfmt.MakeChunkID(1, 2, false)
	next := old.Of(1)
	writeChunk(t, m, old, seqs(1, 1, 9)...)
	writeChunk(t, m, other, seqs(1, 10, 19)...)
	c := openCatalog(t, "", m, media.CatalogOptions{DirectoryBytes: 1})
	refresh(t, c)
	wantFound(t, c, m, seqs(1, 10, 10)...) // and its directory is all that is kept
	moved := false
	m.SetRule(func(_ context.Context, op faulty.Op, name string) error {
		if moved || op != faulty.Read || name != media.ChunkName(volume, old) {
			return nil
		}
		moved = true
		w := newWriter(t, m, next)
		if err := c.AddChunk(w.header()); err != nil {
			return err
		}
		c.Extend(next, w.write(seqs(1, 1, 9)...))
		if err := c.SealChunk(next, w.finish()); err != nil {
			return err
		}
		c.RemoveChunk(old)
		return m.Remove(t.Context(), name)
	})
	at, err := c.Lookup(chunkfmt.MakeSeq(1, 3))
	if err != nil || at.Chunk != next || !moved {
		t.Errorf("found at %+v, %v; want chunk %v", at, err, next)
	}
	// Of one that goes behind the catalog's back nothing more is to be found.
	m.SetRule(nil)
	wantFound(t, c, m, seqs(1, 10, 10)...)
	if err := m.Remove(t.Context(), media.ChunkName(volume, next)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Lookup(chunkfmt.MakeSeq(1, 3)); !errors.Is(err, media.ErrNoTag) {
		t.Errorf("lookup in a chunk that is gone: %v", err)
	}
}

func TestCatalogRefreshCancelled(t *testing.T) {
	m := mem.New(0)
	writeChunk(t, m, chunkfmt.MakeChunkID(1, 1, false), seqs(1, 1, 9)...)
	c := openCatalog(t, "", m, media.CatalogOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Refresh(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("refresh: %v, want Canceled", err)
	}
}

// TestCatalogConcurrent looks up while chunks come, grow and are refreshed.
func TestCatalogConcurrent(t *testing.T) {
	m := mem.New(0)
	c := openCatalog(t, filepath.Join(t.TempDir(), "catalog"), m, media.CatalogOptions{DirectoryBytes: 5000})
	done := make(chan struct{})
	told := make(chan chunkfmt.Seq, 10_000)
	var g errgroup.Group
	g.Go(func() error {
		defer close(done)
		defer close(told)
		for n := range uint32(20) {
			id := chunkfmt.MakeChunkID(1, n+1, false)
			w := newWriter(t, m, id)
			if err := c.AddChunk(w.header()); err != nil {
				return err
			}
			for i := range uint64(20) {
				tags := w.write(seqs(1, uint64(n)*100+i*5+1, uint64(n)*100+i*5+5)...)
				c.Extend(id, tags)
				told <- tags[0].Seq
			}
			if err := c.SealChunk(id, w.finish()); err != nil {
				return err
			}
		}
		return nil
	})
	for range 3 {
		g.Go(func() error {
			for seq := range told {
				at, err := c.Lookup(seq)
				if err == nil {
					err = checkPlace(t.Context(), m, seq, at)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		for {
			select {
			case <-done:
				return nil
			default:
			}
			if err := c.Refresh(t.Context()); err != nil {
				return err
			}
		}
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantFound(t, c, m, seqs(1, 1, 2000)...)
}

func TestCatalogRebuild(t *testing.T) {
	m := mem.New(0)
	c := openCatalog(t, filepath.Join(t.TempDir(), "catalog"), m, media.CatalogOptions{})
	writeChunk(t, m, chunkfmt.MakeChunkID(1, 1, false), seqs(1, 1, 9)...)
	refresh(t, c)
	w := newWriter(t, m, chunkfmt.MakeChunkID(1, 2, false))
	if err := c.AddChunk(w.header()); err != nil {
		t.Fatal(err)
	}
	c.Extend(w.id, w.write(seqs(1, 10, 12)...))
	before := c.Chunks()
	if err := c.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := c.Chunks(); !slices.Equal(after, before) {
		t.Errorf("rebuilt to %+v, want %+v", after, before)
	}
	wantFound(t, c, m, seqs(1, 1, 12)...)
}
