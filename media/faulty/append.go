package faulty

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"coffer/media"
)

// appender wraps the inner one and notes how much of it is stable.
type appender struct {
	medium *Medium
	name   string
	file   *file
	inner  media.Appender

	mu   sync.Mutex // guards what follows
	torn error      // an append left a part behind
	lost error      // a sync has failed
}

func (a *appender) Append(ctx context.Context, parts ...[]byte) (int64, error) {
	if err := a.usable(true); err != nil {
		return a.Size(), fmt.Errorf("append to %s: %w", a.name, err)
	}
	if err := a.medium.begin(ctx, Append, a.name); err != nil {
		if errors.Is(err, media.ErrTorn) {
			a.tear(&a.torn, err)
			err = errors.Join(err, a.leaveHalf(ctx, parts))
		}
		return a.Size(), err
	}
	defer a.medium.power.RUnlock()
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if err := a.medium.spend(n); err != nil {
		return a.Size(), fmt.Errorf("append to %s: %w", a.name, err)
	}
	off, err := a.inner.Append(ctx, parts...)
	a.medium.mu.Lock()
	defer a.medium.mu.Unlock()
	if err != nil {
		a.medium.refund(int64(n))
		return off, err
	}
	a.file.size = max(a.file.size, off+int64(n))
	return off, nil
}

// leaveHalf writes the first half of what was to be written.
func (a *appender) leaveHalf(ctx context.Context, parts [][]byte) error {
	var whole []byte
	for _, p := range parts {
		whole = append(whole, p...)
	}
	a.medium.power.RLock()
	defer a.medium.power.RUnlock()
	if a.medium.dead {
		return ErrCrashed
	}
	half := whole[:len(whole)/2]
	off, err := a.inner.Append(ctx, half)
	if err != nil {
		return err
	}
	a.medium.mu.Lock()
	defer a.medium.mu.Unlock()
	a.file.size = max(a.file.size, off+int64(len(half)))
	return nil
}

func (a *appender) Sync(ctx context.Context) error {
	if err := a.usable(false); err != nil {
		return fmt.Errorf("sync %s: %w", a.name, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sync %s: %w", a.name, err)
	}
	a.medium.mu.Lock()
	upTo := a.file.size // what is appended from here on may or may not be in
	a.medium.mu.Unlock()
	err := a.medium.begin(ctx, Sync, a.name)
	dropped := errors.Is(err, ErrDrop)
	if err != nil && !dropped {
		if ctx.Err() == nil {
			a.tear(&a.lost, err)
		}
		return err
	}
	defer a.medium.power.RUnlock()
	if dropped {
		return nil
	}
	if err := a.inner.Sync(ctx); err != nil {
		return err
	}
	a.medium.mu.Lock()
	defer a.medium.mu.Unlock()
	a.file.named = true
	a.file.stable = max(a.file.stable, upTo)
	return nil
}

func (a *appender) Size() int64 { return a.inner.Size() }

func (a *appender) Close() error {
	a.medium.power.RLock()
	defer a.medium.power.RUnlock()
	return a.inner.Close()
}

func (a *appender) tear(why *error, cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*why = fmt.Errorf("%w: %w", media.ErrTorn, cause)
}

// usable tells why the appender cannot append, or sync.
func (a *appender) usable(toAppend bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if toAppend && a.torn != nil {
		return a.torn
	}
	return a.lost
}
