package mover

import (
	"context"
	"fmt"
	"sync/atomic"

	"coffer/media"
)

// quota is a medium on which one volume may take so many bytes, with what it has already.
type quota struct {
	media.Medium
	limit int64
	used  atomic.Int64
}

// Create implements media.Medium.
func (q *quota) Create(ctx context.Context, name string) (media.Appender, error) {
	a, err := q.Medium.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return &rationed{a, q}, nil
}

// rationed is an appender that is full when the quota is.
type rationed struct {
	media.Appender
	q *quota
}

// Append implements media.Appender.
func (r *rationed) Append(ctx context.Context, parts ...[]byte) (int64, error) {
	var n int64
	for _, p := range parts {
		n += int64(len(p))
	}
	if used := r.q.used.Add(n); used > r.q.limit {
		r.q.used.Add(-n)
		return 0, fmt.Errorf("the quota of %d bytes is used up: %w", r.q.limit, media.ErrFull)
	}
	off, err := r.Appender.Append(ctx, parts...)
	if err != nil {
		r.q.used.Add(-n)
	}
	return off, err
}
