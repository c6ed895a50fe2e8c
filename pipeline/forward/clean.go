package forward

import (
	"context"
	"errors"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
)

// cleanTime is after how long it is tried again to make room for writers who wait: a chunk may have been closed since.
const cleanTime = time.Second

// clean removes chunks near by as soon as all of their tags are stable far away, until ctx ends; then once more.
func (f *Forwarder) clean(ctx context.Context) {
	var cleaned chunkfmt.Seq
	tick := time.NewTicker(cleanTime)
	defer tick.Stop()
	for ended := false; !ended; {
		usage, filled := f.cfg.Near.Usage()
		f.mu.Lock()
		remote, changed := f.remote, f.changed
		f.mu.Unlock()
		var again <-chan time.Time
		if usage.Waiting {
			again = tick.C
		}
		if remote == cleaned {
			select {
			case <-changed:
				continue
			case <-filled:
			case <-again:
			case <-ctx.Done():
				ended = true
			}
		}
		if err := f.remove(context.WithoutCancel(ctx), f.Remote()); err != nil {
			f.cfg.Log.Warn("a chunk of the spool could not be removed", "cause", err)
		}
		cleaned = remote
	}
}

// remove removes what is not needed any more, oldest first, so that what a crash leaves has no gap.
func (f *Forwarder) remove(ctx context.Context, remote chunkfmt.Seq) error {
	for _, c := range f.cfg.Catalog.Chunks() {
		// Of an earlier session than that of remote nothing is wanted, also what is void.
		if c.Open || c.Last > remote && c.ID.Ordinal() >= remote.Ordinal() {
			continue
		}
		// Readers who do not find a group there any more look it up once more, and are to find it far away.
		f.cfg.Catalog.RemoveChunk(c.ID)
		if err := f.cfg.Near.Remove(ctx, c.Name); err != nil && !errors.Is(err, media.ErrNotExist) {
			return errors.Join(err, f.cfg.Catalog.Refresh(ctx))
		}
	}
	return nil
}

// Clear removes all chunks near by. Nothing is being written, and all that counts is stable far away.
func Clear(ctx context.Context, cfg Config) error {
	f := &Forwarder{cfg: cfg}
	return f.remove(ctx, chunkfmt.MakeSeq(chunkfmt.MaxOrdinal, chunkfmt.MaxNumber))
}

// Pending is how many bytes are near by and not stable far away.
func (f *Forwarder) Pending() (sum int64) {
	remote := f.Remote()
	for _, c := range f.cfg.Catalog.Chunks() {
		switch {
		case c.ID.Mirror() || c.Last <= remote || c.ID.Ordinal() < remote.Ordinal():
		case c.First > remote:
			sum += c.Size
		default:
			sum += c.Size
			if at, err := f.cfg.Catalog.Lookup(remote + 1); err == nil && at.Chunk == c.ID {
				sum -= int64(at.Offset)
			}
		}
	}
	return sum
}

// watch tells writers who wait for room that none will come, until ctx ends.
func (f *Forwarder) watch(ctx context.Context) {
	told := false
	for {
		usage, filled := f.cfg.Near.Usage()
		f.mu.Lock()
		cause, changed := f.failed, f.changed
		if cause == nil {
			cause = f.stalled
		}
		f.mu.Unlock()
		if tell := usage.Waiting && cause != nil; (tell || told) && f.cfg.OnStalled != nil {
			if !tell {
				cause = nil
			}
			f.cfg.OnStalled(cause)
			told = tell
		}
		select {
		case <-filled:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
