package chunkfmt

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// zstdDecoder is one decoder for the program: DecodeAll may be called concurrently and
// draws on a pool of one block decoder per processor.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderMaxMemory(zstdWindow),
		zstd.WithDecoderMaxWindow(zstdWindow),
		zstd.WithDecodeAllCapLimit(true))
})

// zstdWindow is the largest window that a frame may ask for. DecodeAll allocates none,
// so it is a limit on what the encoder may be set to, not on memory.
const zstdWindow = 8 << 20

// Decompress appends to dst the rawLen bytes that src holds compressed, and returns the
// extended slice. It allocates at most what dst lacks of rawLen, and for CodecColumns a few
// times rawLen, whatever src says. dst
// and src must be disjoint. It fails with ErrDamaged when src is not exactly rawLen bytes
// compressed with c, and when rawLen is over MaxRaw, and with ErrVersion for an unknown codec.
// Concurrent use is safe.
func Decompress(dst []byte, c Codec, rawLen int, src []byte) ([]byte, error) {
	if rawLen < 0 || rawLen > MaxRaw {
		return nil, fmt.Errorf("decompress %v: raw length %d, at most %d: %w", c, rawLen, MaxRaw, ErrDamaged)
	}
	start := len(dst)
	dst = grow(dst, rawLen)
	room := dst[start : start : start+rawLen]
	var got []byte
	var err error
	switch c {
	case CodecStored:
		got = append(room, src[:min(len(src), rawLen)]...)
		err = wantLen(len(src), rawLen)
	case CodecS2:
		got, err = decodeS2(room, src)
	case CodecZstd:
		var d *zstd.Decoder
		if d, err = zstdDecoder(); err == nil {
			got, err = d.DecodeAll(src, room)
		}
	case CodecColumns:
		var d *zstd.Decoder
		if d, err = zstdDecoder(); err == nil {
			if got, err = d.DecodeAll(src, make([]byte, 0, rawLen+columnsSlack)); err == nil {
				got, err = fromColumns(room, got)
			}
		}
	default:
		return nil, fmt.Errorf("decompress: codec %d: %w", uint8(c), ErrVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress %v, %d bytes: %w: %w", c, len(src), ErrDamaged, err)
	}
	if err := wantLen(len(got), rawLen); err != nil {
		return nil, fmt.Errorf("decompress %v, %d bytes: %w", c, len(src), err)
	}
	return dst[:start+rawLen], nil
}

func wantLen(got, want int) error {
	if got != want {
		return fmt.Errorf("%d bytes, want %d: %w", got, want, ErrDamaged)
	}
	return nil
}

// decodeS2 decodes into room's capacity, which must be exactly the decoded length.
func decodeS2(room, src []byte) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if err := wantLen(n, cap(room)); err != nil {
		return nil, err
	}
	return s2.Decode(room[:n], src)
}

// grow returns dst with room for n more bytes.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	bigger := make([]byte, len(dst), len(dst)+n)
	copy(bigger, dst)
	return bigger
}
