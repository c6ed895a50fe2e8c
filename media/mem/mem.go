// Package mem is a medium in memory, for tests. It keeps every rule of the
// contract but that of outliving the process; media/faulty over it loses what
// was not synced. Start reading at New.
package mem

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"coffer/media"
)

// Medium keeps objects in memory. It implements media.Medium, media.Syncer,
// media.Replacer, media.Spacer and media.Locker.
type Medium struct {
	capacity uint64

	mu      sync.RWMutex // guards all below, and the content of objects
	objects map[string]*object
	used    uint64
	locks   map[string]string // name to holder
}

// object is one object; its bytes only ever grow at the end. An object that was
// removed or replaced is no longer in the map and no longer counted.
type object struct {
	data []byte
	gone bool
}

// New returns an empty medium. Capacity bounds the bytes it holds; 0 means no
// bound.
func New(capacity uint64) *Medium {
	return &Medium{
		capacity: capacity,
		objects:  make(map[string]*object),
		locks:    make(map[string]string),
	}
}

// Create makes an empty object.
func (m *Medium) Create(ctx context.Context, name string) (media.Appender, error) {
	if err := admit(ctx, "create", name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[name]; ok {
		return nil, fmt.Errorf("create %s: %w", name, media.ErrExist)
	}
	o := &object{}
	m.objects[name] = o
	return &appender{medium: m, object: o, name: name}, nil
}

// ReadAt reads from an object.
func (m *Medium) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	if err := admit(ctx, "read", name); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset %d", name, off)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.objects[name]
	if !ok {
		return 0, fmt.Errorf("read %s: %w", name, media.ErrNotExist)
	}
	n := 0
	if off < int64(len(o.data)) {
		n = copy(p, o.data[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// List returns the objects whose names begin with prefix.
func (m *Medium) List(ctx context.Context, prefix string) ([]media.Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []media.Info
	for name, o := range m.objects {
		if strings.HasPrefix(name, prefix) {
			list = append(list, media.Info{Name: name, Size: int64(len(o.data))})
		}
	}
	slices.SortFunc(list, func(a, b media.Info) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Remove removes an object.
func (m *Medium) Remove(ctx context.Context, name string) error {
	if err := admit(ctx, "remove", name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.drop(name) {
		return fmt.Errorf("remove %s: %w", name, media.ErrNotExist)
	}
	return nil
}

// Put makes or replaces an object.
func (m *Medium) Put(ctx context.Context, name string, data []byte) error {
	if err := admit(ctx, "put", name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// Old and new exist side by side for a moment, as they do on a disk.
	if !m.fits(len(data)) {
		return fmt.Errorf("put %s: %w", name, media.ErrFull)
	}
	m.drop(name)
	m.objects[name] = &object{data: slices.Clone(data)}
	m.used += uint64(len(data))
	return nil
}

// Replace makes or replaces an object.
func (m *Medium) Replace(ctx context.Context, name string, content io.Reader) error {
	data, err := io.ReadAll(content)
	if err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return m.Put(ctx, name, data)
}

// Sync checks that the object exists: memory has nothing more to offer.
func (m *Medium) Sync(ctx context.Context, name string) error {
	if err := admit(ctx, "sync", name); err != nil {
		return err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, ok := m.objects[name]; !ok {
		return fmt.Errorf("sync %s: %w", name, media.ErrNotExist)
	}
	return nil
}

// Space tells how much of the capacity is left.
func (m *Medium) Space(ctx context.Context) (media.Space, error) {
	if err := ctx.Err(); err != nil {
		return media.Space{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	total := m.capacity
	if total == 0 {
		total = 1 << 62
	}
	return media.Space{Free: total - m.used, Total: total}, nil
}

// Lock takes a lock among the users of this Medium.
func (m *Medium) Lock(ctx context.Context, name, holder string) (func() error, error) {
	if err := admit(ctx, "lock", name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, taken := m.locks[name]; taken {
		return nil, &media.LockedError{Name: name, Holder: h}
	}
	m.locks[name] = holder
	return sync.OnceValue(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locks, name)
		return nil
	}), nil
}

// Close does nothing; the content stays for whoever holds the Medium.
func (m *Medium) Close() error { return nil }

// drop takes an object out; m.mu is held.
func (m *Medium) drop(name string) bool {
	o, ok := m.objects[name]
	if !ok {
		return false
	}
	o.gone = true
	m.used -= uint64(len(o.data))
	delete(m.objects, name)
	return true
}

// fits tells whether n more bytes have room; m.mu is held.
func (m *Medium) fits(n int) bool {
	return m.capacity == 0 || uint64(n) <= m.capacity-m.used
}

func admit(ctx context.Context, op, name string) error {
	err := ctx.Err()
	if err == nil {
		err = media.CheckName(name)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	return nil
}
