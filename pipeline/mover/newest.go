package mover

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
	"coffer/pipeline/stage"
)

// newest is a view that is brought up to date, for a Reader whose own is not: only it knows where blocks are that were
// moved since. What is there to be read is the Reader's alone to say.
type newest struct {
	mu     sync.Mutex // guards what follows; held while it is opened
	view   *Reader
	closed bool
}

// newestCache limits the groups that are kept for it: few are read there.
const newestCache = 8 << 20

// looks that CatchUp takes to be sure of what was stable when the first began.
const looks = 3

// moved reads a group that was taken off the media since the Reader's view was made.
func (r *Reader) moved(ctx context.Context, seq chunkfmt.Seq, p []byte, off uint32) error {
	view := r
	if !r.o.Follow {
		var err error
		if view, err = r.newest.get(r); err != nil {
			return fmt.Errorf("look for group %v in a newer state: %w", seq, err)
		}
	}
	err := view.groups.ReadKnown(ctx, seq, p, off)
	for i := 0; i < looks && errors.Is(err, media.ErrNoTag) && ctx.Err() == nil; i++ {
		if _, err := view.CatchUp(ctx); err != nil {
			return fmt.Errorf("look for group %v in a newer state: %w", seq, err)
		}
		err = view.groups.ReadKnown(ctx, seq, p, off)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	_, _, known, failed := view.index.Group(seq)
	if failed == nil && !known {
		err = fmt.Errorf("it was pruned since this view of the volume was made: %w", err)
	}
	return errors.Join(err, failed)
}

// Newest gives the view of the log as it is now.
func (r *Reader) Newest(ctx context.Context) (*index.Index, error) {
	view := r
	if !r.o.Follow {
		var err error
		if view, err = r.newest.get(r); err != nil {
			return nil, err
		}
	}
	for range looks {
		if _, err := view.CatchUp(ctx); err != nil {
			return nil, err
		}
	}
	return view.index, nil
}

func (n *newest) get(r *Reader) (*Reader, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, stage.ErrClosed
	}
	if n.view != nil {
		return n.view, nil
	}
	o := r.o
	o.Follow, o.CacheBytes = true, newestCache
	copied := ""
	if o.Copied != nil {
		var err error
		if copied, err = o.Copied(r.life); err != nil {
			return nil, err
		}
	}
	view, err := OpenReader(r.life, o, copied)
	n.view = view
	return view, err
}

func (n *newest) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.view == nil {
		return nil
	}
	return n.view.Close()
}
