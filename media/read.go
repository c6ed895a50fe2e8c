package media

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Reader returns an io.ReaderAt over one object. The context holds for all its
// reads. It needs no closing.
func Reader(ctx context.Context, m Medium, name string) io.ReaderAt {
	return &reader{ctx: ctx, medium: m, name: name}
}

// reader binds a context because io.ReaderAt has no room for one.
type reader struct {
	ctx    context.Context
	medium Medium
	name   string
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	return r.medium.ReadAt(r.ctx, r.name, p, off)
}

// ReadAll returns the whole of a small object, an error if it is longer than
// limit bytes.
func ReadAll(ctx context.Context, m Medium, name string, limit int) ([]byte, error) {
	b := make([]byte, limit+1)
	n, err := m.ReadAt(ctx, name, b, 0)
	switch {
	case errors.Is(err, io.EOF):
		return b[:n], nil
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("read %s: longer than %d bytes", name, limit)
}
