package scrub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/mem"
)

var (
	storeID  = chunkfmt.StoreID{1}
	volumeID = chunkfmt.VolumeID{2}
)

// bench builds stores whose sealed bytes are noise: nobody without a key can tell.
type bench struct {
	t   *testing.T
	m   *mem.Medium
	rng *rand.ChaCha8
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, m: mem.New(0), rng: rand.NewChaCha8([32]byte{7})}
	if _, err := media.CreateStore(t.Context(), b.m); err != nil {
		t.Fatal(err)
	}
	key := b.noise(300)
	b.put(media.KeyName, key)
	b.put(media.KeyCopyName, key)
	return b
}

func (b *bench) noise(n int) []byte {
	p := make([]byte, n)
	b.rng.Read(p)
	return p
}

func (b *bench) put(name string, data []byte) {
	b.t.Helper()
	if err := b.m.Put(b.t.Context(), name, data); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) get(name string) []byte {
	b.t.Helper()
	data, err := media.ReadAll(b.t.Context(), b.m, name, 8<<20)
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// chunk is one being built.
type chunk struct {
	*bench
	id   chunkfmt.ChunkID
	data []byte
	tags []chunkfmt.Tag
}

func (b *bench) chunk(ordinal, n uint32, mirror bool, first uint64) *chunk {
	c := &chunk{bench: b, id: chunkfmt.MakeChunkID(ordinal, n, mirror)}
	h := chunkfmt.ChunkHeader{Layout: chunkfmt.LayoutFramed, Store: storeID, Volume: volumeID, Chunk: c.id,
		First: chunkfmt.MakeSeq(ordinal, first)}
	c.data = h.Append(nil)
	return c
}

func (c *chunk) tag(kind chunkfmt.Kind, n, acked uint64, size int, options ...chunkfmt.Option) {
	o := chunkfmt.AppendOptions(nil, options)
	sealed := c.noise(size + chunkfmt.SealOverhead)
	t := chunkfmt.Tag{
		Version: chunkfmt.TagVersion, Kind: kind, Seq: chunkfmt.MakeSeq(c.id.Ordinal(), n),
		Watermark: chunkfmt.MakeSeq(c.id.Ordinal(), acked), Offset: uint64(len(c.data)),
		OptionsLen: uint32(len(o)), SealedLen: uint32(len(sealed)), CRC: chunkfmt.Checksum(o, sealed),
	}
	if len(o) > 0 {
		t.Flags |= chunkfmt.FlagOptions
	}
	if c.id.Mirror() {
		t.Flags |= chunkfmt.FlagCopy
	}
	var b [chunkfmt.TagSize]byte
	t.Put(b[:])
	c.data = append(append(append(c.data, b[:]...), o...), sealed...)
	c.tags = append(c.tags, t)
}

func (c *chunk) name() string { return media.ChunkName(volumeID, c.id) }

func (c *chunk) store()  { c.t.Helper(); c.put(c.name(), c.data) }
func (c *chunk) finish() { c.t.Helper(); c.put(c.name(), chunkfmt.AppendFooter(c.data, c.tags)) }

// session header options.
func predecessor(ordinal uint32, last uint64) []chunkfmt.Option {
	p := chunkfmt.Predecessor{Ordinal: ordinal}
	if ordinal != 0 {
		p.Last = chunkfmt.MakeSeq(ordinal, last)
	}
	return p.Options()
}

// whole is a store of two sessions, the first of two chunks, with mirrors and a catalog.
func whole(t *testing.T) *bench {
	b := newBench(t)
	c, m := b.chunk(1, 1, false, 1), b.chunk(1, 1, true, 1)
	c.tag(chunkfmt.KindSessionHeader, 1, 0, 50, predecessor(0, 0)...)
	m.tag(chunkfmt.KindSessionHeader, 1, 0, 50, predecessor(0, 0)...)
	c.tag(chunkfmt.KindData, 2, 1, 700)
	c.tag(chunkfmt.KindData, 3, 1, 20)
	c.tag(chunkfmt.KindBatch, 4, 1, 90)
	m.tag(chunkfmt.KindBatch, 4, 1, 90)
	c.finish()
	c = b.chunk(1, 2, false, 5)
	c.tag(chunkfmt.KindData, 5, 4, 300)
	c.tag(chunkfmt.KindBatch, 6, 4, 10)
	m.tag(chunkfmt.KindBatch, 6, 4, 10)
	c.tag(chunkfmt.KindSessionFooter, 7, 6, 30) // the next session goes on from before it
	m.tag(chunkfmt.KindSessionFooter, 7, 6, 30)
	c.finish()
	m.finish()
	c = b.chunk(2, 1, false, 1)
	c.tag(chunkfmt.KindSessionHeader, 1, 0, 50, predecessor(1, 6)...)
	c.tag(chunkfmt.KindBatch, 2, 1, 5)
	c.finish()
	path := t.TempDir() + "/catalog"
	cat, err := media.OpenCatalog(t.Context(), path, b.m, volumeID, media.CatalogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(cat.Refresh(t.Context()), cat.Close()); err != nil {
		t.Fatal(err)
	}
	b.put(media.CatalogName(volumeID), readFile(t, path))
	return b
}

func scrubAll(t *testing.T, m media.Medium, o Options) ([]Finding, Result) {
	t.Helper()
	var all []Finding
	r, err := Run(t.Context(), m, o, func(f Finding) { all = append(all, f) })
	if err != nil {
		t.Fatal(err)
	}
	if r.Findings != len(all) {
		t.Errorf("%d findings counted, %d reported", r.Findings, len(all))
	}
	return all, r
}

func wantNone(t *testing.T, m media.Medium) {
	t.Helper()
	all, _ := scrubAll(t, m, Options{})
	for _, f := range all {
		t.Errorf("found in a whole store: %v", &f)
	}
}

func covered(all []Finding, name string, off int64) bool {
	return slices.ContainsFunc(all, func(f Finding) bool {
		return f.Object == name && f.Offset <= off && off < f.Offset+f.Length
	})
}

// TestEveryByte flips one bit of every byte of every object in turn, or of one in 21, which is
// quicker: each is found, at its place.
func TestEveryByte(t *testing.T) {
	step := 21
	if os.Getenv("COFFER_EVERY_BYTE") == "1" {
		step = 1
	}
	phase := rand.IntN(step)
	t.Logf("every byte that is %d modulo %d", phase, step)
	b := whole(t)
	wantNone(t, b.m)
	list, err := b.m.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	bytes := 0
	for _, info := range list {
		data := b.get(info.Name)
		for i := phase; i < len(data); i += step {
			bytes++
			bit := byte(1) << rng.IntN(8)
			data[i] ^= bit
			b.put(info.Name, data)
			all, _ := scrubAll(t, b.m, Options{})
			if !covered(all, info.Name, int64(i)) {
				t.Errorf("bit %08b of byte %d of %s was flipped; found: %v", bit, i, info.Name, all)
			}
			// A difference of key file and copy is told of both; nothing else may be dragged in.
			for _, f := range all {
				if f.Object != info.Name && !(isPair(info.Name) && isPair(f.Object)) {
					t.Errorf("byte %d of %s was flipped; found elsewhere: %v", i, info.Name, &f)
				}
			}
			data[i] ^= bit
		}
		b.put(info.Name, data)
	}
	wantNone(t, b.m)
	t.Logf("%d bytes of %d objects", bytes, len(list))
}

// TestNumbers wants the numbers of damaged tags by name, from the directory or by what is around.
func TestNumbers(t *testing.T) {
	for _, footer := range []bool{true, false} {
		b := whole(t)
		name := media.ChunkName(volumeID, chunkfmt.MakeChunkID(1, 1, false))
		data := b.get(name)
		second := chunkfmt.ChunkHeaderSize + chunkfmt.TagSize + optionsLen(predecessor(0, 0)) + 50 + chunkfmt.SealOverhead
		data[second+20] ^= 1
		if !footer {
			data[len(data)-5] ^= 1
		}
		b.put(name, data)
		all, _ := scrubAll(t, b.m, Options{})
		want := chunkfmt.MakeSeq(1, 2)
		i := slices.IndexFunc(all, func(f Finding) bool {
			return len(f.Seqs) == 1 && f.Seqs[0] == Range{want, want}
		})
		if i < 0 {
			t.Errorf("footer %v: nothing names %v: %v", footer, want, all)
		}
	}
}

func optionsLen(o []chunkfmt.Option) int { return len(chunkfmt.AppendOptions(nil, o)) }

// crashed is a session that ended in the middle, with watermark 3 on its last tag, number 5.
func crashed(t *testing.T) (*bench, *chunk) {
	b := newBench(t)
	c := b.chunk(1, 1, false, 1)
	c.tag(chunkfmt.KindSessionHeader, 1, 0, 50, predecessor(0, 0)...)
	c.tag(chunkfmt.KindData, 2, 1, 100)
	c.tag(chunkfmt.KindBatch, 3, 1, 100)
	c.tag(chunkfmt.KindData, 4, 3, 100)
	c.tag(chunkfmt.KindBatch, 5, 3, 100)
	return b, c
}

// TestTorn cuts a session that crashed at every length: what was not acknowledged may be missing, what was
// may not.
func TestTorn(t *testing.T) {
	_, c := crashed(t)
	acked := int(c.tags[3].Offset) // the end of number 3
	proof := acked + chunkfmt.TagSize + c.tags[3].StoredLen()
	for n := chunkfmt.ChunkHeaderSize; n <= len(c.data); n++ {
		b := newBench(t)
		b.put(c.name(), c.data[:n])
		wantNone(t, b.m) // nothing that is left says that more was acknowledged
		// The next session says how far this one counts.
		d := b.chunk(2, 1, false, 1)
		d.tag(chunkfmt.KindSessionHeader, 1, 0, 50, predecessor(1, 3)...)
		d.finish()
		all, _ := scrubAll(t, b.m, Options{})
		if damaged := n < acked; damaged != (len(all) > 0) {
			t.Fatalf("cut at %d of %d, acknowledged up to %d: %v", n, len(c.data), acked, all)
		} else if damaged && (all[0].What != Missing || all[0].Seqs[0].Last != chunkfmt.MakeSeq(1, 3)) {
			t.Fatalf("cut at %d: %v", n, &all[0])
		}
	}
	// Torn in the middle: what a later tag's watermark covers is damage, what it does not is a crash.
	for off := chunkfmt.ChunkHeaderSize; off < len(c.data); off += 3 {
		b := newBench(t)
		data := slices.Clone(c.data)
		data[off] ^= 0x10
		b.put(c.name(), data)
		all, _ := scrubAll(t, b.m, Options{})
		wantFound := off < acked
		if off >= acked && off < proof {
			// The tag that proves it may itself be hit; the last one has the same watermark.
			wantFound = false
		}
		if wantFound != (len(all) > 0) {
			t.Fatalf("byte %d, acknowledged up to %d: %v", off, acked, all)
		}
	}
}

// TestVoid: what a crashed session wrote beyond what the next one goes on from is damaged by nobody.
func TestVoid(t *testing.T) {
	b, c := crashed(t)
	c.data = append(c.data, c.noise(77)...)
	c.data[c.tags[4].Offset+chunkfmt.TagSize] ^= 1
	c.store()
	d := b.chunk(2, 1, false, 1)
	d.tag(chunkfmt.KindSessionHeader, 1, 0, 50, predecessor(1, 3)...)
	d.finish()
	wantNone(t, b.m)
}

// TestWentOn: a session whose server lost its power went on in another chunk from what was acknowledged. What it left torn
// in this one is nobody's damage; what is in neither is.
func TestWentOn(t *testing.T) {
	for first := uint64(4); first <= 7; first++ {
		_, c := crashed(t)
		whole := append(c.data, c.noise(77)...)
		end := len(c.data)
		for off := int(c.tags[3].Offset); off < len(whole); off += 3 {
			b := newBench(t)
			data := slices.Clone(whole)
			data[off] ^= 0x10
			b.put(c.name(), data)
			d := b.chunk(1, 2, false, first)
			for n := first; n <= 8; n++ {
				d.tag(chunkfmt.KindData, n, n-1, 10)
			}
			d.store()
			hit := uint64(6)
			if off < int(c.tags[4].Offset) {
				hit = 4
			} else if off < end {
				hit = 5
			}
			all, _ := scrubAll(t, b.m, Options{})
			if want := hit < first || first == 7; want != (len(all) > 0) {
				t.Fatalf("byte %d, of number %d, went on at %d; found: %v", off, hit, first, all)
			}
		}
	}
}

// TestSentAgainInPart: a session went on in another chunk from what was acknowledged, and was killed before all that it had
// sent before was there again. The log has the rest from the first chunk, and so does the session that goes on behind it:
// nothing is missing, unless it is damaged there, or is in neither.
func TestSentAgainInPart(t *testing.T) {
	_, c := crashed(t) // 1 to 5, up to 3 acknowledged
	for _, n := range []uint64{4, 5, 6} {
		for _, flip := range []bool{false, true} {
			b := newBench(t)
			data := slices.Clone(c.data)
			if flip {
				data[c.tags[4].Offset+chunkfmt.TagSize] ^= 1
			}
			b.put(c.name(), data)
			again := b.chunk(1, 2, false, 4)
			again.tag(chunkfmt.KindData, 4, 3, 10)
			again.store()
			next := b.chunk(2, 1, false, 1)
			next.tag(chunkfmt.KindSessionHeader, 1, 0, 50, predecessor(1, n)...)
			next.finish()
			all, _ := scrubAll(t, b.m, Options{})
			if want := n == 6 || n == 5 && flip; want != (len(all) > 0) {
				t.Errorf("went on from %d, damaged: %v; found: %v", n, flip, all)
			}
		}
	}
}

// TestWhileWritten: a chunk that grows and is finished after it was listed is whole.
func TestWhileWritten(t *testing.T) {
	b, c := crashed(t)
	c.put(c.name(), c.data[:c.tags[4].Offset+30])
	m := &growing{Medium: b.m, grow: func() { c.finish() }}
	wantNone(t, m)
	if m.grow != nil {
		t.Fatal("nothing was written meanwhile")
	}
}

// growing lets the store grow after its first listing.
type growing struct {
	media.Medium
	grow func()
}

func (g *growing) List(ctx context.Context, prefix string) ([]media.Info, error) {
	list, err := g.Medium.List(ctx, prefix)
	if g.grow != nil && prefix == "" {
		g.grow()
		g.grow = nil
	}
	return list, err
}

// TestResume interrupts a scrub after each note of progress and goes on: together they find what one finds.
func TestResume(t *testing.T) {
	b := whole(t)
	list, err := b.m.List(t.Context(), media.VolumePrefix(volumeID))
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range list[:3] {
		data := b.get(info.Name)
		data[300] ^= 4
		b.put(info.Name, data)
	}
	want, _ := scrubAll(t, b.m, Options{})
	var got []Finding
	var at Position
	for rounds := 0; ; rounds++ {
		if rounds > 100 {
			t.Fatal("it does not come to an end")
		}
		again, err := ParsePosition(at.String())
		if at != (Position{}) && (err != nil || again != at) {
			t.Fatalf("%q was read as %v: %v", at, again, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r, err := Run(ctx, b.m, Options{From: at, Progress: func(Position, int64, int64) { cancel() }},
			func(f Finding) { got = append(got, f) })
		cancel()
		at = r.At
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || len(want) == 0 {
		t.Errorf("in parts: %v\nat once: %v", got, want)
	}
}

// TestRate wants the time that was waited to be that of the rate.
func TestRate(t *testing.T) {
	b := whole(t)
	var waited time.Duration
	_, r := scrubAll(t, b.m, Options{Rate: 1000, Wait: func(_ context.Context, d time.Duration) error {
		waited += d
		return nil
	}})
	if want := time.Duration(r.Bytes) * time.Millisecond; (waited-want).Abs() > time.Millisecond || r.Bytes == 0 {
		t.Errorf("%d bytes at 1000 a second: waited %v", r.Bytes, waited)
	}
}

// TestUnreadable: what the medium gives an error for is one finding more, and the rest is checked.
func TestUnreadable(t *testing.T) {
	b := newBench(t)
	c := b.chunk(1, 1, false, 1)
	c.tag(chunkfmt.KindSessionHeader, 1, 0, 50, predecessor(0, 0)...)
	for n := range uint64(40) {
		c.tag(chunkfmt.KindData, 2+n, 1, 1000)
	}
	c.finish()
	m := &unreadableAt{Medium: b.m, name: c.name(), from: 8192, to: 12288}
	all, _ := scrubAll(t, m, Options{})
	if !covered(all, c.name(), 10000) || !slices.ContainsFunc(all, func(f Finding) bool {
		return f.What == Unreadable && f.Offset == 8192 && f.Length == 4096
	}) {
		t.Errorf("found: %v", all)
	}
	for _, f := range all {
		if f.Offset > 14000 {
			t.Errorf("found where the medium can be read: %v", &f)
		}
	}
}

type unreadableAt struct {
	media.Medium
	name     string
	from, to int64
}

func (u *unreadableAt) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	if name == u.name && off < u.to && off+int64(len(p)) > u.from {
		return 0, errors.New("input/output error")
	}
	return u.Medium.ReadAt(ctx, name, p, off)
}

// TestMissingCopies: what should be there twice and is there once is a finding.
func TestMissingCopies(t *testing.T) {
	for _, name := range []string{media.StoreName, media.StoreCopyName, media.KeyName, media.KeyCopyName} {
		b := whole(t)
		if err := b.m.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		all, _ := scrubAll(t, b.m, Options{})
		if len(all) != 1 || all[0].Object != name {
			t.Errorf("%s is missing: %v", name, all)
		}
	}
}

// TestForeign names what is not the store's and does not call it damage.
func TestForeign(t *testing.T) {
	b := whole(t)
	b.put("photos/cat.jpg", []byte("cat"))
	all, r := scrubAll(t, b.m, Options{})
	if len(all) != 0 || !slices.Equal(r.Foreign, []string{"photos/cat.jpg"}) {
		t.Errorf("findings %v, foreign %q", all, r.Foreign)
	}
}

// TestMediumFails: a medium that fails for good is no list of damage.
func TestMediumFails(t *testing.T) {
	b := whole(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, b.m, Options{}, func(f Finding) { t.Errorf("found: %v", &f) }); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

func TestSentences(t *testing.T) {
	b := whole(t)
	name := media.ChunkName(volumeID, chunkfmt.MakeChunkID(1, 1, false))
	data := b.get(name)
	data[len(data)-1] ^= 1
	b.put(name, data)
	all, _ := scrubAll(t, b.m, Options{})
	if len(all) != 1 || !strings.Contains(all[0].String(), "chunk footer") || !strings.HasPrefix(all[0].String(), name+": bytes ") {
		t.Errorf("found: %v", all)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
