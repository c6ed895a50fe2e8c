package mover

import (
	"context"
	"errors"
	"fmt"

	"coffer/chunkfmt"
	"coffer/media"
)

// Report tells what a rebuild found.
type Report struct {
	Sessions uint32 // ordinal of the newest session
	Last     chunkfmt.Seq
	Chunks   int
	Inodes   uint64
	Bytes    uint64
	// Checkpoint is what the index was made of, with the log behind it; nil: of the log alone.
	Checkpoint *Loaded
	Passed     int // newer checkpoints that could not be used
}

// Rebuild makes the index and the catalog of a volume anew from the media alone
// and closes them: of the newest good checkpoint and the log behind it or, with FromLog
// or where there is none, of all the log. The log must still extend what this machine acknowledged. It
// takes the volume's lock, writes nothing to the log, and can be repeated.
func Rebuild(ctx context.Context, o Options) (_ Report, err error) {
	s := newSource(o)
	defer func() { err = errors.Join(err, s.release()) }()
	if err := s.openState(ctx); err != nil {
		return Report{}, err
	}
	if s.spool != nil {
		if err := s.lock(ctx); err != nil {
			return Report{}, err
		}
	}
	if s.catalog != nil {
		if err := s.catalog.Rebuild(ctx); err != nil {
			return Report{}, err
		}
	}
	if err := s.resetIndex(); err != nil {
		return Report{}, err
	}
	begin, err := s.recover(ctx)
	if err != nil {
		return Report{}, err
	}
	chunks, err := o.Medium.List(ctx, media.VolumePrefix(s.keys.ID))
	if err != nil {
		return Report{}, fmt.Errorf("count the chunks: %w", err)
	}
	r := Report{
		Sessions: begin.ordinal - 1, Last: begin.prev.Seq, Chunks: len(chunks),
		Checkpoint: s.loaded, Passed: s.passed,
	}
	r.Inodes, r.Bytes = s.index.Counts()
	return r, nil
}
