package mover

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"coffer/chunkfmt"
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
func (sp *spooling) plan(ctx context.Context, r *replayer, path []*session) error {
	sp.unsent = nil
	for i, s := range path {
		first := sp.first(s.ordinal)
		if first == 0 {
			continue
		}
		session := forward.Session{ID: s.id, Ordinal: s.ordinal, Acked: s.prev.Last, Last: r.head.Seq}
		if i+1 < len(path) {
			session.Last = path[i+1].prev.Last
		}
		if first.Number() > 1 {
			session.Acked = first - 1
		}
		stable, err := sp.stable(ctx, r, s)
		if err != nil {
			return err
		}
		if stable.Ordinal() == s.ordinal {
			session.Acked = max(session.Acked, stable)
		}
		if session.Acked < session.Last {
			sp.unsent = append(sp.unsent, session)
		}
	}
	return nil
}

// stable is what tags far away say to be acknowledged there. They may say less than is, and then some of it is sent
// once more.
func (sp *spooling) stable(ctx context.Context, r *replayer, s *session) (chunkfmt.Seq, error) {
	far := *s
	far.data = nil
	for _, c := range s.data {
		if !spool.IsNear(c.id) {
			far.data = append(far.data, c)
		}
	}
	return r.watermark(ctx, &far)
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
	sp.f = forward.Start(ctx, sp.config(m, sp.s.keys.ID), append(sp.unsent, live))
}

func (sp *spooling) config(m Starter, volume chunkfmt.VolumeID) forward.Config {
	s := sp.s
	return forward.Config{
		Volume: s.keys.ID, Near: s.o.Spool.Near, Catalog: sp.catalog, Starter: m, NewName: monitor.NewName,
		Sender: func(name string, session forward.Session, cargo agent.Cargo) *agent.Sender {
			return s.newSender(name, volume, session, cargo)
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
	if sender := sp.f.Status().Sender; sender == nil || !sender.Attached {
		linger = 0
	}
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-sp.f.Done():
	case <-t.C:
	}
	sp.f.Stop()
	sp.watched.Wait()
	sp.drained = sp.f.Err() == nil
	return nil
}

// Forwarder moves on what is in the spool; nil without one.
func (s *Source) Forwarder() *forward.Forwarder {
	if s.spool == nil {
		return nil
	}
	return s.spool.f
}
