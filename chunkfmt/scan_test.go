package chunkfmt

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// scanned is everything that a scan said.
type scanned struct {
	entries []Entry
	damage  []*DamageError
	err     error // other than io.EOF
	valid   int64
}

// scan reads b to the end.
func scan(b []byte) scanned {
	s := NewScanner(bytes.NewReader(b), int64(len(b)))
	var got scanned
	for {
		e, err := s.Next()
		var damage *DamageError
		switch {
		case err == nil:
			got.entries = append(got.entries, e)
		case errors.As(err, &damage):
			got.damage = append(got.damage, damage)
		default:
			if err != io.EOF {
				got.err = err
			}
			got.valid = s.Valid()
			return got
		}
	}
}

func (s *scanned) tags() []Tag {
	var tags []Tag
	for _, e := range s.entries {
		tags = append(tags, e.Tag)
	}
	return tags
}

func TestScannerReadsEveryLayout(t *testing.T) {
	for _, layout := range []Layout{LayoutFramed, LayoutTape, LayoutHeaders} {
		t.Run(layout.String(), func(t *testing.T) {
			b, want := stream(t, layout, 4, 1, 0, 5)
			got := scan(b)
			if got.err != nil || len(got.damage) != 0 || got.valid != int64(len(b)) {
				t.Fatalf("err %v, damage %v, valid to %d of %d", got.err, got.damage, got.valid, len(b))
			}
			if diff := cmp.Diff(want, got.tags()); diff != "" {
				t.Fatal(diff)
			}
			own := layout
			if layout == LayoutTape {
				own = LayoutTaped
			}
			chunks := []uint32{1, 1, 1, 1, 2, 4, 4, 4, 4, 4}
			s := NewScanner(bytes.NewReader(b), int64(len(b)))
			for i, e := range got.entries {
				if e.Chunk.Number() != chunks[i] {
					t.Errorf("entry %d in chunk %v, want %d", i, e.Chunk, chunks[i])
				}
				if err := s.CheckPayload(e); err != nil {
					t.Error(err)
				}
				if _, err := s.Next(); err != nil {
					t.Fatal(err)
				}
				h, err := s.Header()
				if err != nil || h != sampleHeader(chunks[i], own) {
					t.Errorf("header %+v, %v", h, err)
				}
			}
		})
	}
}

func TestScannerOfTornChunk(t *testing.T) {
	c := framed(t, 1, 6)
	for n := range len(c.bytes) {
		got := scan(c.bytes[:n])
		if got.err != nil || len(got.damage) != 0 {
			t.Fatalf("cut at %d: err %v, damage %v", n, got.err, got.damage)
		}
		whole, valid := 0, 0
		if n >= ChunkHeaderSize {
			valid = ChunkHeaderSize
		}
		for _, end := range c.ends {
			if end <= n {
				whole, valid = whole+1, end
			}
		}
		if len(got.entries) != whole || got.valid != int64(valid) {
			t.Fatalf("cut at %d: %d entries, valid to %d; want %d, %d", n, len(got.entries), got.valid, whole, valid)
		}
		if diff := cmp.Diff(c.tags[:whole], got.tags(), cmpEmpty); diff != "" {
			t.Fatalf("cut at %d: %s", n, diff)
		}
	}
}

// cmpEmpty takes nil and empty tags for equal.
var cmpEmpty = cmp.FilterValues(func(a, b []Tag) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore())

func TestScannerOfZeroFilledTail(t *testing.T) {
	c := framed(t, 1, 6)
	torn := append(bytes.Clone(c.bytes[:c.ends[3]+50]), make([]byte, 200<<10)...)
	got := scan(torn)
	if got.err != nil || len(got.damage) != 0 || len(got.entries) != 4 || got.valid != int64(c.ends[3]) {
		t.Fatalf("%d entries, valid to %d, err %v, damage %v", len(got.entries), got.valid, got.err, got.damage)
	}
}

func TestScannerResynchronises(t *testing.T) {
	for _, layout := range []Layout{LayoutFramed, LayoutTape, LayoutHeaders} {
		t.Run(layout.String(), func(t *testing.T) {
			b, want := stream(t, layout, 3, 4, 3)
			clean := scan(b)
			rapid.Check(t, func(rt *rapid.T) {
				from := rapid.IntRange(0, len(b)-1).Draw(rt, "from")
				to := rapid.IntRange(from+1, len(b)).Draw(rt, "to")
				damaged := bytes.Clone(b)
				for i := from; i < to; i++ {
					damaged[i] ^= 0xa5
				}
				got := scan(damaged)
				if got.err != nil {
					rt.Fatal(got.err)
				}
				for i, d := range got.damage[min(1, len(got.damage)):] {
					if d.From != got.damage[i].To { // a lost footer has an end of its own
						rt.Fatalf("damage %v", got.damage)
					}
				}
				checkSurvivors(rt, clean.entries, got, want, int64(from), int64(to))
			})
		})
	}
}

// checkSurvivors checks that exactly the entries whose tags the damage spared are there,
// but for those whose bytes swallowed nothing: a tag is found again behind any damage.
func checkSurvivors(rt *rapid.T, clean []Entry, got scanned, want []Tag, from, to int64) {
	found := map[int64]Tag{}
	for _, e := range got.entries {
		found[e.At] = e.Tag
	}
	spared := 0
	for i, e := range clean {
		hit := from < e.At+TagSize && to > e.At
		tag, ok := found[e.At]
		if hit == ok {
			rt.Fatalf("tag %d at %d, hit %v, found %v", i, e.At, hit, ok)
		}
		if ok {
			spared++
			if tag != want[i] {
				rt.Fatalf("tag %d: %+v, want %+v", i, tag, want[i])
			}
		}
	}
	if spared != len(found) {
		rt.Fatalf("%d tags found that nobody wrote", len(found)-spared)
	}
	for _, d := range got.damage {
		if !errors.Is(d, ErrDamaged) || d.From >= to || d.To <= from {
			rt.Fatalf("damage %v, want it to meet %d to %d", d, from, to)
		}
	}
}

