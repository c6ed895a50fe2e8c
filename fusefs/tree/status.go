package tree

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"coffer/pipeline/stage"
)

// Statfs tells how much room there is and how much is used.
func (t *Tree) Statfs(ctx context.Context) (Stat, error) {
	s := Stat{Inodes: uint64(t.inodes.Load()), Bytes: uint64(t.bytes.Load())}
	if t.cfg.Space == nil {
		return s, nil
	}
	var err error
	if s.Space, err = t.cfg.Space(ctx); err != nil {
		return s, fmt.Errorf("%w: ask the medium for its room: %w", unix.EIO, err)
	}
	return s, nil
}

// Status tells the state of the tree.
func (t *Tree) Status() Status {
	t.epochMu.RLock()
	e := t.cur
	t.epochMu.RUnlock()
	s := Status{
		Epoch:      e.n,
		Dirty:      t.dirty.Load(),
		DirtyLimit: t.cfg.MaxDirty,
		Inodes:     t.table.len(),
		Handles:    t.handles.Load(),
		Scattered:  t.defrag.len(),
		DirtyFor:   e.age(t.cfg.Clock()),
	}
	if err := t.Failed(); err != nil {
		s.Failed = err.Error()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Cuts, s.Unacked, s.Unapplied, s.LastStable = t.cuts, len(t.unacked), len(t.unapplied), t.lastStable
	return s
}

// Close takes a last cut, ends the session (stage.MarkEnd), waits until all is
// stable and in the index, and stops the tree's goroutines. Nothing else may be
// called during it or afterwards, but Failed and Status. When ctx ends first, or
// the pipe has failed, it stops them all the same and says so; what was
// acknowledged is then in the log, and the rest lost.
func (t *Tree) Close(ctx context.Context) error {
	t.defrag.stop()
	t.defrag.wg.Wait()
	err := t.await(ctx, t.request(stage.MarkEnd, ""))
	close(t.closing)
	if err != nil {
		t.cancel()
	}
	t.applied.Wait()
	t.cancel()
	t.cutting.Wait()
	if err == nil {
		err = t.refuse()
	}
	if err != nil {
		return fmt.Errorf("close the tree: %w", err)
	}
	return nil
}
