package chunkfmt

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// compress is what the compress stage does.
func compress(t testing.TB, c Codec, level zstd.EncoderLevel, b []byte) []byte {
	switch c {
	case CodecS2:
		return s2.Encode(nil, b)
	case CodecZstd:
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		return e.EncodeAll(b, nil)
	}
	return b
}

// text returns n bytes that compress, but not to nothing.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = "etaoin shrdlu\n"[r.IntN(14)]
	}
	return b
}

func TestDecompress(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 256 << 10, MaxRaw} {
		raw := text(size)
		for _, c := range []Codec{CodecStored, CodecS2, CodecZstd} {
			for level := zstd.SpeedFastest; level <= zstd.SpeedBestCompression; level++ {
				src := compress(t, c, level, raw)
				dst := append(make([]byte, 0, 3+size), "abc"...)
				got, err := Decompress(dst, c, size, src)
				if err != nil || !bytes.Equal(got[3:], raw) || string(got[:3]) != "abc" {
					t.Fatalf("%v level %v of %d bytes: %v", c, level, size, err)
				}
				if &got[0] != &dst[0] {
					t.Errorf("%v of %d bytes: not where there was room", c, size)
				}
				if c != CodecZstd {
					break
				}
			}
		}
	}
}

func TestDecompressRefuses(t *testing.T) {
	raw := text(5000)
	for _, c := range []Codec{CodecStored, CodecS2, CodecZstd} {
		src := compress(t, c, zstd.SpeedDefault, raw)
		for _, rawLen := range []int{-1, 0, 4999, 5001, MaxRaw, MaxRaw + 1} {
			if _, err := Decompress(nil, c, rawLen, src); !errors.Is(err, ErrDamaged) {
				t.Errorf("%v as %d bytes: %v", c, rawLen, err)
			}
		}
		if _, err := Decompress(nil, c, 5000, src[:len(src)-1]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%v cut short: %v", c, err)
		}
	}
	if _, err := Decompress(nil, Codec(9), 1, []byte{1}); !errors.Is(err, ErrVersion) {
		t.Errorf("unknown codec: %v", err)
	}
}

// TestDecompressionBomb: a few bytes that expand to 64 MiB cost only what rawLen allows.
func TestDecompressionBomb(t *testing.T) {
	huge := make([]byte, 64<<20)
	for _, c := range []Codec{CodecS2, CodecZstd} {
		src := compress(t, c, zstd.SpeedFastest, huge)
		boundedAlloc(t, 0, func() {
			if _, err := Decompress(nil, c, 1000, src); !errors.Is(err, ErrDamaged) {
				t.Errorf("%v: %v", c, err)
			}
		})
	}
}

func BenchmarkDecompress(b *testing.B) {
	raw := text(256 << 10)
	for _, c := range []Codec{CodecS2, CodecZstd} {
		b.Run(c.String(), func(b *testing.B) {
			src, dst := compress(b, c, zstd.SpeedDefault, raw), make([]byte, 0, len(raw))
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decompress(dst, c, len(raw), src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