func TestScannerOfLostHeaders(t *testing.T) {
	for _, layout := range []Layout{LayoutFramed, LayoutTape, LayoutHeaders} {
		b, want := stream(t, layout, 2, 3, 2)
		entries := scan(b).entries
		// The second chunk's header is everything between the last byte of the tags before
		// and its first tag, be it header, transfer or footer and header.
		before, first := entries[1], entries[2]
		for i := before.At + int64(TagSize+before.Tag.StoredLen()); i < first.At; i++ {
			b[i] ^= 0xff
		}
		s := NewScanner(bytes.NewReader(b), int64(len(b)))
		if _, err := s.Header(); err != nil {
			t.Fatal(err)
		}
		var got []Tag
		for range len(want) + 1 {
			e, err := s.Next()
			if err != nil {
				if !errors.Is(err, ErrDamaged) || len(got) != 2 {
					t.Fatalf("%v after %d tags: %v", layout, len(got), err)
				}
				continue
			}
			lost := len(got) >= 2 && len(got) < 5
			if _, err := s.Header(); (err != nil) != lost || (e.Chunk == 0) != lost {
				t.Errorf("%v: tag %d in %v, header %v", layout, len(got), e.Chunk, err)
			}
			got = append(got, e.Tag)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", layout, diff)
		}
		if _, err := s.Next(); err != io.EOF {
			t.Errorf("%v: %v at the end", layout, err)
		}
	}
}

func TestScannerReportsEveryFlipOutsidePayloads(t *testing.T) {
	c := framed(t, 1, 3)
	for bit := range 8 * len(c.bytes) {
		b := bytes.Clone(c.bytes)
		b[bit/8] ^= 1 << (bit % 8)
		got := scan(b)
		s := NewScanner(bytes.NewReader(b), int64(len(b)))
		noticed := len(got.damage) == 1 || errors.Is(got.err, ErrVersion) || got.valid < int64(len(b))
		for _, e := range got.entries {
			if err := s.CheckPayload(e); errors.Is(err, ErrDamaged) {
				noticed = true
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if !noticed {
			t.Fatalf("bit %d of byte %d flipped, and nobody noticed", bit%8, bit/8)
		}
	}
}

func TestScannerStopsAtUnknownVersion(t *testing.T) {
	c := framed(t, 1, 3)
	h := sampleHeader(1, LayoutFramed)
	h.Version = 9
	future := append(h.Append(nil), c.bytes[ChunkHeaderSize:]...)
	if got := scan(future); !errors.Is(got.err, ErrVersion) || len(got.entries) != 0 {
		t.Errorf("header of a later version: %v, %d entries", got.err, len(got.entries))
	}
	tag := c.tags[1]
	tag.Version = 9
	later := bytes.Clone(c.bytes)
	tag.Put(later[c.ends[0]:])
	if got := scan(later); !errors.Is(got.err, ErrVersion) || len(got.entries) != 1 {
		t.Errorf("tag of a later version: %v, %d entries", got.err, len(got.entries))
	}
}

// failing is a reader that cannot read from some place on.
type failing struct {
	b    []byte
	from int64
}

var errDisk = errors.New("disk on fire")

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, errDisk
	}
	return bytes.NewReader(f.b).ReadAt(p, off)
}

func TestScannerPassesReadErrorsOn(t *testing.T) {
	c := framed(t, 1, 3)
	for n := range len(c.bytes) {
		s := NewScanner(failing{c.bytes, int64(n)}, int64(len(c.bytes)))
		var err error
		for err == nil {
			_, err = s.Next()
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("reader fails from %d: %v", n, err)
		}
		if _, again := s.Next(); again != err {
			t.Fatalf("the next call said %v after %v", again, err)
		}
	}
}

// TestGoneTags puts gone tags between, before and behind others, and reads them with the footer and without.
func TestGoneTags(t *testing.T) {
	h := sampleHeader(1, LayoutFramed)
	h.Chunk = h.Chunk.Of(1)
	c := &chunk{bytes: h.Append(nil)}
	s := sampleSealer(t)
	gone := func(first, last uint64) {
		tag := GoneTag(MakeSeq(3, first), MakeSeq(3, last), MakeSeq(3, first-1), uint64(len(c.bytes)))
		var b [TagSize]byte
		tag.Put(b[:])
		c.bytes, c.tags = append(c.bytes, b[:]...), append(c.tags, tag)
	}
	gone(1, 3)
	c.fillTags(s, 4, 3)
	gone(7, 7)
	gone(8, 2000)
	c.fillTags(s, 2001, 2)
	gone(2003, 2003)
	c.footer()
	got := scan(c.bytes)
	if got.err != nil || len(got.damage) != 0 || got.valid != int64(len(c.bytes)) {
		t.Fatalf("err %v, damage %v, valid to %d of %d", got.err, got.damage, got.valid, len(c.bytes))
	}
	if diff := cmp.Diff(c.tags, got.tags()); diff != "" {
		t.Error(diff)
	}
	tags, err := ReadFooter(bytes.NewReader(c.bytes), int64(len(c.bytes)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.tags, tags); diff != "" {
		t.Error(diff)
	}
	next := MakeSeq(3, 1)
	for i := range tags {
		if tags[i].Seq != next {
			t.Errorf("tag %v where %v should be", tags[i].Seq, next)
		}
		next = tags[i].Last() + 1
	}
}
