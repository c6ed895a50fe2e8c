package cleaner

import (
	"context"
	"errors"
	"io"

	"coffer/chunkfmt"
	"coffer/media"
)

// isFormat tells bytes that are not what they should be, or end, from a medium that did not
// give them.
func isFormat(err error) bool {
	for _, class := range []error{chunkfmt.ErrDamaged, chunkfmt.ErrTruncated, chunkfmt.ErrVersion, chunkfmt.ErrNoFooter, io.EOF} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// whole says of a chunk without a footer that what it holds is all that counts of it: it is
// not written any more, as there is a later session, nothing in it is damaged, and it reaches
// up to where its session went on in another chunk or, in its last one, was gone on from.
// Written anew it gets a footer, after which nobody would ask any more.
func (c *Cleaner) whole(ctx context.Context, k *media.Chunk) (bool, error) {
	upTo, ok, err := c.counts(ctx, k)
	if err != nil || !ok {
		return false, err
	}
	var last chunkfmt.Seq
	sc := chunkfmt.NewScanner(media.Reader(ctx, c.cfg.Medium, k.Name), k.Size)
	for {
		e, err := sc.Next()
		var damage *chunkfmt.DamageError
		switch {
		case err == nil:
			last = max(last, e.Tag.Last())
		case errors.Is(err, io.EOF):
			return last >= upTo, nil
		case errors.As(err, &damage), isFormat(err):
			return false, nil
		default:
			return false, err
		}
	}
}

// counts gives the number up to which a chunk counts; false if that is not known.
func (c *Cleaner) counts(ctx context.Context, k *media.Chunk) (chunkfmt.Seq, bool, error) {
	for i := range c.chunks {
		next := &c.chunks[i]
		if next.ID.Mirror() || next.ID.Ordinal() != k.ID.Ordinal() || next.ID.Number() <= k.ID.Number() {
			continue
		}
		h, err := chunkfmt.NewScanner(media.Reader(ctx, c.cfg.Medium, next.Name), next.Size).Header()
		if err != nil && !isFormat(err) {
			return 0, false, err
		}
		if err == nil && c.later(k.ID.Ordinal()) {
			return h.First - 1, true, nil
		}
		return 0, false, nil
	}
	for i := range c.chunks {
		first := &c.chunks[i]
		if first.ID.Ordinal() <= k.ID.Ordinal() || first.ID.Number() != 1 {
			continue
		}
		p, ok, err := c.predecessor(ctx, first)
		if err != nil {
			return 0, false, err
		}
		if ok { // a session that does not go on from this one says that it does not count
			return p.Last, p.Ordinal == k.ID.Ordinal(), nil
		}
	}
	return 0, false, nil
}

// later says whether there is a later session.
func (c *Cleaner) later(ordinal uint32) bool {
	for i := range c.chunks {
		if c.chunks[i].ID.Ordinal() > ordinal {
			return true
		}
	}
	return false
}

// predecessor reads the session header at the beginning of a session's first chunk.
func (c *Cleaner) predecessor(ctx context.Context, first *media.Chunk) (p chunkfmt.Predecessor, ok bool, err error) {
	sc := chunkfmt.NewScanner(media.Reader(ctx, c.cfg.Medium, first.Name), first.Size)
	e, err := sc.Next()
	if err == nil {
		err = sc.CheckPayload(e)
	}
	if err != nil {
		if isFormat(err) {
			err = nil
		}
		return p, false, err
	}
	if e.Tag.Kind != chunkfmt.KindSessionHeader {
		return p, false, nil
	}
	options, err := chunkfmt.ParseOptions(e.Options)
	if err == nil {
		p, err = chunkfmt.ParsePredecessor(options)
	}
	return p, err == nil, nil
}
