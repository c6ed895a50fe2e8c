package tree

import (
	"context"

	"coffer/pipeline/stage"
)

// Journal puts the records of b into the log, in one batch behind everything that was done
// before, and returns when they are stable and in the index. They are not the tree's own and
// say nothing of its inodes; no archive is made for them. After an error they may become stable nevertheless, or later.
func (t *Tree) Journal(ctx context.Context, b stage.BatchSource) error {
	r := &request{kind: stage.MarkCut, more: b, cut: make(chan struct{})}
	t.mu.Lock()
	t.queue(r)
	t.mu.Unlock()
	if err := t.await(ctx, r); err != nil {
		return err
	}
	return t.awaitIndex(ctx, r.epoch)
}

// with is the batch of an epoch and what is to be journalled besides.
func with(e *epoch, more stage.BatchSource) stage.BatchSource {
	if more == nil {
		return e
	}
	return both{e, more}
}

type both struct{ first, second stage.BatchSource }

// Encode implements stage.BatchSource.
func (b both) Encode(w stage.RecordSink) error {
	if err := b.first.Encode(w); err != nil {
		return err
	}
	return b.second.Encode(w)
}
