package tree

import (
	"context"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// Amend puts records into the log that tell nothing of the tree, such as that a group
// is damaged, and returns when they are stable and in the index. They come with the
// next cut; no archive is made for them.
func (t *Tree) Amend(ctx context.Context, records []chunkfmt.Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	e := t.cur
	e.amending.Lock()
	e.amendments = append(e.amendments, records...)
	e.amending.Unlock()
	t.end()
	r := t.request(stage.MarkCut, "")
	if err := t.await(ctx, r); err != nil || r.epoch == nil {
		return err
	}
	return t.awaitIndex(ctx, r.epoch)
}

// amended says whether there are records that tell nothing of the tree.
func (e *epoch) amended() bool {
	e.amending.Lock()
	defer e.amending.Unlock()
	return len(e.amendments) > 0
}

// encodeAmendments gives them. The epoch is frozen.
func (e *epoch) encodeAmendments(w stage.RecordSink) error {
	e.amending.Lock()
	defer e.amending.Unlock()
	for _, r := range e.amendments {
		if err := w.Add(r); err != nil {
			return err
		}
	}
	e.amendments = nil
	return nil
}
