package mover

import (
	"context"
	"errors"
	"fmt"
	"io"

	"coffer/chunkfmt"
	"coffer/media"
)

// errNoCopy: the mirror chunks of a session have no copy of a tag.
var errNoCopy = errors.New("no copy")

// mirror finds the second copies of a session's metadata. It reads the mirror
// chunks when it is first asked, which is when damage was found.
type mirror struct {
	log     *log
	session *session
	scans   scans // nil: nothing is kept of what was read
	copies  map[chunkfmt.Seq]placed
}

func (r *replayer) mirror(s *session) *mirror { return &mirror{log: r.log, session: s, scans: r.scans} }

type placed struct {
	entry chunkfmt.Entry
	name  string
}

func (m *mirror) load(ctx context.Context) error {
	if m.copies != nil {
		return nil
	}
	copies := map[chunkfmt.Seq]placed{}
	for _, c := range m.session.mirrors {
		entries, err := m.scans.of(c, func(seen *scan) error { return m.scan(ctx, c, seen) })
		if err != nil {
			return err
		}
		for _, e := range entries {
			copies[e.Tag.Seq] = placed{entry: e, name: c.name}
		}
	}
	m.copies = copies
	return nil
}

// scan adds what a mirror chunk holds beyond what was seen of it.
func (m *mirror) scan(ctx context.Context, c chunk, seen *scan) error {
	sc := chunkfmt.NewScanner(media.Reader(ctx, m.log.medium, c.name), c.size)
	sc.Skip(seen.end)
	for {
		e, err := sc.Next()
		var damage *chunkfmt.DamageError
		switch {
		case err == nil:
			seen.add(e)
		case errors.As(err, &damage):
			seen.damaged = true
		case errors.Is(err, io.EOF) || isFormatError(err):
			return nil
		default:
			return fmt.Errorf("read %s: %w", c.name, err)
		}
	}
}

// tag gives the tag of the copy of seq, if there is one.
func (m *mirror) tag(ctx context.Context, seq chunkfmt.Seq) (chunkfmt.Tag, bool, error) {
	if err := m.load(ctx); err != nil {
		return chunkfmt.Tag{}, false, err
	}
	p, ok := m.copies[seq]
	return p.entry.Tag, ok, nil
}

// payload opens the copy of seq.
func (m *mirror) payload(ctx context.Context, seq chunkfmt.Seq) ([]byte, error) {
	if err := m.load(ctx); err != nil {
		return nil, err
	}
	p, ok := m.copies[seq]
	if !ok {
		return nil, fmt.Errorf("%v: %w", seq, errNoCopy)
	}
	return m.log.open(ctx, m.session.sealer, p.name, p.entry)
}
