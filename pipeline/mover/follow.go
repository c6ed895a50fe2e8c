package mover

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
)

// following is what a Reader that follows the log remembers of it from one look to the next.
type following struct {
	mu     sync.Mutex // one look at a time; guards what follows
	sizes  map[string]int64
	synced map[string]int64 // sizes of chunks when they were last made stable
	scans  scans
	done   bool // all of what is there counts, or never will
}

const (
	followEvery  = time.Second      // how often Keep looks
	followPause  = 10 * time.Second // how long it waits at most
	lookPatience = 10 * time.Second // what it takes longer for is worth a word
)

// Keep brings the view up to date every second, or every ten where a look takes long, until ctx ends. It tells
// how each look went, and goes on: what can't be read now is looked at again.
func (r *Reader) Keep(ctx context.Context, tell func(error)) {
	for ctx.Err() == nil {
		start := time.Now()
		r.looking.Store(&start)
		long := time.AfterFunc(lookPatience, func() { r.o.Log.Warn("still looking for what is new: does the store answer?", "since", start) })
		_, err := r.CatchUp(ctx)
		long.Stop()
		r.looking.Store(nil)
		if ctx.Err() != nil {
			return
		}
		tell(err)
		wait := time.NewTimer(min(max(followEvery, 50*time.Since(start)), followPause))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
}

// Waiting says since when Keep has been looking, if that is for long: a server that is away does not say so.
func (r *Reader) Waiting() (since time.Time, long bool) {
	at := r.looking.Load()
	if at == nil || time.Since(*at) < lookPatience {
		return time.Time{}, false
	}
	return *at, true
}

// CatchUp brings the view of a Reader that was opened with Options.Follow up to date with the log, and says whether
// there was anything new. Nothing is shown that a crash could still take back. What was written since the last look
// may wait for the next one, or the one after that.
//
// An error leaves the view as it was; errors are those of OpenReader. One goroutine at a time does it, and others wait.
func (r *Reader) CatchUp(ctx context.Context) (changed bool, err error) {
	f, s := &r.following, r.source
	f.mu.Lock()
	defer f.mu.Unlock()
	applied := r.index.Head()
	all, from, err := s.list(ctx, applied)
	if err != nil {
		return false, err
	}
	before := f.sizes
	f.sizes = map[string]int64{}
	for _, one := range all {
		for _, c := range one.chunks() {
			f.sizes[c.name] = c.size
		}
	}
	grown := !maps.Equal(before, f.sizes)
	if !grown && f.done || before == nil {
		return false, nil
	}
	f.done = false
	path, _, err := s.log.path(ctx, listed(all, before), from)
	if err != nil || len(path) == 0 {
		return false, err
	}
	if f.scans == nil {
		f.scans = scans{}
	}
	replay := &replayer{log: s.log, slog: s.o.Log, acked: applied, scans: f.scans, ackedOnly: grown}
	replay.apply = func(batches []index.Batch, head index.Head, locate index.Locate) error {
		if head == applied {
			return nil
		}
		if err := f.stabilise(ctx, s.o.Medium, path); err != nil {
			return err
		}
		changed = true
		return r.index.Apply(batches, head, locate)
	}
	if s.spool == nil { // whose chunks are in no order
		if err := replay.leaveOut(ctx, path, applied.Seq); err != nil {
			return false, err
		}
	}
	if err := replay.verify(ctx, path, applied); err != nil {
		return false, err
	}
	if err := replay.run(ctx, path, applied); err != nil {
		return changed, err
	}
	f.done = !grown
	f.scans.keep(path)
	return changed, nil
}

// list lists the sessions that may have something beyond a head.
func (s *Source) list(ctx context.Context, head index.Head) (all []*session, from uint32, err error) {
	from = head.Ordinal
	if s.spool != nil {
		if err := s.spool.catalog.Refresh(ctx); err != nil {
			return nil, 0, err
		}
		from = s.spool.from(from)
	}
	all, err = s.log.sessions(ctx, from)
	return all, from, err
}

// listed leaves out the chunks that an earlier list does not have, and of mirrors what came since. So what is left
// says to be acknowledged nothing that is not in it, whatever was written while it was being listed.
// A chunk that a cleaner has written anew says what it said before.
func listed(all []*session, before map[string]int64) (sessions []*session) {
	known := map[chunkfmt.ChunkID]bool{}
	for name := range before {
		if _, id, ok := media.ParseChunkName(name); ok {
			known[id.Of(0)] = true
		}
	}
	fresh := func(c chunk) bool { return !known[c.id.Of(0)] }
	for _, s := range all {
		s.data, s.mirrors = slices.DeleteFunc(s.data, fresh), slices.DeleteFunc(s.mirrors, fresh)
		for i := range s.mirrors {
			if size, ok := before[s.mirrors[i].name]; ok {
				s.mirrors[i].size = size
			}
		}
		if len(s.chunks()) > 0 {
			sessions = append(sessions, s)
		}
	}
	return sessions
}

// leaveOut leaves out the chunks that end before seq, which is of the first session.
func (r *replayer) leaveOut(ctx context.Context, path []*session, seq chunkfmt.Seq) error {
	s := path[0]
	if s.ordinal != seq.Ordinal() {
		return nil
	}
	for _, list := range []*[]chunk{&s.data, &s.mirrors} {
		for i := len(*list) - 1; i > 0; i-- {
			entries, err := r.entries(ctx, s, (*list)[i])
			if err != nil {
				return err
			}
			if len(entries) > 0 && entries[0].Tag.Seq <= seq {
				*list = (*list)[i:]
				break
			}
		}
	}
	return nil
}

// keep forgets what chunks hold that are not among those of the last session.
func (k scans) keep(path []*session) {
	names := map[string]bool{}
	for _, c := range path[len(path)-1].chunks() {
		names[c.name] = true
	}
	maps.DeleteFunc(k, func(name string, _ *scan) bool { return !names[name] })
}

// stabilise makes durable what is about to be shown; see Source.stabilise.
func (f *following) stabilise(ctx context.Context, m media.Medium, path []*session) error {
	syncer, ok := m.(media.Syncer)
	if !ok {
		return nil
	}
	if f.synced == nil {
		f.synced = map[string]int64{}
	}
	names := map[string]bool{}
	for _, s := range path {
		for _, c := range s.chunks() {
			names[c.name] = true
			if f.synced[c.name] == c.size {
				continue
			}
			if err := syncer.Sync(ctx, c.name); err != nil {
				return fmt.Errorf("make what was written stable: %w", err)
			}
			f.synced[c.name] = c.size
		}
	}
	maps.DeleteFunc(f.synced, func(name string, _ int64) bool { return !names[name] })
	return nil
}
