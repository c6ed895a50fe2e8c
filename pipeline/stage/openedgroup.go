package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"coffer/chunkfmt"
	"coffer/media"
)

// load reads group seq, from memory or the medium, into room, and checks it.
func (g *Groups) load(ctx context.Context, seq chunkfmt.Seq, room func(n int) []byte) error {
	sealer, err := g.cfg.Sealer(seq.Ordinal())
	if err != nil {
		return fmt.Errorf("group %v: key of its session: %w", seq, err)
	}
	rec, hint, ok, err := g.Group(seq)
	if err != nil {
		return fmt.Errorf("group %v: its record: %w", seq, err)
	}
	if !ok {
		return fmt.Errorf("group %v is not known: %w", seq, ErrDamaged)
	}
	if rec.RawLen > chunkfmt.MaxRaw {
		return fmt.Errorf("group %v: record of %d bytes: %w", seq, rec.RawLen, ErrDamaged)
	}
	o := opening{keys: g.cfg.Keys, sealer: sealer, rec: rec, data: room(int(rec.RawLen))}
	if e := g.cfg.Flight.entry(seq); e != nil {
		if ok, err := e.sealedBytes(o.open); ok {
			return err
		}
		hint, _ = g.cfg.Flight.Location(seq)
	}
	return g.fetch(ctx, &o, hint)
}

// fetch tries the place of the hint, then all that the locator knows: a group may be whole in one and damaged in
// another. Where all that it knows fails, it is asked again: the group may have been moved meanwhile.
func (g *Groups) fetch(ctx context.Context, o *opening, hint chunkfmt.Location) error {
	var failed error
	var tried []chunkfmt.Location
	if hint.Chunk != 0 {
		failed = g.read(ctx, o, hint)
		if failed == nil || ctx.Err() != nil {
			return failed
		}
		tried = append(tried, hint)
	}
	renewed := false
	for {
		places, err := g.cfg.Locator.Places(o.rec.Seq)
		if err != nil && !errors.Is(err, media.ErrNoTag) {
			return fmt.Errorf("group %v: looking for it: %w", o.rec.Seq, errors.Join(err, failed))
		}
		known := len(tried)
		for _, at := range places {
			if slices.Contains(tried, at) {
				continue
			}
			tried = append(tried, at)
			read := g.read(ctx, o, at)
			if read == nil || ctx.Err() != nil {
				return read
			}
			failed = errors.Join(failed, read)
		}
		if len(tried) > known {
			continue
		}
		if r, ok := g.cfg.Locator.(Renewer); ok && !renewed {
			renewed = true
			if err := r.Renew(ctx); err != nil {
				return fmt.Errorf("group %v: looking for it: %w", o.rec.Seq, errors.Join(err, failed))
			}
			continue
		}
		if err != nil {
			return errors.Join(failed, fmt.Errorf("group %v: %w: %w", o.rec.Seq, ErrDamaged, err))
		}
		if failed == nil {
			failed = fmt.Errorf("group %v: nobody knows where it is: %w", o.rec.Seq, ErrDamaged)
		}
		return failed
	}
}

// scratch has memory for what a group is on its way to be plaintext: sealed, or
// compressed.
var scratch = sync.Pool{New: func() any {
	b := make([]byte, chunkfmt.TagSize+chunkfmt.MaxOptions+chunkfmt.MaxSealed)
	return &b
}}

// read reads, opens and checks the group at l.
func (g *Groups) read(ctx context.Context, o *opening, l chunkfmt.Location) error {
	if l.Length > chunkfmt.MaxOptions+chunkfmt.MaxSealed {
		return fmt.Errorf("group %v: place of %d bytes: %w", o.rec.Seq, l.Length, ErrDamaged)
	}
	name := media.ChunkName(g.cfg.Keys.ID, l.Chunk)
	room := scratch.Get().(*[]byte)
	defer scratch.Put(room)
	b := (*room)[:chunkfmt.TagSize+int(l.Length)]
	n, err := g.cfg.Medium.ReadAt(ctx, name, b, int64(l.Offset))
	if n < len(b) {
		if err == io.EOF || errors.Is(err, media.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return fmt.Errorf("group %v: reading %d bytes of %s at %d: %w", o.rec.Seq, len(b), name, l.Offset, err)
	}
	if err := o.parse(b); err != nil {
		return fmt.Errorf("group %v: %s at %d: %w", o.rec.Seq, name, l.Offset, err)
	}
	return nil
}

// opening makes a group's plaintext of what is stored.
type opening struct {
	keys   *chunkfmt.VolumeKeys
	sealer *chunkfmt.Sealer
	rec    chunkfmt.GroupRecord
	data   []byte // to be filled
}

// parse opens tag, options and sealed bytes as they lie on the medium.
func (o *opening) parse(b []byte) error {
	tag, err := chunkfmt.ParseTag(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	b = b[chunkfmt.TagSize:]
	if tag.Seq != o.rec.Seq || tag.Kind != chunkfmt.KindData || tag.StoredLen() != len(b) {
		return fmt.Errorf("tag of %v %v with %d bytes: %w", tag.Kind, tag.Seq, tag.StoredLen(), ErrDamaged)
	}
	return o.open(&tag, b[:tag.OptionsLen], b[tag.OptionsLen:])
}

// open decrypts, decompresses and compares with the record. It leaves sealed as
// it is.
func (o *opening) open(tag *chunkfmt.Tag, options, sealed []byte) error {
	// What stands there unauthenticated says where to put it, and turns out to
	// be true if opening succeeds.
	private := o.sealer.OpenPrivate(tag)
	stored := private.Codec == chunkfmt.CodecStored && len(sealed) == len(o.data)+chunkfmt.SealOverhead
	body := o.data[:0:len(o.data)]
	if !stored {
		room := scratch.Get().(*[]byte)
		defer scratch.Put(room)
		body = (*room)[:0]
	}
	body, private, err := o.sealer.Open(body, tag, options, sealed)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if int(private.RawLen) != len(o.data) {
		return fmt.Errorf("%d bytes, want %d: %w", private.RawLen, len(o.data), ErrDamaged)
	}
	if !stored {
		if _, err := chunkfmt.Decompress(o.data[:0:len(o.data)], private.Codec, len(o.data), body); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return o.check()
}

// check compares every block with its fingerprint.
func (o *opening) check() error {
	rest := o.data
	for i, br := range o.rec.Blocks {
		if int(br.Length) > len(rest) || o.keys.Sum(rest[:br.Length]) != br.Fingerprint {
			return fmt.Errorf("block %d has another fingerprint: %w", i, ErrDamaged)
		}
		rest = rest[br.Length:]
	}
	return nil
}
