package mover

import (
	"context"
	"errors"
	"fmt"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
)

// beginning says where a new session begins.
type beginning struct {
	ordinal uint32
	prev    index.Head // the predecessor and what of it counts; zero: none
}

// recover brings the index up to the end of the log and returns what the next
// session goes on from.
func (s *Source) recover(ctx context.Context) (beginning, error) {
	begin, err := s.catchUp(ctx, s.acknowledged())
	if err != nil && s.o.AcceptRollback && isRollback(err) {
		s.o.Log.Warn("going on with a store that was rolled back, as asked", "cause", err)
		if err := s.forget(); err != nil {
			return beginning{}, err
		}
		return s.catchUp(ctx, index.Head{})
	}
	return begin, err
}

// acknowledged returns the newest head that this machine knows of.
func (s *Source) acknowledged() index.Head {
	head := s.index.Head()
	if last := s.heads.Last(); last.Seq > head.Seq {
		head = last
	}
	return head
}

func (s *Source) catchUp(ctx context.Context, acked index.Head) (beginning, error) {
	s.loaded, s.passed = nil, 0
	if s.index.Head().Seq == 0 && !s.o.FromLog {
		if err := s.load(ctx); err != nil {
			return beginning{}, err
		}
	}
	applied := s.index.Head()
	from := applied.Ordinal
	if acked.Seq != 0 {
		from = min(from, acked.Ordinal) // it may lie before a checkpoint, and is proved all the same
	}
	if s.spool != nil {
		from = s.spool.from(from)
	}
	all, err := s.log.sessions(ctx, from)
	if err != nil {
		return beginning{}, err
	}
	r := &replayer{log: s.log, slog: s.o.Log, apply: s.index.Apply, acked: acked}
	path, top, err := s.log.path(ctx, all, from)
	if err != nil {
		return beginning{}, err
	}
	for _, head := range []index.Head{applied, acked} {
		if err := r.verify(ctx, path, head); err != nil {
			return beginning{}, err
		}
	}
	if len(path) == 0 {
		return beginning{ordinal: top + 1}, nil
	}
	if err := r.run(ctx, path, applied); err != nil {
		return beginning{}, err
	}
	if err := s.missing(r.hole); err != nil {
		return beginning{}, err
	}
	if r.head.Seq < acked.Seq {
		return beginning{}, fmt.Errorf("%w: its log ends at %v, %v was acknowledged here", ErrRolledBack, r.head.Seq, acked.Seq)
	}
	if err := s.stabilise(ctx, path[len(path)-1]); err != nil {
		return beginning{}, err
	}
	if s.spool != nil {
		s.spool.plan(r, path)
	}
	if err := s.heads.Set(r.head); err != nil {
		return beginning{}, err
	}
	return beginning{ordinal: top + 1, prev: r.head}, nil
}

// missing logs which groups are missing from the chunks, of those with numbers in a hole that a replay has passed
// over: those of which the log does not say that they may go.
func (s *Source) missing(hole chunkfmt.Removed) error {
	if hole.First == 0 {
		return nil
	}
	var lost chunkfmt.Removed
	groups := 0
	err := s.index.Known(hole.First, func(g chunkfmt.GroupRecord, at chunkfmt.Location) bool {
		if g.Seq <= hole.Last && at.Chunk == 0 {
			if groups++; groups == 1 {
				lost.First = g.Seq
			}
			lost.Last = g.Seq
		}
		return g.Seq < hole.Last
	})
	if err != nil {
		return fmt.Errorf("look for missing groups: %w", err)
	}
	if groups > 0 {
		s.o.Log.Error("a part of the log is missing from its chunks", "from", lost.First.String(), "to", lost.Last.String(), "groups", groups)
	}
	return nil
}

// stabilise makes durable what the last session left behind. A process that was
// killed leaves whole batches in the page cache; they were counted in, and the
// next session's header is about to say so.
func (s *Source) stabilise(ctx context.Context, last *session) error {
	syncer, ok := s.o.Medium.(media.Syncer)
	if !ok {
		return nil
	}
	for _, list := range [][]chunk{last.data, last.mirrors} {
		for _, c := range list {
			err := s.log.following(ctx, c, func(c chunk) error { return syncer.Sync(ctx, c.name) })
			if err != nil {
				return fmt.Errorf("make the last session stable: %w", err)
			}
		}
	}
	return nil
}

// isRollback tells the errors that AcceptRollback lets pass.
func isRollback(err error) bool {
	return errors.Is(err, ErrRolledBack) || errors.Is(err, ErrForked)
}

// forget drops what this machine knows of the volume.
func (s *Source) forget() error {
	if err := s.heads.Reset(); err != nil {
		return err
	}
	if s.spool != nil {
		if err := s.spool.sent.Reset(); err != nil {
			return err
		}
	}
	return s.resetIndex()
}
