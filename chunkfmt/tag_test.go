package chunkfmt

import (
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// drawTag draws a tag that a writer could make.
func drawTag(t *rapid.T) Tag {
	tag := Tag{
		Version:   TagVersion,
		Kind:      Kind(rapid.IntRange(1, int(maxKind)).Draw(t, "kind")),
		Flags:     Flags(rapid.IntRange(0, 7).Draw(t, "flags")),
		Seq:       Seq(rapid.Uint64().Draw(t, "seq")),
		Watermark: Seq(rapid.Uint64().Draw(t, "watermark")),
		Restart:   Seq(rapid.Uint64().Draw(t, "restart")),
		Offset:    rapid.Uint64().Draw(t, "offset"),
		SealedLen: rapid.Uint32Range(SealOverhead, MaxSealed).Draw(t, "sealed"),
		CRC:       rapid.Uint32().Draw(t, "crc"),
	}
	if tag.Kind == KindGone {
		first := MakeSeq(rapid.Uint32Range(1, MaxOrdinal).Draw(t, "ordinal"), rapid.Uint64Range(1, MaxNumber).Draw(t, "number"))
		last := first + Seq(rapid.Uint64Range(0, MaxNumber-first.Number()).Draw(t, "more"))
		return GoneTag(first, last, tag.Watermark, tag.Offset)
	}
	if tag.Flags&FlagOptions != 0 {
		tag.OptionsLen = rapid.Uint32Range(1, MaxOptions).Draw(t, "options")
	}
	copy(tag.Nonce[:], rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "nonce"))
	copy(tag.Private[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "private"))
	return tag
}

func TestTagRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawTag(t)
		b := fill(TagSize+3, 0xee) // what was in the memory before must not matter
		want.Put(b)
		got, err := ParseTag(b)
		if err != nil || got != want {
			t.Fatalf("%+v, %v; want %+v", got, err, want)
		}
	})
}

func TestParseTagNoticesEveryFlip(t *testing.T) {
	tag := Tag{Version: TagVersion, Kind: KindData, Seq: MakeSeq(1, 2), SealedLen: 100}
	var b [TagSize]byte
	for bit := range 8 * TagSize {
		tag.Put(b[:])
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := ParseTag(b[:]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
	}
}

func TestParseTagRefuses(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(b []byte)
		want   error
	}{
		{"later version", func(b []byte) { b[tagVersionAt] = 2 }, ErrVersion},
		{"unknown kind", func(b []byte) { b[tagKindAt] = 10 }, ErrVersion},
		{"gone with data", func(b []byte) { b[tagKindAt] = byte(KindGone) }, ErrDamaged},
		{"unknown flag", func(b []byte) { b[tagFlagsAt] = 0x80 }, ErrVersion},
		{"reserved byte", func(b []byte) { b[tagZeroAt] = 1 }, ErrVersion},
		{"no kind", func(b []byte) { b[tagKindAt] = 0 }, ErrDamaged},
		{"transfer with data", func(b []byte) { b[tagKindAt], b[tagFlagsAt] = 0, byte(FlagHeaderTransfer) }, ErrDamaged},
		{"options without flag", func(b []byte) { b[tagOptionsAt+3] = 1 }, ErrDamaged},
		{"void batch", func(b []byte) { b[tagKindAt], b[tagFlagsAt] = byte(KindBatch), byte(FlagVoid) }, ErrDamaged},
		{"flag without options", func(b []byte) { b[tagFlagsAt] = byte(FlagOptions) }, ErrDamaged},
		{"sealed too long", func(b []byte) { binary.BigEndian.PutUint32(b[tagSealedAt:], MaxSealed+1) }, ErrDamaged},
		{"sealed too short", func(b []byte) { binary.BigEndian.PutUint32(b[tagSealedAt:], SealOverhead-1) }, ErrDamaged},
	} {
		tag := Tag{Version: TagVersion, Kind: KindData, SealedLen: 100}
		var b [TagSize]byte
		tag.Put(b[:])
		c.change(b[:])
		binary.BigEndian.PutUint32(b[tagSumAt:], Checksum(b[:tagSumAt]))
		if _, err := ParseTag(b[:]); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	if _, err := ParseTag(make([]byte, TagSize-1)); !errors.Is(err, ErrTruncated) {
		t.Errorf("short: %v", err)
	}
}

func TestSequenceNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, n := rapid.Uint32Max(MaxOrdinal).Draw(t, "ordinal"), rapid.Uint64Max(MaxNumber).Draw(t, "number")
		s := MakeSeq(o, n)
		if s.Ordinal() != o || s.Number() != n {
			t.Fatalf("%v from %d, %d", s, o, n)
		}
		c, mirror := rapid.Uint32Max(MaxChunkNumber).Draw(t, "chunk"), rapid.Bool().Draw(t, "mirror")
		id := MakeChunkID(o, c, mirror)
		if id.Ordinal() != o || id.Number() != c || id.Mirror() != mirror {
			t.Fatalf("%v from %d, %d, %v", id, o, c, mirror)
		}
	})
	if s := MakeSeq(MaxOrdinal+1, 1); s != 0 {
		t.Errorf("ordinal out of range: %v", s)
	}
	if got := MakeSeq(3, 17).String() + MakeChunkID(3, 17, true).String(); got != "s3/17c3/17m" {
		t.Error(got)
	}
}

