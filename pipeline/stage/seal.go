package stage

import (
	"context"
	"io"

	"coffer/chunkfmt"
	"coffer/pipeline"
)

// seal encrypts groups into the output buffer and gives the input buffer back.
// Below it there is no plaintext. It has many instances.
type seal struct{ sealer *chunkfmt.Sealer }

func (s *seal) Run(ctx context.Context, p *pipeline.Port) error {
	for {
		out, err := p.ReceiveBuf(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		sl := out.Payload.(*sealed)
		for i := range sl.groups {
			s.group(&sl.groups[i], out.Raw())
		}
		in := sl.in
		sl.in = nil
		p.FreeBuf(in)
		p.SendBuf(out)
	}
}

func (s *seal) group(g *group, raw []byte) {
	plain := g.body
	if plain == nil {
		plain = g.plain
	}
	start := g.at + chunkfmt.TagSize
	copy(raw[start:], g.options)
	options := raw[start : start+len(g.options) : start+len(g.options)]
	start += len(g.options)
	end := g.at + g.length
	g.tag = chunkfmt.Tag{Kind: g.kind, Flags: g.flags, Seq: g.seq}
	body := s.sealer.Seal(raw[start:start:end], &g.tag, g.private, g.content, options, plain)
	g.plain, g.body, g.content = nil, nil, nil
	if g.entry != nil {
		g.entry.seal(g.tag, options, body)
	}
}
