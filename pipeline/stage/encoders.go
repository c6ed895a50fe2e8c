package stage

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Levels, as they stand in Private.Level.
const (
	levelFastest = int8(zstd.SpeedFastest)
	levelDefault = int8(zstd.SpeedDefault)
	levelBetter  = int8(zstd.SpeedBetterCompression)
)

// encoders are those of zstd that a pipe's instances of compress share. One takes 2 to 6 MiB, more the higher its level,
// so there are no more of a level than worked at once.
type encoders struct {
	mu   sync.Mutex // guards idle
	idle [levelBetter + 1][]*zstd.Encoder
}

// encode appends plain, compressed, to dst.
func (e *encoders) encode(level int8, dst, plain []byte) ([]byte, error) {
	z, err := e.take(level)
	if err != nil {
		return nil, fmt.Errorf("an encoder of level %d: %w", level, err)
	}
	dst = z.EncodeAll(plain, dst)
	e.mu.Lock()
	e.idle[level] = append(e.idle[level], z)
	e.mu.Unlock()
	return dst, nil
}

func (e *encoders) take(level int8) (*zstd.Encoder, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.idle[level]); n > 0 {
		z := e.idle[level][n-1]
		e.idle[level] = e.idle[level][:n-1]
		return z, nil
	}
	return newEncoder(level)
}

// newEncoder makes an encoder for one EncodeAll at a time, of no more than a buffer: what WithLowerEncoderMem leaves out is
// room for the windows of longer streams.
func newEncoder(level int8) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(BufferSize),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false), // sealed
		zstd.WithEncoderLevel(zstd.EncoderLevel(level)))
}
