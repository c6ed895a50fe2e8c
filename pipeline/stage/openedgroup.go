package stage

import (
	"context"
	"errors"
	"fmt"
	"io"

	"coffer/chunkfmt"
	"coffer/media"
)

// load reads group seq, from memory or the medium, and checks it.
func (g *Groups) load(ctx context.Context, seq chunkfmt.Seq) ([]byte, error) {
	sealer, err := g.cfg.Sealer(seq.Ordinal())
	if err != nil {
		return nil, fmt.Errorf("group %v: key of its session: %w", seq, err)
	}
	rec, hint, ok, err := g.Group(seq)
	if err != nil {
		return nil, fmt.Errorf("group %v: its record: %w", seq, err)
	}
	if !ok {
		return nil, fmt.Errorf("group %v is not known: %w", seq, ErrDamaged)
	}
	if e := g.cfg.Flight.entry(seq); e != nil {
		body, private, sealed, err := e.open(sealer)
		switch {
		case err != nil:
			return nil, err
		case sealed:
			return g.finish(rec, private, body)
		}
		hint, _ = g.cfg.Flight.Location(seq)
	}
	return g.fetch(ctx, sealer, rec, hint)
}

// fetch tries the place of the hint, then what the locator says.
func (g *Groups) fetch(ctx context.Context, sealer *chunkfmt.Sealer, rec chunkfmt.GroupRecord, hint chunkfmt.Location) ([]byte, error) {
	var first error
	if hint.Chunk != 0 {
		data, err := g.read(ctx, sealer, rec, hint)
		if err == nil || ctx.Err() != nil {
			return data, err
		}
		first = err
	}
	l, err := g.cfg.Locator.Lookup(rec.Seq)
	switch {
	case errors.Is(err, media.ErrNoTag):
		return nil, errors.Join(first, fmt.Errorf("group %v: %w: %w", rec.Seq, ErrDamaged, err))
	case err != nil:
		return nil, fmt.Errorf("group %v: looking for it: %w", rec.Seq, err)
	case l == hint:
		return nil, first
	}
	data, err := g.read(ctx, sealer, rec, l)
	return data, errors.Join(err, ifBoth(err, first))
}

func ifBoth(err, first error) error {
	if err == nil {
		return nil
	}
	return first
}

// read reads, opens and checks the group at l.
func (g *Groups) read(ctx context.Context, sealer *chunkfmt.Sealer, rec chunkfmt.GroupRecord, l chunkfmt.Location) ([]byte, error) {
	if l.Length > chunkfmt.MaxOptions+chunkfmt.MaxSealed {
		return nil, fmt.Errorf("group %v: place of %d bytes: %w", rec.Seq, l.Length, ErrDamaged)
	}
	name := media.ChunkName(g.cfg.Keys.ID, l.Chunk)
	b := make([]byte, chunkfmt.TagSize+int(l.Length))
	n, err := g.cfg.Medium.ReadAt(ctx, name, b, int64(l.Offset))
	if n < len(b) {
		if err == io.EOF || errors.Is(err, media.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil, fmt.Errorf("group %v: reading %d bytes of %s at %d: %w", rec.Seq, len(b), name, l.Offset, err)
	}
	data, err := g.decode(sealer, rec, b)
	if err != nil {
		return nil, fmt.Errorf("group %v: %s at %d: %w", rec.Seq, name, l.Offset, err)
	}
	return data, nil
}

// decode opens tag, options and sealed bytes, in place.
func (g *Groups) decode(sealer *chunkfmt.Sealer, rec chunkfmt.GroupRecord, b []byte) ([]byte, error) {
	tag, err := chunkfmt.ParseTag(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	b = b[chunkfmt.TagSize:]
	if tag.Seq != rec.Seq || tag.Kind != chunkfmt.KindData || tag.StoredLen() != len(b) {
		return nil, fmt.Errorf("tag of %v %v with %d bytes: %w", tag.Kind, tag.Seq, tag.StoredLen(), ErrDamaged)
	}
	options, sealed := b[:tag.OptionsLen], b[tag.OptionsLen:]
	body, private, err := sealer.Open(sealed[:0], &tag, options, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return g.finish(rec, private, body)
}

// finish decompresses and compares with the record. body may be kept.
func (g *Groups) finish(rec chunkfmt.GroupRecord, private chunkfmt.Private, body []byte) ([]byte, error) {
	data := body
	if private.Codec != chunkfmt.CodecStored {
		var err error
		data, err = chunkfmt.Decompress(nil, private.Codec, int(private.RawLen), body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	if len(data) != int(rec.RawLen) || private.RawLen != rec.RawLen {
		return nil, fmt.Errorf("%d bytes, want %d: %w", len(data), rec.RawLen, ErrDamaged)
	}
	rest := data
	for i, br := range rec.Blocks {
		if int(br.Length) > len(rest) || g.cfg.Keys.Sum(rest[:br.Length]) != br.Fingerprint {
			return nil, fmt.Errorf("block %d has another fingerprint: %w", i, ErrDamaged)
		}
		rest = rest[br.Length:]
	}
	return data, nil
}
