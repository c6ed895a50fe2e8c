package mem

import (
	"context"
	"fmt"

	"coffer/media"
)

// appender extends one object; the medium's lock guards it all.
type appender struct {
	medium *Medium
	object *object
	name   string
	closed bool
}

func (a *appender) Append(ctx context.Context, parts ...[]byte) (int64, error) {
	if err := admit(ctx, "append", a.name); err != nil {
		return 0, err
	}
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	a.medium.mu.Lock()
	defer a.medium.mu.Unlock()
	off := int64(len(a.object.data))
	switch {
	case a.closed:
		return off, fmt.Errorf("append %s: %w", a.name, media.ErrClosed)
	case a.object.gone:
		// Offsets go on, so that the writer of a removed object sees nothing odd.
	case !a.medium.fits(n):
		return off, fmt.Errorf("append %s: %w", a.name, media.ErrFull)
	default:
		a.medium.used += uint64(n)
	}
	for _, p := range parts {
		a.object.data = append(a.object.data, p...)
	}
	return off, nil
}

func (a *appender) Sync(ctx context.Context) error {
	if err := admit(ctx, "sync", a.name); err != nil {
		return err
	}
	a.medium.mu.RLock()
	defer a.medium.mu.RUnlock()
	if a.closed {
		return fmt.Errorf("sync %s: %w", a.name, media.ErrClosed)
	}
	return nil
}

func (a *appender) Size() int64 {
	a.medium.mu.RLock()
	defer a.medium.mu.RUnlock()
	return int64(len(a.object.data))
}

func (a *appender) Close() error {
	a.medium.mu.Lock()
	defer a.medium.mu.Unlock()
	a.closed = true
	return nil
}
