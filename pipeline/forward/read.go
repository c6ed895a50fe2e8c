package forward

import (
	"context"
	"errors"
	"fmt"
	"io"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline"
	"coffer/pipeline/stage"
)

// ErrDamaged: what was stored near by is not there as it was, in none of its places. It can't be moved on.
var ErrDamaged = errors.New("damaged in the spool")

// reader is the head of a session's pipe.
type reader struct {
	f       *Forwarder
	session Session
	relay   *stage.Relay
}

// Run implements pipeline.Module.
func (r *reader) Run(ctx context.Context, p *pipeline.Port) error {
	next := r.relay.Next()
	for {
		upTo, err := r.await(ctx, next)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := p.AllocBuf(ctx)
		if err != nil {
			return err
		}
		n, err := r.read(ctx, b.Raw(), next, upTo)
		if err == nil {
			next, err = r.relay.Take(b, n)
		}
		if err != nil {
			p.FreeBuf(b)
			return err
		}
		p.SendBuf(b)
	}
}

// await waits until there is more to be read, and says up to which number; io.EOF: there never will be.
func (r *reader) await(ctx context.Context, next chunkfmt.Seq) (chunkfmt.Seq, error) {
	if last := r.session.Last; last != 0 {
		if next > last {
			return 0, io.EOF
		}
		return last, nil
	}
	for {
		r.f.mu.Lock()
		written, ended, changed := r.f.written, r.f.ended, r.f.changed
		r.f.mu.Unlock()
		if written >= next {
			return written, nil
		}
		if ended {
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// read fills b with whole tags from number next on, none above upTo, as many as one buffer may hold, and says how many
// bytes they take. Of a tag that is damaged it takes the copy.
func (r *reader) read(ctx context.Context, b []byte, next, upTo chunkfmt.Seq) (int, error) {
	places, err := r.f.cfg.Catalog.Places(next)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	var failed error
	for _, at := range places {
		name := media.ChunkName(r.f.cfg.Volume, at.Chunk)
		n, err := r.f.cfg.Near.ReadAt(ctx, name, b, int64(at.Offset))
		if err != nil && err != io.EOF {
			failed = errors.Join(failed, err)
			continue
		}
		whole, err := wholeTags(b[:n], next, upTo)
		if whole > 0 {
			return whole, nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s at %d: %w", name, at.Offset, err))
	}
	return 0, fmt.Errorf("%w: %v: %w", ErrDamaged, next, failed)
}

// wholeTags gives the length of the intact tags at the beginning of b that one buffer may hold: consecutive ones, of
// data or of anything else, the session header by itself. Copies become what they are copies of. None is an error.
func wholeTags(b []byte, next, upTo chunkfmt.Seq) (int, error) {
	at := 0
	var first chunkfmt.Kind
	for next <= upTo {
		tag, err := chunkfmt.ParseTag(b[at:])
		if err != nil {
			return at, err
		}
		end := at + chunkfmt.TagSize + tag.StoredLen()
		if end > len(b) {
			return at, fmt.Errorf("%v of %d bytes: %w", tag.Seq, end-at, chunkfmt.ErrTruncated)
		}
		if tag.Seq != next {
			return at, fmt.Errorf("%v where %v is to be: %w", tag.Seq, next, chunkfmt.ErrDamaged)
		}
		if at > 0 && ((tag.Kind == chunkfmt.KindData) != (first == chunkfmt.KindData) || first == chunkfmt.KindSessionHeader) {
			return at, nil
		}
		if err := tag.Check(b[at+chunkfmt.TagSize : end]); err != nil {
			return at, err
		}
		if tag.Flags&chunkfmt.FlagCopy != 0 {
			tag.Flags &^= chunkfmt.FlagCopy
			tag.Put(b[at:])
		}
		if at == 0 {
			first = tag.Kind
		}
		at, next = end, next+1
	}
	return at, nil
}
