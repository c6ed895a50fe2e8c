// Package faulty makes any medium fail on demand, for tests of all packages:
// errors and delays by a rule, a shortage of space, syncs that lie, and a loss
// of power that takes what was not synced. It is not for use outside of tests.
//
// Start reading at Wrap and Rule, then Crash.
package faulty

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"coffer/media"
)

// ErrCrashed is returned by everything that was open at a Crash.
var ErrCrashed = errors.New("medium crashed")

// Medium wraps another one. It implements media.Medium, media.Syncer,
// media.Spacer and media.Locker; the last two return errors.ErrUnsupported
// where the inner medium has them not.
type Medium struct {
	inner media.Medium

	// power is held for reading by every operation, so that a crash falls
	// between two of them. mu may be taken under it.
	power sync.RWMutex
	dead  bool // guarded by power

	mu      sync.Mutex // guards all below; nothing is locked under it
	rule    Rule
	free    int64            // bytes that may still be written; negative: no limit
	loose   map[string]*file // objects with something that is not stable
	unlocks []func() error
}

// Wrap returns m with a rule; nil lets everything pass. What m holds already
// counts as stable.
func Wrap(m media.Medium, rule Rule) *Medium {
	return &Medium{inner: m, rule: rule, free: -1, loose: make(map[string]*file)}
}

// SetRule replaces the rule for operations that begin from now on.
func (m *Medium) SetRule(rule Rule) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rule = rule
}

// SetFree limits what may still be written to n bytes; a negative n lifts the
// limit. Removing objects gives their bytes back.
func (m *Medium) SetFree(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = n
}

// Create passes on.
func (m *Medium) Create(ctx context.Context, name string) (media.Appender, error) {
	if err := m.begin(ctx, Create, name); err != nil {
		return nil, err
	}
	defer m.power.RUnlock()
	inner, err := m.inner.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	f := &file{appender: inner}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loose[name] = f
	return &appender{medium: m, name: name, file: f, inner: inner}, nil
}

// ReadAt passes on.
func (m *Medium) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	if err := m.begin(ctx, Read, name); err != nil {
		return 0, err
	}
	defer m.power.RUnlock()
	return m.inner.ReadAt(ctx, name, p, off)
}

// List passes on.
func (m *Medium) List(ctx context.Context, prefix string) ([]media.Info, error) {
	if err := m.begin(ctx, List, prefix); err != nil {
		return nil, err
	}
	defer m.power.RUnlock()
	return m.inner.List(ctx, prefix)
}

// Remove passes on. Its bytes count as free again.
func (m *Medium) Remove(ctx context.Context, name string) error {
	if err := m.begin(ctx, Remove, name); err != nil {
		return err
	}
	defer m.power.RUnlock()
	size := m.sizeOf(ctx, name)
	if err := m.inner.Remove(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.loose, name)
	m.refund(size)
	return nil
}

// Put passes on. With ErrDrop the new content shows but may be lost, as after
// a rename without the syncs around it.
func (m *Medium) Put(ctx context.Context, name string, data []byte) error {
	err := m.begin(ctx, Put, name)
	dropped := errors.Is(err, ErrDrop)
	if err != nil && !dropped {
		return err
	}
	defer m.power.RUnlock()
	if err := m.spend(len(data)); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	old, existed := m.content(ctx, name)
	if err := m.inner.Put(ctx, name, data); err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.refund(int64(len(data)))
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refund(int64(len(old)))
	before := m.loose[name]
	delete(m.loose, name)
	if dropped {
		f := &file{replaced: true, old: old, existed: existed}
		if before != nil && before.replaced {
			f.old, f.existed = before.old, before.existed
		}
		m.loose[name] = f
	}
	return nil
}

// Replace is Put of what content has; the inner medium must be able to replace.
func (m *Medium) Replace(ctx context.Context, name string, content io.Reader) error {
	if _, ok := m.inner.(media.Replacer); !ok {
		return fmt.Errorf("replace %s: %w", name, errors.ErrUnsupported)
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return m.Put(ctx, name, data)
}

// Sync makes an object stable, unless the rule says ErrDrop.
func (m *Medium) Sync(ctx context.Context, name string) error {
	err := m.begin(ctx, Sync, name)
	if err != nil && !errors.Is(err, ErrDrop) {
		return err
	}
	defer m.power.RUnlock()
	if err != nil {
		return nil
	}
	if s, ok := m.inner.(media.Syncer); ok {
		if err := s.Sync(ctx, name); err != nil {
			return err
		}
	} else if _, err := m.inner.ReadAt(ctx, name, nil, 0); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.loose[name]; f != nil {
		f.settle()
	}
	return nil
}

// Space asks the inner medium, or tells what SetFree left.
func (m *Medium) Space(ctx context.Context) (media.Space, error) {
	if err := m.begin(ctx, Space, ""); err != nil {
		return media.Space{}, err
	}
	defer m.power.RUnlock()
	s, ok := m.inner.(media.Spacer)
	if !ok {
		return media.Space{}, fmt.Errorf("space: %w", errors.ErrUnsupported)
	}
	got, err := s.Space(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && m.free >= 0 {
		got.Free = min(got.Free, uint64(m.free))
	}
	return got, err
}

// Lock passes on. A crash unlocks.
func (m *Medium) Lock(ctx context.Context, name, holder string) (func() error, error) {
	if err := m.begin(ctx, Lock, name); err != nil {
		return nil, err
	}
	defer m.power.RUnlock()
	l, ok := m.inner.(media.Locker)
	if !ok {
		return nil, fmt.Errorf("lock %s: %w", name, errors.ErrUnsupported)
	}
	unlock, err := l.Lock(ctx, name, holder)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unlocks = append(m.unlocks, unlock)
	return unlock, nil
}

// Close closes the inner medium, but not after a crash: then the one that Crash
// returned has it.
func (m *Medium) Close() error {
	m.power.RLock()
	defer m.power.RUnlock()
	if m.dead {
		return nil
	}
	return m.inner.Close()
}

// begin asks the rule and takes m.power for reading. Unless it returns nil or
// ErrDrop, power is not held and the operation ends with the error.
func (m *Medium) begin(ctx context.Context, op Op, name string) error {
	m.mu.Lock()
	rule := m.rule
	m.mu.Unlock()
	var err error
	if rule != nil {
		err = rule(ctx, op, name)
	}
	dropped := errors.Is(err, ErrDrop) && (op == Sync || op == Put)
	if err != nil && !dropped {
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	m.power.RLock()
	if m.dead {
		m.power.RUnlock()
		return fmt.Errorf("%s %s: %w", op, name, ErrCrashed)
	}
	return err
}

// spend takes n bytes of what SetFree allows.
func (m *Medium) spend(n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.free < 0:
		return nil
	case int64(n) > m.free:
		return media.ErrFull
	}
	m.free -= int64(n)
	return nil
}

// refund gives n bytes back; m.mu is held.
func (m *Medium) refund(n int64) {
	if m.free >= 0 {
		m.free += n
	}
}

func (m *Medium) content(ctx context.Context, name string) (data []byte, existed bool) {
	size := m.sizeOf(ctx, name)
	data, err := media.ReadAll(ctx, m.inner, name, int(size))
	return data, err == nil
}

func (m *Medium) sizeOf(ctx context.Context, name string) int64 {
	list, err := m.inner.List(ctx, name)
	if err != nil {
		return 0
	}
	for _, info := range list {
		if info.Name == name {
			return info.Size
		}
	}
	return 0
}
