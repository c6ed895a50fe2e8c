package stage

import (
	"context"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"

	"coffer/chunkfmt"
	"coffer/pipeline"
)

// Compression says how groups are compressed.
type Compression uint8

// The ways to compress.
const (
	// CompressAuto looks at the data and at the queues: the more the rest of
	// the pipe waits for the stage, the faster it works.
	CompressAuto Compression = iota
	CompressNone
	CompressFast    // S2
	CompressDefault // zstd, fastest
	CompressBetter  // zstd, better
	CompressLight   // as CompressAuto, but with encoders that take less than 3 MiB each, for all kinds of groups
)

// compress compresses groups into the output buffer, at the places where their
// tags will be; those that it does not compress stay in the input buffer, for
// seal to write them across. It has many instances.
type compress struct {
	w        *Writer
	encoders *encoders
	columns  []byte // a batch or piece of a checkpoint by columns
	scratch  []byte
}

func (c *compress) Run(ctx context.Context, p *pipeline.Port) error {
	for {
		out, err := p.AllocBuf(ctx)
		if err != nil {
			return err
		}
		in, err := p.ReceiveBuf(ctx)
		if err != nil {
			p.FreeBuf(out)
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := c.buffer(in, out, p); err != nil {
			return err
		}
		out.Seq = in.Seq
		p.SendBuf(out)
	}
}

// buffer lays out the groups of in in out.
func (c *compress) buffer(in, out *pipeline.Buffer, p *pipeline.Port) error {
	pk := in.Payload.(*packed)
	raw, at := out.Raw(), 0
	for i := range pk.groups {
		g := &pk.groups[i]
		g.at = at
		start := at + chunkfmt.TagSize + len(g.options)
		body, err := c.group(g, p)
		if err != nil {
			return fmt.Errorf("compressing group %v: %w", g.seq, err)
		}
		n := len(g.plain)
		if body != nil {
			n = copy(raw[start:], body)
			g.body = raw[start : start+n]
		}
		at = start + n + chunkfmt.SealOverhead
		g.length = at - g.at
		if g.kind == chunkfmt.KindData {
			c.w.flow.settle(int64(g.private.RawLen) - int64(g.length))
		}
	}
	out.Payload = &sealed{packed: *pk, in: in, length: at}
	out.Length = at
	return nil
}

// group compresses one group; nil says that it is to be stored.
func (c *compress) group(g *group, p *pipeline.Port) ([]byte, error) {
	codec, level := c.choose(g, p)
	if codec == chunkfmt.CodecStored {
		return nil, nil
	}
	var body []byte
	switch codec {
	case chunkfmt.CodecS2:
		if n := s2.MaxEncodedLen(len(g.plain)); cap(c.scratch) < n {
			c.scratch = make([]byte, s2.MaxEncodedLen(chunkfmt.MaxRaw))
		}
		body = s2.Encode(c.scratch[:cap(c.scratch)], g.plain)
	default:
		plain := g.plain
		if codec == chunkfmt.CodecColumns {
			var ok bool
			if c.columns, ok = chunkfmt.AppendColumns(c.columns[:0], g.plain); !ok {
				return nil, fmt.Errorf("%v %v is none: %w", g.kind, g.seq, chunkfmt.ErrDamaged)
			}
			plain = c.columns
		}
		var err error
		if body, err = c.encoders.encode(level, c.scratch[:0], plain); err != nil {
			return nil, err
		}
		c.scratch = body[:0]
	}
	if len(body)+len(body)/32 >= len(g.plain) {
		g.private.Marks |= chunkfmt.MarkIncompressible
		return nil, nil
	}
	g.private.Codec, g.private.Level = codec, level
	return body, nil
}

// choose decides by the data and by the queues.
func (c *compress) choose(g *group, p *pipeline.Port) (chunkfmt.Codec, int8) {
	way, best := c.w.cfg.Compression, levelBetter
	if way == CompressLight {
		way, best = CompressAuto, levelDefault
	}
	switch g.kind {
	case chunkfmt.KindBatch:
		// Few bytes, kept for ever, twice. A level more saves 1 % of all that is stored.
		return chunkfmt.CodecColumns, best
	case chunkfmt.KindCheckpoint:
		return chunkfmt.CodecColumns, levelDefault
	}
	if g.kind != chunkfmt.KindData {
		return chunkfmt.CodecZstd, levelFastest
	}
	if way == CompressNone {
		return chunkfmt.CodecStored, 0
	}
	if incompressible(g.plain, &c.scratch) {
		g.private.Marks |= chunkfmt.MarkIncompressible
		return chunkfmt.CodecStored, 0
	}
	if way == CompressAuto {
		in, out, total := p.Queue()
		way = pace(in, out, total)
	}
	switch way {
	case CompressFast:
		return chunkfmt.CodecS2, 0
	case CompressBetter:
		return chunkfmt.CodecZstd, best
	case compressMore:
		return chunkfmt.CodecZstd, levelDefault
	default:
		return chunkfmt.CodecZstd, levelFastest
	}
}

// compressMore is between CompressDefault and CompressBetter; only pace asks for it.
const compressMore = CompressLight + 1

// pace chooses by how many buffers wait for the stage and for the one behind
// it, of total in the pipe, of which the head has a third: is it full, those
// who write are waiting for this stage.
func pace(in, out, total int) Compression {
	switch share := max(total/3, 1); {
	case in*4 >= share*3:
		return CompressFast
	case in*4 >= share:
		return CompressDefault
	case out*4 >= share:
		return CompressBetter
	default:
		return compressMore
	}
}
