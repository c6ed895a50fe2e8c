package scrub

import (
	"context"
	"errors"
	"slices"

	"coffer/chunkfmt"
	"coffer/media"
)

// volume is what has to be known of a volume's sessions to tell damage from what a crash leaves.
type volume struct {
	id chunkfmt.VolumeID
	// origin is the volume that this one is a branch of, whose chunks they are; itself as a rule.
	origin chunkfmt.VolumeID
	// last is up to where the session of that ordinal counts, as the one that goes on from it says; a
	// session that is missing here has no successor.
	last   map[uint32]chunkfmt.Seq
	stable map[uint32]chunkfmt.Seq // what tags of that session say to be acknowledged, once asked for
	chunks []media.Info            // of the volume, by name, as listed at the beginning
	before struct {                // the chunks checked before, of one session
		id     chunkfmt.ChunkID // of the last
		last   chunkfmt.Seq     // highest number in them
		beyond []Finding        // about what was sent again to another chunk, or was to be
	}
}

// openVolume reads the session headers of a volume. What they say, and the watermarks asked for later in
// chunks of these lengths, was true before any chunk is looked at, so what is written meanwhile is never
// taken for damage.
func (s *scrub) openVolume(ctx context.Context, id chunkfmt.VolumeID, list []media.Info) (*volume, error) {
	origin, err := media.Origin(ctx, s.medium, id)
	if err != nil {
		return nil, err
	}
	first := map[chunkfmt.ChunkID]media.Info{} // of each session, and of its mirror, the chunk with its header
	v := &volume{id: id, origin: origin, last: map[uint32]chunkfmt.Seq{}, stable: map[uint32]chunkfmt.Seq{}}
	for _, info := range list {
		of, chunk, ok := media.ParseChunkName(info.Name)
		if !ok || of != id {
			continue
		}
		v.chunks = append(v.chunks, info)
		session := chunkfmt.MakeChunkID(chunk.Ordinal(), 0, chunk.Mirror())
		if _, ok := first[session]; !ok && info.Size > 0 {
			first[session] = info
		}
	}
	for session := range first {
		main := chunkfmt.MakeChunkID(session.Ordinal(), 0, false)
		mirror := chunkfmt.MakeChunkID(session.Ordinal(), 0, true)
		p, ok, err := s.predecessor(ctx, first[main], first[mirror])
		if err != nil {
			return nil, err
		}
		if ok && p.Ordinal != 0 {
			v.last[p.Ordinal] = max(v.last[p.Ordinal], p.Last)
		}
	}
	return v, nil
}

// predecessor reads the session header, the first tag of a session's first chunk or of its mirror: the tag, or its entry
// in a directory, from one, and what stands behind it from one.
func (s *scrub) predecessor(ctx context.Context, chunks ...media.Info) (p chunkfmt.Predecessor, ok bool, err error) {
	var tags []chunkfmt.Tag
	for _, info := range chunks {
		if info.Name == "" {
			continue
		}
		// Not through the window: the rate is for the bytes of chunks, and this is a few hundred a session.
		r := media.Reader(ctx, s.medium, info.Name)
		var b [chunkfmt.TagSize]byte
		n, _ := r.ReadAt(b[:], chunkfmt.ChunkHeaderSize)
		if t, err := chunkfmt.ParseTag(b[:n]); err == nil {
			tags = append(tags, t)
		} else if directory, err := chunkfmt.ReadFooter(r, info.Size); err == nil && len(directory) > 0 {
			tags = append(tags, directory[0])
		}
	}
	for _, t := range tags {
		for _, info := range chunks {
			if t.Kind != chunkfmt.KindSessionHeader || info.Name == "" {
				continue
			}
			b := make([]byte, t.StoredLen())
			n, _ := s.medium.ReadAt(ctx, info.Name, b, chunkfmt.ChunkHeaderSize+chunkfmt.TagSize)
			if n < len(b) || t.Check(b) != nil {
				continue
			}
			options, err := chunkfmt.ParseOptions(b[:t.OptionsLen])
			if err != nil {
				continue
			}
			if p, err := chunkfmt.ParsePredecessor(options); err == nil {
				return p, true, nil
			}
		}
	}
	return p, false, ctx.Err()
}

