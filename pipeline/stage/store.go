package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline"
)

// store is the tail: it appends tags to the open chunk, copies those of
// metadata to a mirror chunk, and has a goroutine of its own to sync and
// acknowledge, so that appends go on meanwhile. It has one instance.
type store struct {
	w    *Writer
	port *pipeline.Port
	sync *syncer

	main, mirror chunkWriter
	held         *pipeline.Buffer // only with Faults.BatchFirst
}

func newStore(w *Writer) *store {
	s := &store{w: w}
	s.main.s, s.mirror.s, s.mirror.mirror = s, s, true
	return s
}

func (s *store) Run(parent context.Context, p *pipeline.Port) (err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	s.port = p
	s.sync = newSyncer(s.w)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.sync.run(ctx); err != nil {
			cancel(err)
		}
	}()
	defer func() {
		if err != nil {
			cancel(err)
		}
		s.sync.close()
		<-ended
		s.sync.drop()
		s.main.discard()
		s.mirror.discard()
		// The first cause is the syncer's, if it was the one to fail.
		if err = context.Cause(ctx); err != nil {
			s.w.waiters.fail(err)
		}
	}()
	if err := s.receive(ctx); err != nil {
		return err
	}
	s.main.finish(ctx)
	s.mirror.finish(ctx)
	return nil
}

func (s *store) receive(ctx context.Context) error {
	for {
		buf, err := s.port.ReceiveBuf(ctx)
		if err != nil && err != io.EOF {
			return err
		}
		if s.w.cfg.Faults.BatchFirst {
			buf, err = s.batchFirst(ctx, buf, err)
		}
		if buf != nil {
			if err := s.buffer(ctx, buf); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// batchFirst breaks the order of the log: a buffer of data waits until a batch
// behind it was written.
func (s *store) batchFirst(ctx context.Context, buf *pipeline.Buffer, err error) (*pipeline.Buffer, error) {
	if buf != nil && buf.Payload.(*sealed).groups[0].kind != chunkfmt.KindData {
		return buf, err
	}
	if buf != nil && s.held == nil {
		s.held = buf
		return nil, err
	}
	buf, s.held = s.held, buf
	return buf, err
}

// buffer appends what lies in buf, and gives it back.
func (s *store) buffer(ctx context.Context, buf *pipeline.Buffer) error {
	sl := buf.Payload.(*sealed)
	raw := buf.Raw()[:sl.length]
	first := sl.groups[0]
	if err := s.main.append(ctx, sl.groups, raw); err != nil {
		return err
	}
	id := s.main.header.Chunk
	var plain, stored int64
	for i := range sl.groups {
		g := &sl.groups[i]
		if g.kind == chunkfmt.KindData {
			g.entry.store(chunkfmt.Location{Chunk: id, Offset: g.tag.Offset, Length: uint32(g.tag.StoredLen())})
			plain += int64(g.private.RawLen)
			stored += int64(g.length)
		}
	}
	s.w.space.pending.Add(-plain)
	s.w.stats.dataStored.Add(stored)
	if first.kind != chunkfmt.KindData {
		if err := s.mirror.append(ctx, sl.groups, raw); err != nil {
			return err
		}
	}
	last := sl.groups[len(sl.groups)-1].seq
	switch {
	case first.kind == chunkfmt.KindSessionHeader:
		// The session exists before anything of it does.
		if err := s.sync.now(ctx, last, &s.main, &s.mirror); err != nil {
			return err
		}
	case sl.mark != nil:
		s.sync.add(syncJob{chunk: s.main.app, upTo: last, mark: sl.mark, head: sl.head})
	}
	s.port.FreeBuf(buf)
	return nil
}

// retry says whether to try once more after an append or create has failed
// with err. It waits for space if that is what is missing, and tells those who
// wait for acknowledgements.
func (s *store) retry(ctx context.Context, err error) error {
	if !errors.Is(err, media.ErrFull) {
		return err
	}
	if s.w.waiters.stalled(fmt.Errorf("waiting for space: %w", err)) {
		s.w.cfg.Log.Warn("medium is full: waiting for space", "error", err)
	}
	t := time.NewTimer(spaceTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.w.waiters.retry:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
