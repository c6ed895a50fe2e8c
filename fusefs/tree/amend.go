package tree

import (
	"context"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// Amend puts records into the log that tell nothing of the tree, such as that a group
// is damaged, and returns when they are stable and in the index; see Journal.
func (t *Tree) Amend(ctx context.Context, records []chunkfmt.Record) error {
	if len(records) == 0 {
		return nil
	}
	return t.Journal(ctx, amendments(records))
}

type amendments []chunkfmt.Record

// Encode implements stage.BatchSource.
func (a amendments) Encode(w stage.RecordSink) error {
	for _, r := range a {
		if err := w.Add(r); err != nil {
			return err
		}
	}
	return nil
}
