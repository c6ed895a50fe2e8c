package cleaner_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/cleaner"
	"coffer/media/scrub"
)

var volume = chunkfmt.VolumeID{7}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// world is a volume on a medium, and what was put there.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	tags    map[chunkfmt.Seq]stored // of what counts
	data    []chunkfmt.Seq          // the groups among them
	removed []chunkfmt.Removed      // ascending
}

// stored is what must not change of a tag, wherever it is moved.
type stored struct {
	tag   chunkfmt.Tag // without its place
	bytes []byte
}

// session writes one session of so many chunks. The last one may be left torn, and so may others be.
func (w *world) session(m media.Medium, ordinal uint32, prev chunkfmt.Seq, chunks int, torn func(n int) bool) (last chunkfmt.Seq) {
	w.t.Helper()
	ctx := w.t.Context()
	id := chunkfmt.SessionID{byte(ordinal)}
	next := uint64(1)
	for n := 1; n <= chunks; n++ {
		h := chunkfmt.ChunkHeader{
			Layout: chunkfmt.LayoutFramed, Volume: volume, Session: id,
			Chunk: chunkfmt.MakeChunkID(ordinal, uint32(n), false), First: chunkfmt.MakeSeq(ordinal, next),
		}
		b := h.Append(nil)
		var tags []chunkfmt.Tag
		for i := range 5 + w.rng.IntN(40) {
			kind := chunkfmt.KindData
			var options []byte
			switch {
			case n == 1 && i == 0:
				kind = chunkfmt.KindSessionHeader
				p := chunkfmt.Predecessor{Ordinal: prev.Ordinal(), Last: prev}
				options = chunkfmt.AppendOptions(nil, p.Options())
			case w.rng.IntN(9) == 0:
				kind = chunkfmt.KindBatch
			}
			body := make([]byte, 16+w.rng.IntN(3000))
			for k := range body {
				body[k] = byte(w.rng.Uint32())
			}
			t := chunkfmt.Tag{
				Version: chunkfmt.TagVersion, Kind: kind, Seq: chunkfmt.MakeSeq(ordinal, next), Offset: uint64(len(b)),
				Watermark: chunkfmt.MakeSeq(ordinal, next-1), OptionsLen: uint32(len(options)), SealedLen: uint32(len(body)),
			}
			if len(options) > 0 {
				t.Flags = chunkfmt.FlagOptions
			}
			all := append(options, body...)
			t.CRC = chunkfmt.Checksum(all)
			var head [chunkfmt.TagSize]byte
			t.Put(head[:])
			b = append(append(b, head[:]...), all...)
			tags = append(tags, t)
			w.tags[t.Seq] = stored{unplaced(t), all}
			if kind == chunkfmt.KindData {
				w.data = append(w.data, t.Seq)
			}
			last, next = t.Seq, next+1
		}
		if !torn(n) {
			b = chunkfmt.AppendFooter(b, tags)
		} else if n == chunks {
			b = append(b, b[:w.rng.IntN(90)]...) // a tag that was cut off
		}
		a, err := m.Create(ctx, media.ChunkName(volume, h.Chunk))
		if err == nil {
			_, err = a.Append(ctx, b)
		}
		if err == nil {
			err = errors.Join(a.Sync(ctx), a.Close())
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return last
}

// unplaced is a tag without what moving it changes.
func unplaced(t chunkfmt.Tag) chunkfmt.Tag {
	t.Offset = 0
	return t
}

// newWorld makes a volume of three sessions; the last is as one that is being written.
func newWorld(t *testing.T, rng *rand.Rand, m media.Medium) *world {
	t.Helper()
	w := &world{t: t, rng: rng, tags: map[chunkfmt.Seq]stored{}}
	var last chunkfmt.Seq
	for ordinal := range uint32(3) {
		chunks := 1 + rng.IntN(4)
		last = w.session(m, ordinal+1, last, chunks, func(n int) bool {
			return n == chunks && (ordinal == 2 || rng.IntN(2) == 0) || rng.IntN(6) == 0
		})
	}
	return w
}

// remove removes each group of a chunk with a chance that differs from stretch to stretch.
func (w *world) remove() {
	var chance int
	for i, seq := range w.data {
		if i%30 == 0 {
			chance = w.rng.IntN(11)
		}
		if seq.Ordinal() == 3 && i > len(w.data)-20 || w.isRemoved(seq) || w.rng.IntN(10) >= chance {
			continue
		}
		w.removed = append(w.removed, chunkfmt.Removed{First: seq, Last: seq})
		w.sort()
	}
}

func (w *world) sort() {
	slices.SortFunc(w.removed, func(a, b chunkfmt.Removed) int { return cmp.Compare(a.First, b.First) })
}

// read reads a tag as readers do: whose place is gone is somewhere else.
func (w *world) read(m media.Medium, c *media.Catalog, seq chunkfmt.Seq) error {
	var tried []chunkfmt.Location
	for {
		places, err := c.Places(seq)
		if err != nil {
			return err
		}
		fresh := false
		for _, at := range places {
			if slices.Contains(tried, at) {
				continue
			}
			tried, fresh = append(tried, at), true
			b := make([]byte, chunkfmt.TagSize+int(at.Length))
			_, err := m.ReadAt(w.t.Context(), media.ChunkName(volume, at.Chunk), b, int64(at.Offset))
			if err == nil && bytes.Equal(b[chunkfmt.TagSize:], w.tags[seq].bytes) {
				return nil
			}
		}
		if !fresh {
			return fmt.Errorf("%v is at none of %v", seq, tried)
		}
	}
}

func (w *world) isRemoved(seq chunkfmt.Seq) bool {
	_, found := slices.BinarySearchFunc(w.removed, seq, func(r chunkfmt.Removed, seq chunkfmt.Seq) int {
		switch {
		case r.First < seq:
			return -1
		case r.First > seq:
			return 1
		}
		return 0
	})
	return found
}

// Removed implements cleaner.Removed.
func (w *world) Removed(first, last chunkfmt.Seq, f func(chunkfmt.Removed) bool) error {
	for _, r := range w.removed {
		if r.Last >= first && r.First <= last && !f(r) {
			break
		}
	}
	return nil
}

func (w *world) catalog(m media.Medium) *media.Catalog {
	w.t.Helper()
	c, err := media.OpenCatalog(w.t.Context(), "", m, volume, media.CatalogOptions{Log: quiet})
	if err == nil {
		err = c.Refresh(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) cleaner(m media.Medium, c *media.Catalog) *cleaner.Cleaner {
	return cleaner.New(cleaner.Config{Medium: m, Volume: volume, Catalog: c, Removed: w, Log: quiet})
}

// size is what the chunks take.
func (w *world) size(m media.Medium) (n int64) {
	w.t.Helper()
	list, err := m.List(w.t.Context(), media.VolumePrefix(volume))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, info := range list {
		n += info.Size
	}
	return n
}

// check wants all that was not removed at its places as it was, and says how many groups that were removed are still
// there. In a generation that was not finished anything may stand, after a power cut; then there is another place.
func (w *world) check(m media.Medium, c *media.Catalog) (dead int) {
	w.t.Helper()
	unfinished := map[chunkfmt.ChunkID]bool{}
	for _, k := range c.Chunks() {
		unfinished[k.ID] = !k.Complete && k.ID.Generation() > 0
	}
	for seq, want := range w.tags {
		places, err := c.Places(seq)
		if errors.Is(err, media.ErrNoTag) && w.isRemoved(seq) {
			continue
		}
		if err != nil {
			w.t.Fatalf("%v: %v", seq, err)
		}
		if w.isRemoved(seq) {
			dead++
		}
		whole := 0
		for _, at := range places {
			b := make([]byte, chunkfmt.TagSize+int(at.Length))
			if _, err := m.ReadAt(w.t.Context(), media.ChunkName(volume, at.Chunk), b, int64(at.Offset)); err != nil {
				w.t.Fatalf("%v at %+v: %v", seq, at, err)
			}
			tag, err := chunkfmt.ParseTag(b)
			if err == nil && unplaced(tag) == want.tag && bytes.Equal(b[chunkfmt.TagSize:], want.bytes) {
				whole++
			} else if !unfinished[at.Chunk] {
				w.t.Fatalf("%v at %+v is %+v, %v; want %+v", seq, at, tag, err, want.tag)
			}
		}
		if whole == 0 {
			w.t.Fatalf("%v is at none of %+v", seq, places)
		}
	}
	return dead
}

// numbers wants every number of each session but the last in a tag or a gone tag, in order, as a
// reader of the log goes through them.
func (w *world) numbers(m media.Medium, c *media.Catalog) {
	w.t.Helper()
	next := map[uint32]chunkfmt.Seq{}
	for _, k := range c.Chunks() {
		o := k.ID.Ordinal()
		sc := chunkfmt.NewScanner(media.Reader(w.t.Context(), m, k.Name), k.Size)
		for {
			e, err := sc.Next()
			if err != nil {
				break
			}
			if next[o] == 0 {
				next[o] = chunkfmt.MakeSeq(o, 1)
			}
			if e.Tag.Seq > next[o] {
				w.t.Fatalf("%v of %v where %v is to come", e.Tag.Seq, k.ID, next[o])
			}
			next[o] = max(next[o], e.Tag.Last()+1)
		}
	}
}

// scrub wants no damage.
func (w *world) scrub(m media.Medium) (all []string) {
	w.t.Helper()
	v := volume
	_, err := scrub.Run(w.t.Context(), m, scrub.Options{Volume: &v}, func(f scrub.Finding) { all = append(all, f.String()) })
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) clean(ctx context.Context, m media.Medium, c *media.Catalog) cleaner.Result {
	w.t.Helper()
	r, err := w.cleaner(m, c).Run(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func seeded(t *testing.T, seed uint64) *rand.Rand {
	t.Helper()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func name(i int) string { return fmt.Sprint("world-", i) }
