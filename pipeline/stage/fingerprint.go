package stage

import (
	"bytes"
	"context"
	"io"

	"coffer/chunkfmt"
	"coffer/pipeline"
)

// fingerprint computes the fingerprints of blocks, and finds those of zeros.
type fingerprint struct{ keys *chunkfmt.VolumeKeys }

func (f *fingerprint) Run(ctx context.Context, p *pipeline.Port) error {
	for {
		buf, err := p.ReceiveBuf(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if l, ok := buf.Payload.(*load); ok {
			for _, b := range l.blocks {
				// plain changes only in pack, which gets the buffer after us.
				if b.zero = allZero(b.plain); !b.zero {
					b.fp = f.keys.Sum(b.plain)
				}
			}
		}
		p.SendBuf(buf)
	}
}

// allZero compares b with itself, one byte further on, at the speed of memcmp,
// after a look at its ends and middle, which tells most data apart.
func allZero(b []byte) bool {
	if len(b) == 0 || b[0] != 0 || b[len(b)/2] != 0 || b[len(b)-1] != 0 {
		return len(b) == 0
	}
	return bytes.Equal(b[1:], b[:len(b)-1])
}
