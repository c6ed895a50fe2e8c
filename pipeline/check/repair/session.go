package repair

import (
	"context"
	"errors"
	"io"
	"slices"

	"coffer/chunkfmt"
	"coffer/media"
)

// session knows where a session's metadata is, in both places.
type session struct {
	places [2]map[chunkfmt.Seq]place // of the log, of its mirrors
	order  [2][]chunkfmt.Seq         // of their keys, ascending
	last   map[chunkfmt.ChunkID]chunkfmt.Seq
}

// place is where a tag is.
type place struct {
	chunk chunkfmt.ChunkID
	name  string
	at    int64
	tag   chunkfmt.Tag
}

func side(mirror bool) int {
	if mirror {
		return 1
	}
	return 0
}

// session reads what the chunks of a session hold of metadata.
func (r *repairer) session(ctx context.Context, ordinal uint32) (*session, error) {
	if s := r.sessions[ordinal]; s != nil {
		return s, nil
	}
	s := &session{last: map[chunkfmt.ChunkID]chunkfmt.Seq{}}
	for i := range s.places {
		s.places[i] = map[chunkfmt.Seq]place{}
	}
	for id, info := range r.chunks {
		if id.Ordinal() != ordinal {
			continue
		}
		err := r.tags(ctx, info, func(at int64, t *chunkfmt.Tag) {
			s.last[id] = max(s.last[id], t.Seq)
			if t.Kind != chunkfmt.KindData {
				s.places[side(id.Mirror())][t.Seq] = place{id, info.Name, at, *t}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	for i := range s.places {
		for seq := range s.places[i] {
			s.order[i] = append(s.order[i], seq)
		}
		slices.Sort(s.order[i])
	}
	clear(r.sessions) // one at a time is worked on
	r.sessions[ordinal] = s
	return s, nil
}

// tags calls f with the tags of a chunk, as its directory has them, or as they stand.
func (r *repairer) tags(ctx context.Context, info media.Info, f func(at int64, t *chunkfmt.Tag)) error {
	old := media.Reader(ctx, r.Medium, info.Name)
	directory, err := chunkfmt.ReadFooter(old, info.Size)
	if err == nil {
		for at, t := range chunkfmt.Places(directory) {
			f(at, t)
		}
		return nil
	}
	if !isFormat(err) {
		return err
	}
	sc := chunkfmt.NewScanner(old, info.Size)
	for {
		e, err := sc.Next()
		var damage *chunkfmt.DamageError
		switch {
		case err == nil:
			f(e.At, &e.Tag)
		case errors.As(err, &damage):
		case isFormat(err):
			return nil
		default:
			return err
		}
	}
}

func isFormat(err error) bool {
	for _, class := range []error{io.EOF, chunkfmt.ErrDamaged, chunkfmt.ErrTruncated, chunkfmt.ErrNoFooter, chunkfmt.ErrVersion} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// between lists the numbers of the metadata of one side between two others, both left out.
func (s *session) between(mirror bool, after, before chunkfmt.Seq) []chunkfmt.Seq {
	order := s.order[side(mirror)]
	i, _ := slices.BinarySearch(order, after+1)
	j, _ := slices.BinarySearch(order, before)
	return order[i:max(i, j)]
}

// bytes reads what stands behind a tag, and checks it against a CRC.
func (r *repairer) bytes(ctx context.Context, name string, at int64, t *chunkfmt.Tag) ([]byte, bool, error) {
	b := make([]byte, t.StoredLen())
	n, err := r.Medium.ReadAt(ctx, name, b, at+chunkfmt.TagSize)
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	// What the medium can't read is damaged.
	return b, n == len(b) && (err == nil || errors.Is(err, io.EOF)) && t.Check(b) == nil, nil
}
