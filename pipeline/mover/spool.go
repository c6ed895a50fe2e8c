package mover

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
	"coffer/media/spool"
	"coffer/pipeline"
	"coffer/pipeline/agent"
	"coffer/pipeline/forward"
	"coffer/pipeline/monitor"
	"coffer/pipeline/stage"
)

// Spool is a medium near by that stands in front of a store far away: what is written is stable when it is there, and
// goes on in the background.
type Spool struct {
	Near        *spool.Near // of this volume; not closed by the Source
	CatalogPath string      // the file of its catalog, beside it; "" keeps it in memory
	// Linger is for how long Close lets what is left go on, where the other machine answers; 0: not at all. What is not
	// there then stays near by, and goes on when the volume is next opened.
	Linger time.Duration
}

// spoolCatalog is the file of the spool's catalog.
func (o *Options) spoolCatalog() string {
	if o.Spool == nil {
		return ""
	}
	return o.Spool.CatalogPath
}

// spooling is the spool of an open Source.
type spooling struct {
	s       *Source
	catalog *media.Catalog // of what is near by
	far     media.Medium
	sent    *headFile         // what was last acknowledged far away, of which session
	unsent  []forward.Session // that earlier processes have left near by, oldest first
	f       *forward.Forwarder
	watched sync.WaitGroup
	drained bool // all is far away
}

// openSpool finds what is near by, and has the volume be read there and far away.
func (s *Source) openSpool(ctx context.Context, catalogPath string) error {
	sp := &spooling{s: s, far: s.o.Medium}
	var err error
	if sp.catalog, err = s.openCatalog(ctx, s.o.Spool.Near, catalogPath); err != nil {
		return fmt.Errorf("open the spool: %w", err)
	}
	if sp.sent, err = openHeads(filepath.Join(s.o.StateDir, "sent")); err != nil {
		return err
	}
	s.closers = append(s.closers, sp.sent.Close)
	s.spool = sp
	s.o.Medium = &spool.Tiers{Near: s.o.Spool.Near, Far: sp.far, Pending: func() int64 {
		if sp.f == nil {
			return 0
		}
		return sp.f.Pending()
	}}
	return nil
}

// first is the first number of a session that is near by; 0: none is.
func (sp *spooling) first(ordinal uint32) (first chunkfmt.Seq) {
	for _, c := range sp.catalog.Chunks() {
		if c.ID.Ordinal() == ordinal && !c.ID.Mirror() && c.Tags > 0 && (first == 0 || c.First < first) {
			first = c.First
		}
	}
	return first
}

// from is the ordinal of the first session that is to be read: one that is near by, or that of ordinal.
func (sp *spooling) from(ordinal uint32) uint32 {
	for _, c := range sp.catalog.Chunks() {
		ordinal = min(ordinal, c.ID.Ordinal())
	}
	return ordinal
}

// plan notes what of a log that was read, up to r's head, is to be moved on.
//
// What is far away it learns from acknowledgements, and not by looking: an earlier process of this machine may have asked
// for its pipe once more when it ended, and the server does away with what that one did not know to be acknowledged.
func (sp *spooling) plan(r *replayer, path []*session) {
	sp.unsent = nil
	begun := 0 // the latest session of which there is something far away: all before it is there
	for i, s := range path {
		if slices.ContainsFunc(s.data, func(c chunk) bool { return !spool.IsNear(c.id) }) {
			begun = i
		}
	}
	for i, s := range path {
		first := sp.first(s.ordinal)
		if first == 0 || i < begun {
			continue
		}
		session := forward.Session{ID: s.id, Ordinal: s.ordinal, Acked: s.prev.Last, Last: r.head.Seq}
		if i+1 < len(path) {
			session.Last = path[i+1].prev.Last
		}
		if first.Number() > 1 {
			session.Acked = first - 1
		}
		if sent := sp.sent.Last(); sent.Session == s.id {
			session.Acked = max(session.Acked, sent.Seq)
		}
		if session.Acked < session.Last {
			sp.unsent = append(sp.unsent, session)
		}
	}
}

// write has a writer write near by.
func (sp *spooling) write(config *stage.Config) {
	config.Catalog = sp.catalog
	config.Chunk = spool.FirstNumber
	config.ChunkSize = sp.s.o.Spool.Near.ChunkSize()
	config.OnAcked = func(upTo chunkfmt.Seq) { sp.f.Written(upTo) }
}

// forward begins to move on what is near by, and what the session that is about to begin puts there.
func (sp *spooling) forward(ctx context.Context, m Starter, id chunkfmt.SessionID, begin beginning) {
	live := forward.Session{ID: id, Ordinal: begin.ordinal, Acked: begin.prev.Seq}
	sp.f = forward.Start(ctx, sp.config(m, sp.s.place), append(sp.unsent, live))
}

func (sp *spooling) config(m Starter, volume chunkfmt.VolumeID) forward.Config {
	s := sp.s
	return forward.Config{
		Volume: s.keys.ID, Near: s.o.Spool.Near, Catalog: sp.catalog, Starter: m, NewName: monitor.NewName,
		Sender: func(name string, session forward.Session, cargo agent.Cargo) *agent.Sender {
			return s.newSender(name, volume, session, cargo)
		},
		OnAcked: func(session forward.Session, upTo chunkfmt.Seq) {
			// To know less is to send more than once.
			if err := sp.sent.Set(index.Head{Session: session.ID, Ordinal: session.Ordinal, Seq: upTo}); err != nil {
				s.o.Log.Warn("what is on the server could not be noted", "cause", err)
			}
		},
		OnStalled: func(err error) {
			if s.writer != nil {
				s.writer.Stalled(err)
			}
		},
		Log: s.o.Log,
	}
}

// watch has the writer's pipe fail when nothing of it will be moved on any more, and passes on that somebody waits.
func (sp *spooling) watch(pipe *pipeline.Pipe) {
	sp.watched.Go(func() {
		for {
			select {
			case <-sp.s.writer.Retry():
				sp.f.TryAgain()
			case <-sp.f.Done():
				if err := sp.f.Err(); err != nil && !errors.Is(err, forward.ErrStopped) {
					pipe.Abort(fmt.Errorf("%w; what was written is kept in the spool", err))
				}
				return
			}
		}
	})
}

// end lets what is left go on for a while. The writer has ended.
func (sp *spooling) end() error {
	if sp.f == nil {
		return nil
	}
	sp.f.End()
	linger := sp.s.o.Spool.Linger
	// Between two sessions there is nobody attached, for a moment.
	sp.wait(min(linger, attachTime))
	if sender := sp.f.Status().Sender; sender != nil && sender.Attached {
		sp.wait(linger - attachTime)
	}
	sp.f.Stop()
	sp.watched.Wait()
	sp.drained = sp.f.Err() == nil
	return nil
}

// attachTime is how long it may take to attach to a server that answers.
const attachTime = 2 * time.Second

// wait waits until the forwarder has ended, but not longer than for a while.
func (sp *spooling) wait(while time.Duration) {
	t := time.NewTimer(while)
	defer t.Stop()
	select {
	case <-sp.f.Done():
	case <-t.C:
	}
}

// Forwarder moves on what is in the spool; nil without one.
func (s *Source) Forwarder() *forward.Forwarder {
	if s.spool == nil {
		return nil
	}
	return s.spool.f
}
