package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coffer/chunkfmt"
	"coffer/media"
)

// Tiers are the chunks of a volume near by and far away as one medium. Chunks are created near by; all else goes
// where the name says that the object is.
type Tiers struct {
	Near media.Medium
	Far  media.Medium
	// Pending is how many bytes are near by that are to go far away.
	Pending func() int64
}

// of is the medium on which an object is.
func (t *Tiers) of(name string) media.Medium {
	if _, id, ok := media.ParseChunkName(name); ok && IsNear(id) {
		return t.Near
	}
	return t.Far
}

// Create implements media.Medium.
func (t *Tiers) Create(ctx context.Context, name string) (media.Appender, error) {
	return t.of(name).Create(ctx, name)
}

// ReadAt implements media.Medium.
func (t *Tiers) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	return t.of(name).ReadAt(ctx, name, p, off)
}

// List implements media.Medium.
func (t *Tiers) List(ctx context.Context, prefix string) ([]media.Info, error) {
	near, err := t.Near.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	near = slices.DeleteFunc(near, func(i media.Info) bool { return t.of(i.Name) != t.Near })
	far, err := t.Far.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	all := append(near, far...)
	slices.SortFunc(all, func(a, b media.Info) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Remove implements media.Medium.
func (t *Tiers) Remove(ctx context.Context, name string) error { return t.of(name).Remove(ctx, name) }

// Put implements media.Medium.
func (t *Tiers) Put(ctx context.Context, name string, data []byte) error {
	return t.of(name).Put(ctx, name, data)
}

// Sync implements media.Syncer where the medium does on which the object is.
func (t *Tiers) Sync(ctx context.Context, name string) error {
	if s, ok := t.of(name).(media.Syncer); ok {
		return s.Sync(ctx, name)
	}
	return nil
}

// Space implements media.Spacer: what is left far away when all that is near by is there.
func (t *Tiers) Space(ctx context.Context) (media.Space, error) {
	s, ok := t.Far.(media.Spacer)
	if !ok {
		return media.Space{}, errors.ErrUnsupported
	}
	space, err := s.Space(ctx)
	space.Free -= min(space.Free, uint64(max(0, t.Pending())))
	return space, err
}

// Lock implements media.Locker: far away, where others are.
func (t *Tiers) Lock(ctx context.Context, name, holder string) (func() error, error) {
	l, ok := t.Far.(media.Locker)
	if !ok {
		return nil, fmt.Errorf("lock %s: %w", name, errors.ErrUnsupported)
	}
	return l.Lock(ctx, name, holder)
}

// Close implements media.Medium: it closes both.
func (t *Tiers) Close() error { return errors.Join(t.Near.Close(), t.Far.Close()) }

// Locator finds groups near by first, and far away if they are not.
type Locator struct {
	Near, Far interface {
		Places(seq chunkfmt.Seq) ([]chunkfmt.Location, error)
	}
	// Medium is near by. Near may know of chunks that another process has removed from there.
	Medium media.Medium
	Volume chunkfmt.VolumeID
}

// Places gives all places of a group on the nearest medium that has it; media.ErrNoTag if none has.
func (l Locator) Places(seq chunkfmt.Seq) ([]chunkfmt.Location, error) {
	places, err := l.Near.Places(seq)
	if err != nil && !errors.Is(err, media.ErrNoTag) {
		return nil, err
	}
	places = slices.DeleteFunc(places, func(at chunkfmt.Location) bool {
		_, err := l.Medium.ReadAt(context.Background(), media.ChunkName(l.Volume, at.Chunk), nil, 0)
		return errors.Is(err, media.ErrNotExist)
	})
	if len(places) > 0 {
		return places, nil
	}
	return l.Far.Places(seq)
}
