package mover

import (
	"context"
	"fmt"
	"time"

	"coffer/chunkfmt"
	"coffer/index/keep"
	"coffer/pipeline/stage"
)

// Tree is the live tree above a Source, through which what is journalled besides its changes has
// to go. *tree.Tree is one.
type Tree interface {
	// Journal puts the records of b into the log, in one batch behind everything that was done
	// before, and returns when they are stable and in the index.
	Journal(ctx context.Context, b stage.BatchSource) error
	// Quiesce returns when every read that began before has ended.
	Quiesce(ctx context.Context) error
}

// metaKeep names the log's meta record that has the keep rules of the volume.
const metaKeep = "keep"

// forgetStep is how many archives are forgotten by one batch.
const forgetStep = 10_000

// encode makes a BatchSource of a function.
type encode func(w stage.RecordSink) error

// Encode implements stage.BatchSource.
func (e encode) Encode(w stage.RecordSink) error { return e(w) }

// Forget forgets archives, which must be there. What they alone needed of the history goes with
// them; of the groups, Prune takes care.
func (s *Source) Forget(ctx context.Context, t Tree, archives []chunkfmt.ArchiveRecord) error {
	for len(archives) > 0 {
		n := min(len(archives), forgetStep)
		some := archives[:n]
		archives = archives[n:]
		err := t.Journal(ctx, encode(func(w stage.RecordSink) error {
			for i := range some {
				r := chunkfmt.Record{Op: chunkfmt.OpDelete, Kind: chunkfmt.RecArchive, Key: chunkfmt.ArchiveKey(some[i].Number)}
				if err := w.Add(r); err != nil {
					return err
				}
			}
			return nil
		}))
		if err != nil {
			return fmt.Errorf("forget %d archives: %w", n, err)
		}
	}
	return nil
}

// SetKeep makes rules those of the volume, by which archives are forgotten as others are sealed;
// nil: none are.
func (s *Source) SetKeep(ctx context.Context, t Tree, rules *keep.Rules) error {
	r := chunkfmt.Record{Op: chunkfmt.OpDelete, Kind: chunkfmt.RecMeta, Key: chunkfmt.MetaKey(metaKeep)}
	if rules != nil {
		r.Op, r.Value = chunkfmt.OpPut, rules.Encode()
	}
	if err := t.Journal(ctx, encode(func(w stage.RecordSink) error { return w.Add(r) })); err != nil {
		return fmt.Errorf("set the keep rules: %w", err)
	}
	return nil
}

// KeepIndex is what keep rules need of an index. *index.Index is one.
type KeepIndex interface {
	Meta(name string) (value []byte, ok bool, err error)
	Archives(after uint32, f func(chunkfmt.ArchiveRecord) bool) error
}

// KeepOf gives the keep rules of the volume; false if it has none.
func KeepOf(x KeepIndex) (keep.Rules, bool, error) {
	b, ok, err := x.Meta(metaKeep)
	if err != nil || !ok {
		return keep.Rules{}, false, err
	}
	r, err := keep.Decode(b)
	if err != nil {
		return r, false, fmt.Errorf("the keep rules of the volume: %w", err)
	}
	return r, true, nil
}

// ForgottenBy gives the archives that rules do not keep, in this machine's time zone.
func ForgottenBy(x KeepIndex, rules *keep.Rules) ([]chunkfmt.ArchiveRecord, error) {
	var all []chunkfmt.ArchiveRecord
	err := x.Archives(0, func(a chunkfmt.ArchiveRecord) bool {
		all = append(all, a)
		return true
	})
	if err != nil {
		return nil, err
	}
	return rules.Forget(all, time.Local)
}

// ApplyKeep forgets what the keep rules of the volume do not keep, if it has any, and says what.
func (s *Source) ApplyKeep(ctx context.Context, t Tree) ([]chunkfmt.ArchiveRecord, error) {
	rules, ok, err := KeepOf(s.index)
	if err != nil || !ok {
		return nil, err
	}
	gone, err := ForgottenBy(s.index, &rules)
	if err != nil {
		return nil, fmt.Errorf("apply the keep rules: %w", err)
	}
	return gone, s.Forget(ctx, t, gone)
}
