package tree

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// maxUnacked is how many cuts may be under way before the next waits, and so
// gathers more of those who want one.
const maxUnacked = 2

// request is a wish for a cut.
type request struct {
	kind  stage.MarkerKind
	label string
	more  stage.BatchSource // what is to be journalled besides; nil: nothing
	cut   chan struct{}     // closed when the rest holds
	epoch *epoch            // to wait for; nil: there was nothing to do
	err   error
	// archive is the time of the archive that was made; 0: none was.
	archive int64
}

// Sync returns when everything that was done before it was called is stable.
// It is also what fsync of a file or directory is. Concurrent calls share a cut.
func (t *Tree) Sync(ctx context.Context) error {
	return t.await(ctx, t.request(stage.MarkCut, ""))
}

func (t *Tree) request(kind stage.MarkerKind, label string) *request {
	t.mu.Lock()
	defer t.mu.Unlock()
	if kind == stage.MarkCut && t.shared != nil {
		return t.shared
	}
	r := &request{kind: kind, label: label, cut: make(chan struct{})}
	if kind == stage.MarkCut && !t.stopped {
		t.shared = r
		t.kick(t.asked)
		return r
	}
	t.queue(r)
	return r
}

// queue enters a wish that nobody shares; mu is held.
func (t *Tree) queue(r *request) {
	if t.stopped {
		r.finish(nil, t.stopError())
		return
	}
	t.special = append(t.special, r)
	t.kick(t.asked)
}

func (r *request) finish(e *epoch, err error) {
	r.epoch, r.err = e, err
	close(r.cut)
}

// stopError is why no cut can be had any more.
func (t *Tree) stopError() error {
	if err := t.refuse(); err != nil {
		return err
	}
	return fmt.Errorf("%w: the tree is closed", unix.EIO)
}

func (t *Tree) await(ctx context.Context, r *request) error {
	select {
	case <-r.cut:
	case <-ctx.Done():
		return fmt.Errorf("%w: wait for a cut: %w", unix.EINTR, ctx.Err())
	}
	if r.err != nil || r.epoch == nil {
		return r.err
	}
	select {
	case <-r.epoch.done:
		return r.epoch.err
	case <-ctx.Done():
		return fmt.Errorf("%w: wait until a cut is stable: %w", unix.EINTR, ctx.Err())
	}
}

// start begins the tree's goroutines.
func (t *Tree) start(ctx context.Context) {
	ctx, t.cancel = context.WithCancel(ctx)
	background, stop := context.WithCancel(ctx)
	t.defrag.stop = stop
	t.defrag.wg.Go(func() { t.defragmenter(background) })
	t.cutting.Go(func() { t.cutter(ctx) })
	t.applied.Go(func() {
		defer close(t.applierGone)
		t.applier(ctx)
	})
}

// cutter takes all cuts: those asked for, one when changes get old, and one when
// they get many.
func (t *Tree) cutter(ctx context.Context) {
	defer t.stopCutting()
	timer := time.NewTimer(t.cfg.CutEvery)
	defer timer.Stop()
	archive := t.archiveTicker()
	defer archive.Stop()
	var gone <-chan struct{}
	if t.cfg.Pipe != nil {
		gone = t.cfg.Pipe.Done()
	}
	ended := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.failing:
			return
		case <-gone:
			gone = nil
			if err := t.cfg.Pipe.Err(); err != nil {
				t.fail(fmt.Errorf("the pipe has failed: %w", err))
				return
			}
			continue
		case <-t.dirtied:
			timer.Reset(t.cfg.CutEvery)
			continue
		case <-timer.C:
			t.request(stage.MarkCut, "")
			continue
		case <-archive.C:
			t.request(stage.MarkArchive, "")
			continue
		case <-t.pressed:
			t.request(stage.MarkCut, "")
			continue
		case <-t.asked:
		case <-t.landed:
		}
		for !ended {
			r := t.nextRequest()
			if r == nil {
				break
			}
			if r.kind == stage.MarkArchive && t.cfg.ArchiveEvery > 0 {
				archive.Reset(t.cfg.ArchiveEvery)
			}
			if ended = t.cut(ctx, r); ended {
				t.stopCutting() // and look after the pipe until Close
			}
		}
	}
}

