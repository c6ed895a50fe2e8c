package faulty

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"coffer/media"
)

// pageSize is the unit in which unsynced bytes reach the platter or do not.
const pageSize = 4096

// file is what is known of an object that is not stable altogether. The
// medium's mu guards it.
type file struct {
	appender media.Appender
	size     int64 // bytes appended
	stable   int64 // bytes that a good Sync covered
	named    bool  // a good Sync covered the name

	replaced bool   // put without a sync over
	old      []byte // this,
	existed  bool   // if it was there
}

// settle makes stable all there is.
func (f *file) settle() {
	f.stable, f.named, f.replaced, f.old = f.size, true, false, nil
}

// Crash cuts the power: everything opened through m fails with ErrCrashed from
// now on. The medium returned, over the same inner one and without a rule,
// holds what was synced and, chosen by the seed, none, some or all of the rest:
// names that were not synced may be gone, lengths lie anywhere between, and
// pages that were not written read as zeros.
func (m *Medium) Crash(ctx context.Context, seed uint64) (*Medium, error) {
	m.power.Lock()
	defer m.power.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, ErrCrashed
	}
	m.dead = true
	for _, unlock := range m.unlocks {
		if err := unlock(); err != nil {
			return nil, fmt.Errorf("crash: %w", err)
		}
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for _, name := range slices.Sorted(maps.Keys(m.loose)) {
		if err := m.loose[name].lose(ctx, m.inner, name, r); err != nil {
			return nil, fmt.Errorf("crash: %s: %w", name, err)
		}
	}
	return Wrap(m.inner, nil), nil
}

// lose puts in place what is left of an object.
func (f *file) lose(ctx context.Context, m media.Medium, name string, r *rand.Rand) error {
	if f.replaced {
		switch {
		case r.IntN(2) == 0:
			return nil
		case f.existed:
			return m.Put(ctx, name, f.old)
		}
		return m.Remove(ctx, name)
	}
	if err := f.appender.Close(); err != nil {
		return err
	}
	if f.named && f.stable == f.size {
		return nil
	}
	left, err := media.ReadAll(ctx, m, name, int(f.size))
	if err != nil {
		return err
	}
	if err := m.Remove(ctx, name); err != nil {
		return err
	}
	if !f.named && r.IntN(2) == 0 {
		return nil
	}
	left = left[:f.stable+r.Int64N(f.size-f.stable+1)]
	for page := f.stable / pageSize * pageSize; page < int64(len(left)); page += pageSize {
		if r.IntN(2) == 0 {
			clear(left[max(page, f.stable):min(page+pageSize, int64(len(left)))])
		}
	}
	a, err := m.Create(ctx, name)
	if err != nil {
		return err
	}
	if _, err := a.Append(ctx, left); err != nil {
		return err
	}
	if err := a.Sync(ctx); err != nil {
		return err
	}
	return a.Close()
}