func TestOptionsRoundTrip(t *testing.T) {
	known := []uint16{OptPredecessorOrdinal, OptMediaClass, OptTime, 0x7fff}
	rapid.Check(t, func(t *rapid.T) {
		var want []Option
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			want = append(want, Option{rapid.SampledFrom(known).Draw(t, "type"), rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "value")})
		}
		b := AppendOptions(nil, want)
		got, err := ParseOptions(b)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%v, %v; want %v", got, err, want)
		}
		if again := AppendOptions(nil, got); string(again) != string(b) {
			t.Fatalf("%x, want %x", again, b)
		}
	})
}

func TestParseOptionsRefuses(t *testing.T) {
	for _, c := range []struct {
		what string
		b    []byte
		want error
	}{
		{"cut head", make([]byte, optionHeadSize-1), ErrTruncated},
		{"cut value", AppendOptions(nil, []Option{{OptTime, fill(8, 0)}})[:15], ErrTruncated},
		{"reserved byte", []byte{0, 1, 0, 1, 0, 0, 0, 0}, ErrDamaged},
		{"unknown critical", AppendOptions(nil, []Option{{0xffff, nil}}), ErrVersion},
		{"too long", make([]byte, MaxOptions+8), ErrDamaged},
	} {
		if _, err := ParseOptions(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

func TestChunkHeader(t *testing.T) {
	for layout := LayoutFramed; layout <= LayoutTaped; layout++ {
		want := sampleHeader(7, layout)
		b := want.Append(nil)
		got, err := ParseChunkHeader(b)
		if err != nil || got != want || len(b) != ChunkHeaderSize {
			t.Fatalf("%+v, %v; want %+v", got, err, want)
		}
		for bit := range 8 * len(b) {
			b[bit/8] ^= 1 << (bit % 8)
			if _, err := ParseChunkHeader(b); !errors.Is(err, ErrDamaged) {
				t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
	}
	strange := sampleHeader(7, LayoutTaped+1)
	if _, err := ParseChunkHeader(strange.Append(nil)); !errors.Is(err, ErrVersion) {
		t.Errorf("unknown layout: %v", err)
	}
}

func TestGoneTagRefuses(t *testing.T) {
	for what, change := range map[string]func(tag *Tag){
		"no range":        func(tag *Tag) { tag.Restart = tag.Seq },
		"another session": func(tag *Tag) { tag.Restart = MakeSeq(2, 5) },
		"flags":           func(tag *Tag) { tag.Flags = FlagCopy },
		"sealed bytes":    func(tag *Tag) { tag.SealedLen = SealOverhead },
	} {
		tag := GoneTag(MakeSeq(1, 7), MakeSeq(1, 9), MakeSeq(1, 3), ChunkHeaderSize)
		if tag.Last() != MakeSeq(1, 9) {
			t.Fatalf("last is %v", tag.Last())
		}
		change(&tag)
		var b [TagSize]byte
		tag.Put(b[:])
		if _, err := ParseTag(b[:]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
