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
	copies  map[chunkfmt.Seq]placed
}

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
		sc := chunkfmt.NewScanner(media.Reader(ctx, m.log.medium, c.name), c.size)
		for {
			e, err := sc.Next()
			var damage *chunkfmt.DamageError
			if errors.As(err, &damage) {
				continue
			}
			if errors.Is(err, io.EOF) || isFormatError(err) {
				break
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", c.name, err)
			}
			copies[e.Tag.Seq] = placed{entry: e, name: c.name}
		}
	}
	m.copies = copies
	return nil
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