// stopCutting answers those who still wait for a cut.
func (t *Tree) stopCutting() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.shared != nil {
		t.shared.finish(nil, t.stopError())
		t.shared = nil
	}
	for _, r := range t.special {
		r.finish(nil, t.stopError())
	}
	t.special = nil
	for _, e := range t.unacked {
		if !e.stable && t.failure.Load() != nil {
			e.tell(t.stopError())
		}
	}
}

// nextRequest says which wish is to be fulfilled now, if any. A shared one stays
// open to others until its freeze.
func (t *Tree) nextRequest() *request {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.unacked) >= maxUnacked && !t.unacked[len(t.unacked)-maxUnacked].told {
		return nil
	}
	if len(t.special) > 0 {
		return t.special[0]
	}
	return t.shared
}

// taken closes a request to others.
func (t *Tree) taken(r *request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r == t.shared {
		t.shared = nil
	} else {
		t.special = t.special[1:]
	}
}

// cut fulfils r, and says whether that was the last one.
func (t *Tree) cut(ctx context.Context, r *request) (last bool) {
	if r.kind == stage.MarkCut && r.more == nil && t.clean(r) {
		return false
	}
	if r.kind == stage.MarkArchive && t.unaltered(r) {
		return false
	}
	slot, err := t.cfg.Collector.Prepare(ctx)
	if err != nil {
		t.taken(r)
		if t.passes(err) {
			r.finish(nil, t.writeError(err))
			t.kick(t.dirtied) // and look again when it is time
			return false
		}
		if ctx.Err() == nil {
			t.fail(fmt.Errorf("prepare a cut: %w", err))
		}
		r.finish(nil, t.stopError())
		return true
	}
	defer slot.Release()
	m := stage.Marker{Kind: r.kind, Batch: r.more}
	t.taken(r)
	if r.kind == stage.MarkArchive {
		if r.archive, err = t.archiveTime(); err != nil {
			r.finish(nil, err)
			return false
		}
		m.Archive = chunkfmt.ArchiveRecord{Time: r.archive, Label: r.label}
	}
	r.finish(t.freeze(slot, m), nil)
	return r.kind == stage.MarkEnd
}

// clean fulfils r without a cut, if everything is stable or on its way.
func (t *Tree) clean(r *request) bool {
	t.epochMu.RLock()
	e := t.cur
	t.epochMu.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	// Nobody can join any more once the open epoch was seen to be clean.
	if e.dirty.Load() != nil || t.last != nil && t.last.told && !t.last.stable {
		return false
	}
	t.shared = nil
	r.finish(t.last, nil)
	return true
}

// enqueue enters a frozen epoch; it is not acknowledged before.
func (t *Tree) enqueue(e *epoch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unacked = append(t.unacked, e)
	t.last = e
	t.cuts++
	if t.failure.Load() != nil {
		e.tell(t.refuse())
	}
}

// journalled is told by the pipe what a cut has put into the log.
func (t *Tree) journalled(e *epoch, j stage.Journal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.journal = j
}

// passes says of an error that what waits is kept, and becomes stable when the medium takes it again.
func (t *Tree) passes(err error) bool {
	return t.cfg.Full != nil && errors.Is(err, t.cfg.Full) || t.cfg.Away != nil && errors.Is(err, t.cfg.Away)
}

// acked is told by the pipe what became of a cut. Where the medium takes nothing for now, the
// cut stays queued, and the next one that becomes stable says so of this one.
func (t *Tree) acked(e *epoch, err error) {
	waits := t.passes(err)
	if err != nil && !waits {
		t.fail(fmt.Errorf("make cut %d stable: %w", e.n, err))
		return
	}
	t.mu.Lock()
	if waits {
		e.tell(t.writeError(err))
		t.kick(t.dirtied) // another cut will tell when this one is stable
	} else {
		t.landedUpTo(e)
	}
	t.mu.Unlock()
	t.kick(t.landed)
	t.kick(t.applies)
}

// landedUpTo makes e and all before it stable; mu is held.
func (t *Tree) landedUpTo(e *epoch) {
	for len(t.unacked) > 0 && t.unacked[0].n <= e.n {
		u := t.unacked[0]
		t.unacked = t.unacked[1:]
		u.stable = true
		u.tell(nil)
		t.unapplied = append(t.unapplied, u)
	}
	t.ackedEpoch.Store(max(t.ackedEpoch.Load(), e.n))
	t.lastStable = t.cfg.Clock()
}
