package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"coffer/chunkfmt"
	"coffer/pipeline/check"
	"coffer/pipeline/monitor"
	"coffer/pipeline/mover"
)

// amendment is what a check has found out of a group, between processes.
type amendment struct {
	Group chunkfmt.Seq `json:"group"`
	Whole bool         `json:"whole,omitempty"` // it is so again
	Why   string       `json:"why,omitempty"`   // it is damaged
}

// amendments at a time go to another process.
const amendments = 1000

func (a *amendment) record() chunkfmt.Record {
	r := chunkfmt.Record{Op: chunkfmt.OpPut, Kind: chunkfmt.RecBad, Key: chunkfmt.BadKey(a.Group), Value: []byte(a.Why)}
	if a.Whole {
		r.Op, r.Value = chunkfmt.OpDelete, nil
	}
	return r
}

func amendmentOf(r *chunkfmt.Record) (amendment, error) {
	seq, err := chunkfmt.ParseGroupKey(r.Key)
	return amendment{Group: seq, Whole: r.Op == chunkfmt.OpDelete, Why: string(r.Value)}, err
}

// Amend implements monitor.Control.
func (c *control) Amend(ctx context.Context, request json.RawMessage) (any, error) {
	n, err := c.amend(ctx, request)
	return n, sent(err)
}

func (c *control) amend(ctx context.Context, request json.RawMessage) (int, error) {
	var all []amendment
	if err := json.Unmarshal(request, &all); err != nil {
		return 0, fmt.Errorf("%w: %w", errUsage, err)
	}
	var records []chunkfmt.Record
	for i := range all {
		records = append(records, all[i].record())
	}
	records, err := check.Confirm(ctx, c.v.source.Index(), c.v.source.Groups(), records)
	if err != nil {
		return 0, err
	}
	return len(records), c.v.tree.Amend(ctx, records)
}

// note puts what a check has found into the log of the volume: through the process that has it open on this machine, or
// in a session of its own.
func (s *opened) note(ctx context.Context, o *volumeOptions, records []chunkfmt.Record) (n int, err error) {
	m, err := mountedHere(o.store, o.name)
	if err != nil {
		return 0, err
	}
	if m == nil {
		return s.noteDirectly(ctx, o, records)
	}
	for len(records) > 0 {
		some := records[:min(len(records), amendments)]
		records = records[len(some):]
		var all []amendment
		for i := range some {
			a, err := amendmentOf(&some[i])
			if err != nil {
				return n, err
			}
			all = append(all, a)
		}
		done, err := m.amend(ctx, all)
		if n += done; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *opened) noteDirectly(ctx context.Context, o *volumeOptions, records []chunkfmt.Record) (n int, err error) {
	err = s.session(ctx, o, "a check", func(source *mover.Source) (err error) {
		records, err = check.Confirm(ctx, source.Index(), source.Groups(), records)
		if n = len(records); err != nil {
			return err
		}
		return source.Amend(ctx, records)
	})
	return n, err
}

// session opens a session that has no tree above it, calls f, and ends it.
func (s *opened) session(ctx context.Context, o *volumeOptions, holder string, f func(*mover.Source) error) error {
	options, err := s.moverOptions(o, holder)
	if err != nil {
		return err
	}
	source, err := mover.OpenSource(ctx, monitor.New(), options)
	if err != nil {
		return err
	}
	err = f(source)
	failed := err
	if failed == nil {
		failed = source.End(ctx)
	}
	if failed != nil {
		source.Pipe().Abort(failed)
	}
	return errors.Join(err, source.Close())
}
