package mover

import (
	"context"
	"errors"
	"fmt"
	"io"

	"coffer/chunkfmt"
	"coffer/media"
)

// errPassesOver: a session of an append-only client would make void what was acknowledged.
var errPassesOver = errors.New("the client is append-only, and its session does not go on from where the log ends")

// logEnd is how far the log of a volume is known to go, of the latest session with anything acknowledged, by what stands
// in the chunks and can be read without a key.
type logEnd struct {
	// last is the last part of the last batch that a later tag says to be acknowledged, or the session's header.
	last chunkfmt.Seq
	// ids are of that session and those behind it.
	ids map[uint32]chunkfmt.SessionID
}

// check says whether a session may go on from prev.
func (e *logEnd) check(prev chunkfmt.Predecessor) error {
	if e.last == 0 {
		return nil
	}
	if id, ok := e.ids[prev.Ordinal]; !ok || id != prev.ID || prev.Last < e.last {
		return fmt.Errorf("it goes on from %v of session %d, and %v was acknowledged: %w", prev.Last, prev.Ordinal, e.last, errPassesOver)
	}
	return nil
}

// end reads how far the log goes before a session.
func (v *farVolume) end(ctx context.Context, before uint32) (*logEnd, error) {
	infos, err := v.medium.List(ctx, media.VolumePrefix(v.origin))
	if err != nil {
		return nil, fmt.Errorf("find the end of the log: %w", err)
	}
	e := &logEnd{ids: map[uint32]chunkfmt.SessionID{}}
	sessions := map[uint32][]media.Info{} // by name, which is by number, mirrors among them
	for _, info := range infos {
		if _, id, ok := media.ParseChunkName(info.Name); ok && id.Ordinal() < before {
			sessions[id.Ordinal()] = append(sessions[id.Ordinal()], info)
		}
	}
	for ordinal := before - 1; ordinal > 0 && e.last == 0; ordinal-- {
		if err := v.endOf(ctx, ordinal, sessions[ordinal], e); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// endOf reads the tags of a session's chunks, from the last chunk on, until it knows what was acknowledged, and how far
// batches go.
func (v *farVolume) endOf(ctx context.Context, ordinal uint32, chunks []media.Info, e *logEnd) error {
	var stable, last chunkfmt.Seq
	for i := len(chunks) - 1; i >= 0; i-- {
		session, ok, err := v.sessionOf(ctx, chunks[i].Name)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		e.ids[ordinal] = session
		if last != 0 {
			continue
		}
		tags, err := tagsOf(ctx, v.medium, chunks[i])
		if err != nil {
			return err
		}
		for _, t := range tags {
			stable = max(stable, t.Watermark)
		}
		for _, t := range tags {
			whole := t.Kind == chunkfmt.KindBatch && t.Flags&chunkfmt.FlagMore == 0 || t.Kind == chunkfmt.KindSessionHeader
			if whole && t.Seq <= stable && t.Seq.Ordinal() == ordinal {
				last = max(last, t.Seq)
			}
		}
	}
	e.last = last
	return nil
}

// tagsOf lists the tags of a chunk as its footer does, or as they can be read.
func tagsOf(ctx context.Context, m media.Medium, info media.Info) (tags []chunkfmt.Tag, err error) {
	r := media.Reader(ctx, m, info.Name)
	if tags, err := chunkfmt.ReadFooter(r, info.Size); err == nil {
		return tags, nil
	}
	sc := chunkfmt.NewScanner(r, info.Size)
	for {
		e, err := sc.Next()
		var damage *chunkfmt.DamageError
		switch {
		case err == nil:
			tags = append(tags, e.Tag)
		case errors.As(err, &damage):
		case errors.Is(err, io.EOF) || isFormatError(err):
			return tags, nil
		default:
			return nil, fmt.Errorf("read the tags of %s: %w", info.Name, err)
		}
	}
}