// acknowledged gives the highest number of a session that is known to have been acknowledged: by the
// watermarks of its tags, which only grow, so that the last readable ones have it, or by its successor.
func (s *scrub) acknowledged(ctx context.Context, ordinal uint32) (chunkfmt.Seq, error) {
	v := s.volume
	if last, ok := v.last[ordinal]; ok {
		return last, nil
	}
	if stable, ok := v.stable[ordinal]; ok {
		return stable, nil
	}
	var stable chunkfmt.Seq
	for _, info := range v.chunks {
		_, id, _ := media.ParseChunkName(info.Name)
		if id.Ordinal() != ordinal {
			continue
		}
		w := s.window(ctx, info.Name)
		w.buf = make([]byte, 64<<10) // mostly skipped over
		high, err := highestWatermark(w, info.Size)
		if err != nil && !errors.Is(err, media.ErrNotExist) {
			return 0, err
		}
		stable = max(stable, high)
	}
	v.stable[ordinal] = stable
	return stable, nil
}

// highestWatermark reads the footer of a chunk or, if it has none, all its tags.
func highestWatermark(w *window, size int64) (high chunkfmt.Seq, err error) {
	if tags, err := chunkfmt.ReadFooter(w, size); err == nil {
		for i := range tags {
			high = max(high, tags[i].Watermark)
		}
		return high, nil
	}
	sc := chunkfmt.NewScanner(w, size)
	for {
		e, err := sc.Next()
		var damage *chunkfmt.DamageError
		switch {
		case err == nil:
			high = max(high, e.Tag.Watermark)
		case errors.As(err, &damage):
		case w.ctx.Err() != nil:
			return 0, w.ctx.Err()
		case isFormat(err):
			return high, nil
		default:
			return 0, err
		}
	}
}

// next gives the first number that a later chunk of the session may hold; 0: there is none that says so.
func (s *scrub) next(ctx context.Context, id chunkfmt.ChunkID) (chunkfmt.Seq, error) {
	for _, info := range s.volume.chunks {
		_, other, _ := media.ParseChunkName(info.Name)
		if other.Mirror() != id.Mirror() || other.Ordinal() != id.Ordinal() || other.Number() <= id.Number() {
			continue
		}
		// One that cannot be read may have been torn as it began; the one after it says the same then.
		h, err := chunkfmt.NewScanner(media.Reader(ctx, s.medium, info.Name), info.Size).Header()
		if errors.Is(err, media.ErrNotExist) {
			if anew, there, _ := s.later(ctx, other); there {
				h, err = chunkfmt.NewScanner(media.Reader(ctx, s.medium, anew.Name), anew.Size).Header()
			}
		}
		if err == nil {
			return h.First, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return 0, nil
}

// later gives a later generation of a chunk, if there is one now.
func (s *scrub) later(ctx context.Context, id chunkfmt.ChunkID) (found media.Info, there bool, err error) {
	list, err := s.medium.List(ctx, media.ChunkName(s.volume.id, id.Of(0)))
	for _, info := range list {
		_, other, ok := media.ParseChunkName(info.Name)
		if ok && other.Of(0) == id.Of(0) && other.Generation() > id.Generation() {
			return info, true, nil
		}
	}
	return found, false, err
}

// older says whether there is an earlier generation of a chunk: then one that is not finished is nothing yet, and
// nothing any more if whoever wrote it was killed.
func (v *volume) older(id chunkfmt.ChunkID) bool {
	return slices.ContainsFunc(v.chunks, func(info media.Info) bool {
		_, other, _ := media.ParseChunkName(info.Name)
		return other.Of(0) == id.Of(0) && other.Generation() < id.Generation()
	})
}
