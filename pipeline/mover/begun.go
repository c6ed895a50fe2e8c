package mover

import (
	"context"
	"errors"
	"fmt"
	"io"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/spool"
)

// chunks are all chunks of the session, those of the log first.
func (s *session) chunks() []chunk { return append(s.data[:len(s.data):len(s.data)], s.mirrors...) }

// firstChunks are those of them that begin with the session header.
func (s *session) firstChunks() (first []chunk) {
	for _, list := range [][]chunk{s.data, s.mirrors} {
		for _, c := range list {
			if c.first() {
				first = append(first, c)
			}
		}
	}
	return first
}

// first says whether it is where a session begins: the first where the store is, or in the spool.
func (c chunk) first() bool { return c.id.Number() == 1 || c.id.Number() == spool.FirstNumber+1 }

// combinedHeader puts the session header together where neither copy has all of it: the session's id from any
// chunk header of the session, the tag from either copy or from the directory of its chunk, and what stands behind
// the tag from either copy. That they belong together is authenticated.
func (l *log) combinedHeader(ctx context.Context, s *session) error {
	id, err := l.anyID(ctx, s)
	if err != nil {
		return err
	}
	first := s.firstChunks()
	tags, err := l.headerTags(ctx, first)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		for _, c := range first {
			e := chunkfmt.Entry{Tag: tag, At: chunkfmt.ChunkHeaderSize, Chunk: c.id}
			if e.Options, err = l.optionsOf(ctx, c, &tag); err == nil {
				err = l.takeHeader(ctx, s, id, c, e)
			}
			if err == nil || !isFormatError(err) {
				return err
			}
		}
	}
	return fmt.Errorf("no two of its parts belong together: %w", errNoHeader)
}

// anyID gives the id that the chunk headers of a session say that it has; whole ones say the same.
func (l *log) anyID(ctx context.Context, s *session) (id chunkfmt.SessionID, err error) {
	for _, c := range s.chunks() {
		var h chunkfmt.ChunkHeader
		err := l.following(ctx, c, func(c chunk) (err error) {
			if h, err = l.chunkHeader(ctx, c.name); err == nil {
				err = l.belongs(&h, c)
			}
			return err
		})
		switch {
		case err == nil:
			return h.Session, nil
		case !isFormatError(err):
			return id, fmt.Errorf("read %s: %w", c.name, err)
		}
	}
	return id, fmt.Errorf("no chunk header says which session it is: %w", errNoHeader)
}

// chunkHeader reads the header of a chunk.
func (l *log) chunkHeader(ctx context.Context, name string) (chunkfmt.ChunkHeader, error) {
	var b [chunkfmt.ChunkHeaderSize]byte
	n, err := l.medium.ReadAt(ctx, name, b[:], 0)
	if n < len(b) && err != nil && !errors.Is(err, io.EOF) {
		return chunkfmt.ChunkHeader{}, err
	}
	return chunkfmt.ParseChunkHeader(b[:n])
}

// headerTags lists the tags that the first chunks of a session, or their directories, begin with.
func (l *log) headerTags(ctx context.Context, first []chunk) (tags []chunkfmt.Tag, err error) {
	add := func(t chunkfmt.Tag) {
		if t.Kind == chunkfmt.KindSessionHeader {
			tags = append(tags, t)
		}
	}
	for _, c := range first {
		var b [chunkfmt.TagSize]byte
		n, err := l.medium.ReadAt(ctx, c.name, b[:], chunkfmt.ChunkHeaderSize)
		if n < len(b) && err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s: %w", c.name, err)
		}
		if t, err := chunkfmt.ParseTag(b[:n]); err == nil {
			add(t)
		}
		directory, err := chunkfmt.ReadFooter(media.Reader(ctx, l.medium, c.name), c.size)
		if err == nil && len(directory) > 0 {
			add(directory[0])
		}
		if err != nil && !isFormatError(err) {
			return nil, fmt.Errorf("read %s: %w", c.name, err)
		}
	}
	return tags, nil
}

// optionsOf reads what stands where a tag of a session header has its options.
func (l *log) optionsOf(ctx context.Context, c chunk, t *chunkfmt.Tag) ([]byte, error) {
	b := make([]byte, t.OptionsLen)
	n, err := l.medium.ReadAt(ctx, c.name, b, chunkfmt.ChunkHeaderSize+chunkfmt.TagSize)
	if n < len(b) {
		return nil, fmt.Errorf("read %s: %w", c.name, errors.Join(io.ErrUnexpectedEOF, err))
	}
	return b, nil
}

// begun says whether a session whose header can't be read ever began. The header is stable, in both places, before
// anything else of the session is written: one that has anything else had acknowledged its header.
func (l *log) begun(ctx context.Context, s *session) (bool, error) {
	for _, c := range s.chunks() {
		if !c.first() {
			return true, nil
		}
		sc := chunkfmt.NewScanner(media.Reader(ctx, l.medium, c.name), c.size)
		for {
			e, err := sc.Next()
			var damage *chunkfmt.DamageError
			if errors.As(err, &damage) {
				continue
			}
			if err != nil && !isFormatError(err) {
				return false, fmt.Errorf("read %s: %w", c.name, err)
			}
			if err != nil {
				break
			}
			if e.Tag.Seq.Number() > 1 {
				return true, nil
			}
		}
	}
	return false, nil
}
