package tree

import (
	"context"
	"fmt"
	"time"

	"coffer/index"
)

// maxUnapplied is how many acknowledged cuts are gathered at most.
const maxUnapplied = 64

// applier brings acknowledged cuts into the index, many in one commit, and then
// lets go of their deltas.
func (t *Tree) applier(ctx context.Context) {
	timer := time.NewTimer(t.cfg.ApplyEvery)
	defer timer.Stop()
	timer.Stop()
	armed := false
	for {
		closing := false
		select {
		case <-ctx.Done():
			return
		case <-t.closing:
			closing = true
		case <-t.applies:
			if !armed {
				armed = true
				timer.Reset(t.cfg.ApplyEvery)
			}
			if !t.urgent() {
				continue
			}
		case <-timer.C:
		}
		armed = false
		timer.Stop()
		if err := t.apply(); err != nil {
			t.fail(err)
			return
		}
		if closing {
			return
		}
	}
}

// urgent says whether to apply without gathering more.
func (t *Tree) urgent() bool {
	t.mu.Lock()
	n := len(t.unapplied)
	t.mu.Unlock()
	return n >= maxUnapplied || n > 0 && t.hurried.Load() > 0 || n > 0 && t.dirty.Load() > t.cfg.MaxDirty/4
}

// apply brings all acknowledged cuts into the index.
func (t *Tree) apply() error {
	t.mu.Lock()
	epochs := t.unapplied
	t.unapplied = nil
	t.mu.Unlock()
	if len(epochs) == 0 {
		return nil
	}
	batches := make([]index.Batch, 0, len(epochs))
	var head index.Head
	for _, e := range epochs {
		if e.journal.Head.Seq == 0 {
			if e.dirty.Load() != nil {
				return fmt.Errorf("apply cut %d: its batch was never given", e.n)
			}
			continue
		}
		head = index.Head(e.journal.Head)
		for _, part := range e.journal.Batches {
			if k := len(batches); part.Header.Part > 0 && k > 0 {
				batches[k-1].Records = append(batches[k-1].Records, part.Records...)
				continue
			}
			batches = append(batches, index.Batch{Header: part.Header, Records: part.Records})
		}
	}
	if head.Seq != 0 {
		if err := t.cfg.Index.Apply(batches, head, t.cfg.Flight.Location); err != nil {
			return fmt.Errorf("apply cuts %d to %d to the index: %w", epochs[0].n, epochs[len(epochs)-1].n, err)
		}
	}
	for _, e := range epochs {
		t.retire(e)
		if e.archive != 0 {
			t.sealed(e.archive)
			if t.cfg.Sealed != nil {
				t.cfg.Sealed()
			}
		}
		close(e.indexed)
	}
	if head.Seq != 0 {
		t.cfg.Flight.Forget(head.Seq)
	}
	t.mu.Lock()
	t.giveRoom()
	t.mu.Unlock()
	return nil
}

// retire lets go of the deltas of an epoch that the index has.
func (t *Tree) retire(e *epoch) {
	for d := e.dirty.Load(); d != nil; d = d.nextDirty {
		i := d.i
		i.mu.Lock()
		i.oldest = d.newer
		if d.newer == nil {
			i.newest = nil
			if i.handles == 0 {
				i.stream, i.live = nil, nil
			}
		} else {
			d.newer.older = nil
		}
		i.fresh = false
		i.absent.Store(nil)
		if i.dir != nil {
			i.dir.retire(d)
			if len(i.dir.names) == 0 {
				i.dir = nil
			}
		}
		gone := d.deleted && !i.referred
		i.mu.Unlock()
		i.put()
		if gone {
			t.table.forget(i)
		} else {
			t.table.shrink(i.ino)
		}
	}
	t.dirty.Add(-e.cost.Load())
	e.dirty.Store(nil)
	e.journal.Batches = nil
}
