package mover

import (
	"context"
	"fmt"
	"time"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media/cleaner"
	"coffer/pipeline/stage"
)

// What one removal batch names at most: what follows from it is one commit of the index.
const (
	removeRanges = 10_000
	removeGroups = 50_000
)

// Pruned says what a prune has done, or would do.
type Pruned struct {
	// Removed are groups that nothing refers to.
	Removed int `json:"removed_groups"`
	// Moved are groups of which less than half was needed, and that is in others now.
	Moved int `json:"moved_groups"`
	cleaner.Result
	// Until, if not zero: the server takes them off its medium only when its administrator has approved of it, and not
	// before that time.
	Until time.Time `json:"until,omitzero"`
}

// Prune removes the groups that neither the tree nor an archive refers to, moves what is needed of
// others of which little is, and takes them off the media. It goes beside writers and readers, and
// may be ended at any time; what was begun goes on with the next one. One at a time.
//
// No group is removed that somebody may come to refer to: those that nothing refers to leave the
// dedup table first; once all that was written until then is in the index, those to which nothing
// refers still are dead, as nobody can find them any more. A batch says that they are removed,
// behind all that could have named them, and they are touched only when it is stable and nobody
// reads them any more.
func (s *Source) Prune(ctx context.Context, t Tree) (Pruned, error) {
	p := Pruned{}
	if err := s.index.Sweep(ctx); err != nil {
		return p, err
	}
	if s.unsettled {
		// A batch of a prune that was ended may be on its way to the index, and what it names is to stay excluded.
		if err := t.Journal(ctx, removedRanges(nil)); err != nil {
			return p, fmt.Errorf("prune: %w", err)
		}
	}
	s.unsettled = true
	for after, more := chunkfmt.Seq(0), true; more; {
		g, err := s.index.Garbage(ctx, after)
		if err == nil && g.Len() > 0 {
			var n int
			n, err = s.remove(ctx, t, g)
			p.Removed += n
		}
		if err != nil {
			return p, fmt.Errorf("prune: %w", err)
		}
		after, more = g.After()
	}
	if err := s.rescue(ctx, t); err != nil {
		return p, fmt.Errorf("prune: store again what was moved to groups that are damaged: %w", err)
	}
	if err := s.repack(ctx, t, &p); err != nil {
		return p, fmt.Errorf("prune: move what is needed of groups: %w", err)
	}
	s.unsettled = false
	if err := t.Quiesce(ctx); err != nil {
		return p, fmt.Errorf("prune: %w", err)
	}
	cleaned, err := s.Clean(ctx)
	cleaned.Removed, cleaned.Moved, cleaned.Bytes = p.Removed, p.Moved, cleaned.Bytes+p.Bytes
	if err != nil {
		return cleaned, fmt.Errorf("prune: %w", err)
	}
	return cleaned, nil
}

// remove removes those of the groups to which nothing refers once the dedup table does not have
// them any more, and says how many.
//
// Whatever goes wrong, they stay excluded from the table until another set is: a batch that was
// not waited for may come yet.
func (s *Source) remove(ctx context.Context, t Tree, g *index.Garbage) (removed int, err error) {
	if err := s.exclude(ctx, t, g.Has); err != nil {
		return 0, err
	}
	dead, err := s.index.Still(ctx, g)
	if err != nil {
		return 0, err
	}
	var ranges removedRanges
	groups := 0
	flush := func() {
		if err = t.Journal(ctx, ranges); err == nil {
			removed += groups
		}
		ranges, groups = nil, 0
	}
	dead.Ranges(removeGroups, func(r chunkfmt.Removed, n int) bool {
		if len(ranges) == removeRanges || groups+n > removeGroups {
			flush()
		}
		ranges, groups = append(ranges, r), groups+n
		return err == nil
	})
	if err == nil && len(ranges) > 0 {
		flush()
	}
	if err != nil {
		return removed, err
	}
	return removed, s.readmit(ctx, t, g.Len()-removed, g.Has)
}

// removedRanges are the records of one removal batch.
type removedRanges []chunkfmt.Removed

// Encode implements stage.BatchSource.
func (r removedRanges) Encode(w stage.RecordSink) error {
	for i := range r {
		record := chunkfmt.Record{
			Op: chunkfmt.OpPut, Kind: chunkfmt.RecRemoved,
			Key: chunkfmt.RemovedKey(r[i].First), Value: r[i].Append(nil),
		}
		if err := w.Add(record); err != nil {
			return err
		}
	}
	return nil
}
