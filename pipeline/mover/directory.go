package mover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"coffer/chunkfmt"
	"coffer/media"
)

// directory is what a chunk holds. It is not changed.
type directory struct {
	name    string
	size    int64
	session chunkfmt.SessionID // as the header says; zero: the header is damaged
	entries []chunkfmt.Entry   // in their order, without what is damaged
	footer  bool               // the entries are those of the footer; else of what was read forward
	damaged bool               // of what was read, something was
}

// directoriesKept is how many directories are kept: the end of a log is looked at for several reasons.
const directoriesKept = 3

// directory reads the footer of a chunk or, if it has none, all of it but the payloads.
func (r *replayer) directory(ctx context.Context, c chunk) (*directory, error) {
	r.mu.Lock()
	for _, d := range r.directories {
		if d.name == c.name && d.size == c.size {
			r.mu.Unlock()
			return d, nil
		}
	}
	r.mu.Unlock()
	d, err := r.readDirectory(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", c.name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.directories) == directoriesKept {
		r.directories = r.directories[1:]
	}
	r.directories = append(r.directories, d)
	return d, nil
}

func (r *replayer) readDirectory(ctx context.Context, c chunk) (*directory, error) {
	d := &directory{name: c.name, size: c.size}
	reader := media.Reader(ctx, r.medium, c.name)
	sc := chunkfmt.NewScanner(&peeker{r: reader}, c.size)
	switch h, err := sc.Header(); {
	case err == nil:
		d.session = h.Session
	case !isFormatError(err):
		return nil, err
	}
	if tags, err := chunkfmt.ReadFooter(reader, c.size); err == nil {
		d.footer = true
		d.entries = make([]chunkfmt.Entry, 0, len(tags))
		for _, t := range tags {
			d.entries = append(d.entries, chunkfmt.Entry{Tag: t, At: int64(t.Offset)})
		}
		return d, nil
	}
	for {
		e, err := sc.Next()
		var damage *chunkfmt.DamageError
		switch {
		case err == nil:
			d.entries = append(d.entries, e)
		case errors.As(err, &damage):
			d.damaged = true
			r.slog.Warn("damage in a chunk", "chunk", c.name, "from", damage.From, "to", damage.To)
		case errors.Is(err, io.EOF):
			return d, nil
		case isFormatError(err):
			d.damaged = true
			return d, nil
		default:
			return nil, err
		}
	}
}

// entriesFrom gives the entries of a chunk of a session that count there, which are not to be changed.
func (r *replayer) entriesFrom(ctx context.Context, s *session, c chunk) ([]chunkfmt.Entry, error) {
	d, err := r.directory(ctx, c)
	if err != nil {
		return nil, err
	}
	if d.session != s.id && d.session != (chunkfmt.SessionID{}) {
		return nil, fmt.Errorf("%w: %s belongs to another session %d", ErrForked, c.name, s.ordinal)
	}
	return d.before(c), nil
}

// before gives the entries that count where the chunk is.
func (d *directory) before(c chunk) []chunkfmt.Entry {
	if c.before == 0 {
		return d.entries
	}
	void := func(e chunkfmt.Entry) bool { return e.Tag.Seq >= c.before }
	return slices.DeleteFunc(slices.Clone(d.entries), void)
}

// reaching gives the last data chunk of a session that can hold a number, by what the headers of chunks say
// of the lowest that they may hold. It reports false when that is not known, and −1 when there is none.
func (r *replayer) reaching(ctx context.Context, s *session, seq chunkfmt.Seq) (int, bool) {
	if r.spooled != nil {
		return len(s.data) - 1, false // chunks near by and far away are in no order
	}
	low, high := 0, len(s.data)
	for high-low > 1 {
		middle := (low + high) / 2
		var b [chunkfmt.ChunkHeaderSize]byte
		if _, err := r.medium.ReadAt(ctx, s.data[middle].name, b[:], 0); err != nil && !errors.Is(err, io.EOF) {
			return len(s.data) - 1, false
		}
		h, err := chunkfmt.ParseChunkHeader(b[:])
		if err != nil || h.First.Ordinal() != s.ordinal {
			return len(s.data) - 1, false
		}
		if h.First <= seq {
			low = middle
		} else {
			high = middle
		}
	}
	return min(low, len(s.data)-1), true
}

// peeker reads a little more than it is asked for: a scanner asks for a tag in several small pieces, each of
// which would be a request to a server.
type peeker struct {
	r    io.ReaderAt
	at   int64
	have []byte
	buf  [4096]byte
}

// ReadAt implements io.ReaderAt, for one goroutine.
func (p *peeker) ReadAt(b []byte, off int64) (int, error) {
	if off < p.at || off+int64(len(b)) > p.at+int64(len(p.have)) {
		if len(b) > len(p.buf) {
			return p.r.ReadAt(b, off)
		}
		n, err := p.r.ReadAt(p.buf[:], off)
		if err != nil && !errors.Is(err, io.EOF) {
			p.have = nil
			return p.r.ReadAt(b, off) // the rest is not asked for
		}
		p.at, p.have = off, p.buf[:n]
	}
	n := copy(b, p.have[off-p.at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
