package mover

import (
	"context"
	"fmt"
	"sync/atomic"

	"coffer/chunkfmt"
	"coffer/media"
)

// quota is a medium on which a volume may take so many bytes, with what it and others have already.
type quota struct {
	media.Medium
	limit int64
	used  atomic.Int64
}

// countOthers counts what the other volumes of the volume's owner take on the medium. Chunks that a branch shares with what
// it is a branch of take no room in it.
func (v *farVolume) countOthers(ctx context.Context) error {
	ids, err := v.d.o.Registry.Relatives(v.id)
	if err != nil {
		return err
	}
	type link struct {
		origin chunkfmt.VolumeID
		chunk  chunkfmt.ChunkID
		size   int64
	}
	counted := map[link]bool{}
	for _, c := range v.catalog.Chunks() {
		counted[link{v.origin, c.ID, c.Size}] = true
	}
	var sum uint64
	for _, id := range ids {
		if id == v.id {
			continue
		}
		origin, err := media.Origin(ctx, v.d.o.Medium, id)
		if err != nil {
			return err
		}
		infos, err := v.d.o.Medium.List(ctx, media.VolumePrefix(id))
		if err != nil {
			return fmt.Errorf("count what a client has: %w", err)
		}
		for _, info := range infos {
			_, chunk, ok := media.ParseChunkName(info.Name)
			if l := (link{origin, chunk, info.Size}); ok && !counted[l] {
				counted[l] = true
				sum += uint64(info.Size)
			}
		}
	}
	v.elsewhere.Store(sum)
	return nil
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
