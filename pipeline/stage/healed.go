package stage

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"coffer/chunkfmt"
	"coffer/media"
)

// maxHealed is how many times a block may have been healed: longer ways run in circles.
const maxHealed = 64

// readHealed is ReadAt of a group some blocks of which are in other groups. What is between them is read as it is
// stored.
func (g *Groups) readHealed(ctx context.Context, seq chunkfmt.Seq, blocks []chunkfmt.Healed, p []byte, off uint32) error {
	rec, _, ok, err := g.Group(seq)
	if err != nil {
		return fmt.Errorf("group %v: its record: %w", seq, err)
	}
	if !ok {
		return fmt.Errorf("group %v is not known: %w", seq, ErrDamaged)
	}
	end := uint64(off) + uint64(len(p))
	if end > uint64(rec.RawLen) {
		return fmt.Errorf("group %v of %d bytes, read %d at %d: %w", seq, rec.RawLen, len(p), off, ErrRange)
	}
	for at := off; uint64(at) < end; {
		h, healed := blockAt(blocks, at)
		to := uint32(min(end, uint64(h.Offset)+uint64(h.Length)))
		if !healed {
			to = uint32(min(end, uint64(h.Offset)))
			err = g.stored(ctx, seq, p[at-off:to-off], at)
		} else {
			err = g.fromElsewhere(ctx, rec, h, p[at-off:to-off], at-h.Offset)
		}
		if err != nil {
			return err
		}
		at = to
	}
	return nil
}

// blockAt gives the block that holds the byte at an offset, or else one that begins where the next block does.
func blockAt(blocks []chunkfmt.Healed, at uint32) (h chunkfmt.Healed, ok bool) {
	i := sort.Search(len(blocks), func(i int) bool { return blocks[i].Offset+blocks[i].Length > at })
	if i == len(blocks) {
		return chunkfmt.Healed{Offset: chunkfmt.MaxRaw}, false
	}
	return blocks[i], blocks[i].Offset <= at
}

// fromElsewhere reads part of a block where it is now. If that fails, what is stored in its old place may be whole
// again.
func (g *Groups) fromElsewhere(ctx context.Context, rec chunkfmt.GroupRecord, h chunkfmt.Healed, p []byte, off uint32) error {
	now, err := g.follow(rec, h)
	if err == nil {
		err = g.stored(ctx, now.Group, p, now.GroupOffset+off)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if g.stored(ctx, rec.Seq, p, h.Offset+off) == nil {
		return nil
	}
	return fmt.Errorf("group %v is read from group %v: %w", rec.Seq, h.Group, err)
}

// follow gives the place where a healed block of a group is stored, and compares it with the block on the way.
func (g *Groups) follow(rec chunkfmt.GroupRecord, h chunkfmt.Healed) (chunkfmt.Healed, error) {
	for range maxHealed {
		next, _, ok, err := g.Group(h.Group)
		if err != nil {
			return h, fmt.Errorf("group %v: its record: %w", h.Group, err)
		}
		if !ok { // or not any more: its blocks may have been moved on since
			return h, fmt.Errorf("group %v is not known: %w: %w", h.Group, ErrDamaged, media.ErrNoTag)
		}
		want, ok := blockOf(&rec, h.Offset)
		if got, there := blockOf(&next, h.GroupOffset); !ok || !there || got != want {
			return h, fmt.Errorf("group %v at %d has another block: %w", h.Group, h.GroupOffset, ErrDamaged)
		}
		blocks, err := g.cfg.Records.Healed(h.Group)
		if err != nil {
			return h, err
		}
		b, healed := blockAt(blocks, h.GroupOffset)
		if !healed || b.Offset != h.GroupOffset {
			return h, nil
		}
		rec, h = next, b
	}
	return h, fmt.Errorf("group %v is healed in a circle: %w", rec.Seq, ErrDamaged)
}

// blockOf gives the block that begins at an offset in a group.
func blockOf(rec *chunkfmt.GroupRecord, off uint32) (chunkfmt.BlockRecord, bool) {
	at := uint32(0)
	for _, b := range rec.Blocks {
		if at == off {
			return b, true
		}
		at += b.Length
	}
	return chunkfmt.BlockRecord{}, false
}

// Whole reads group seq from the medium, as it is stored and not where it is healed from, past what was read before,
// and checks it. Damage in all its places wraps ErrDamaged.
func (g *Groups) Whole(ctx context.Context, seq chunkfmt.Seq) error {
	room := scratch.Get().(*[]byte)
	defer scratch.Put(room)
	return g.load(ctx, seq, func(n int) []byte { return (*room)[:n] })
}

// Check checks a tag with what stands behind it as they lie on a medium: that they are authentic, and of a group that
// the index knows each block against its fingerprint. What is not so wraps ErrDamaged.
func (g *Groups) Check(tag *chunkfmt.Tag, options, sealed []byte) error {
	sealer, err := g.cfg.Sealer(tag.Seq.Ordinal())
	if err != nil {
		return fmt.Errorf("%v: key of its session: %w", tag.Seq, err)
	}
	room := scratch.Get().(*[]byte)
	defer scratch.Put(room)
	if tag.Kind == chunkfmt.KindData {
		rec, _, ok, err := g.cfg.Records.Group(tag.Seq)
		if err != nil {
			return fmt.Errorf("group %v: its record: %w", tag.Seq, err)
		}
		if ok && rec.RawLen <= chunkfmt.MaxRaw {
			o := opening{keys: g.cfg.Keys, sealer: sealer, rec: rec, data: (*room)[:rec.RawLen]}
			return o.open(tag, options, sealed)
		}
	}
	plain, private, err := sealer.Open((*room)[:0], tag, options, sealed)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	raw, err := chunkfmt.Decompress(nil, private.Codec, int(private.RawLen), plain)
	if err == nil && tag.Kind == chunkfmt.KindBatch {
		err = readable(raw)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// readable goes through the records of a batch.
func readable(batch []byte) error {
	_, records := chunkfmt.ParseBatch(batch)
	var errs []error
	for _, err := range records {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
