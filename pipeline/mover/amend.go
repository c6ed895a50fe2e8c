package mover

import (
	"context"
	"fmt"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/pipeline/stage"
)

// Amend puts records into the log that tell nothing of the tree, as a batch of their own, and returns when they are
// stable and in the index. It is for a Source that has no tree above it, see tree.Amend.
func (s *Source) Amend(ctx context.Context, records []chunkfmt.Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := s.mark(ctx, stage.MarkCut, amendment(records)); err != nil {
		return fmt.Errorf("put records into the log: %w", err)
	}
	return nil
}

// End ends the session of a Source that has no tree above it. Close is to follow.
func (s *Source) End(ctx context.Context) error {
	if err := s.mark(ctx, stage.MarkEnd, nil); err != nil {
		return fmt.Errorf("end the session: %w", err)
	}
	return nil
}

// amendment is a batch of given records.
type amendment []chunkfmt.Record

// Encode implements stage.BatchSource.
func (a amendment) Encode(w stage.RecordSink) error {
	for _, r := range a {
		if err := w.Add(r); err != nil {
			return err
		}
	}
	return nil
}

// mark sends a marker, waits for it, and applies what it has journalled.
func (s *Source) mark(ctx context.Context, kind stage.MarkerKind, batch amendment) error {
	slot, err := s.writer.Collector().Prepare(ctx)
	if err != nil {
		return err
	}
	var journal stage.Journal
	acked := make(chan error, 1)
	slot.Cut(stage.Marker{
		Kind: kind, Batch: batch,
		Journalled: func(j stage.Journal) { journal = j }, // before Acked
		Acked:      func(err error) { acked <- err },
	})
	slot.Release()
	select {
	case err = <-acked:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	whole := index.Batch{}
	for i, part := range journal.Batches {
		if i == 0 {
			whole.Header = part.Header
		}
		whole.Records = append(whole.Records, part.Records...)
	}
	if err := s.Index().Apply([]index.Batch{whole}, index.Head(journal.Head), s.flight.Location); err != nil {
		return err
	}
	s.flight.Forget(journal.Head.Seq)
	return nil
}
