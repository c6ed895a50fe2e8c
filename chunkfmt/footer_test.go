package chunkfmt

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadFooter(t *testing.T) {
	for _, n := range []int{0, 1, 17} {
		c := framed(t, 1, n)
		got, err := ReadFooter(bytes.NewReader(c.bytes), int64(len(c.bytes)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.tags, got, cmpEmpty); diff != "" {
			t.Fatal(diff)
		}
		if want := c.bytes[len(c.bytes)-FooterSize(n):]; string(want[:magicSize]) != footerMagic {
			t.Fatalf("FooterSize(%d) = %d does not meet the footer", n, FooterSize(n))
		}
	}
}

func TestReadFooterOfTape(t *testing.T) {
	b, want := stream(t, LayoutTape, 3, 2)
	got, err := ReadFooter(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var data []Tag
	for at, tag := range Places(got) {
		on, err := ParseTag(b[at:])
		if err != nil || on != *tag {
			t.Fatalf("at %d: %+v, %v; the directory says %+v", at, on, err, *tag)
		}
		if tag.Flags&FlagHeaderTransfer == 0 {
			data = append(data, *tag)
		}
	}
	if diff := cmp.Diff(want, data); diff != "" {
		t.Fatal(diff)
	}
}

func TestReadFooterNoticesEveryFlip(t *testing.T) {
	c := framed(t, 1, 2)
	size := FooterSize(2)
	for bit := range 8 * size {
		b := bytes.Clone(c.bytes)
		b[len(b)-size+bit/8] ^= 1 << (bit % 8)
		_, err := ReadFooter(bytes.NewReader(b), int64(len(b)))
		// Never that there is no footer: what is damaged before it would count as torn.
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
	}
}

// TestScanNoticesFooter: a footer that is damaged in two places, its head and its trailer, is damage and no torn end.
func TestScanNoticesFooter(t *testing.T) {
	c := framed(t, 1, 2)
	start := len(c.bytes) - FooterSize(2)
	for at := len(c.bytes) - footerTrailerSize; at < len(c.bytes); at++ {
		b := bytes.Clone(c.bytes)
		b[start] ^= 1
		b[at] ^= 1
		sc := NewScanner(bytes.NewReader(b), int64(len(b)))
		var damage *DamageError
		for {
			_, err := sc.Next()
			if errors.Is(err, io.EOF) {
				t.Fatalf("byte %d of the trailer: no damage", at-start)
			}
			if errors.As(err, &damage) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if damage.From != int64(start) || damage.To != int64(len(b)) {
			t.Errorf("byte %d of the trailer: %v", at-start, damage)
		}
	}
}

func TestReadFooterOfTornChunk(t *testing.T) {
	c := framed(t, 1, 2)
	for n := range len(c.bytes) {
		if _, err := ReadFooter(bytes.NewReader(c.bytes[:n]), int64(n)); !errors.Is(err, ErrNoFooter) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	zeros := append(bytes.Clone(c.bytes[:len(c.bytes)-64]), make([]byte, 64)...)
	if _, err := ReadFooter(bytes.NewReader(zeros), int64(len(zeros))); !errors.Is(err, ErrNoFooter) {
		t.Errorf("an end of zeros: %v", err)
	}
	if _, err := ReadFooter(bytes.NewReader(c.bytes[:len(c.bytes)-1]), int64(len(c.bytes))); !errors.Is(err, ErrTruncated) {
		t.Errorf("reader shorter than its size: %v", err)
	}
}

func TestReadFooterRefusesContradictions(t *testing.T) {
	c := framed(t, 1, 3)
	body := bytes.Clone(c.bytes[:c.ends[2]])
	moved := append([]Tag(nil), c.tags...)
	moved[1].Offset++
	for what, footer := range map[string][]byte{
		"a tag too few":    AppendFooter(nil, c.tags[:2]),
		"a tag moved":      AppendFooter(nil, moved),
		"tags in disorder": AppendFooter(nil, []Tag{c.tags[1], c.tags[0], c.tags[2]}),
	} {
		b := append(bytes.Clone(body), footer...)
		if _, err := ReadFooter(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
