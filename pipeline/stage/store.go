package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline"
)

// storeConfig says where a store stage puts what it is given.
type storeConfig struct {
	store     chunkfmt.StoreID
	volume    chunkfmt.VolumeID
	session   chunkfmt.SessionID
	ordinal   uint32
	chunk     uint32 // number of the last chunk that the session has already, of either kind
	medium    media.Medium
	catalog   Catalog
	chunkSize int64 // bytes
	eager     bool  // make stable, and acknowledge, also what nobody waits for
	log       *slog.Logger
	faults    Faults
}

// storeOwner is told what becomes of what a store stage was given. The methods are called by the stage's
// goroutine, ack and Acked also by that of its syncer.
type storeOwner interface {
	// appended: so many bytes more lie on the medium.
	appended(bytes int)
	// placed: the groups lie in the chunk, at the offsets of their tags. They are readable there, and not stable.
	placed(sl *sealed, chunk chunkfmt.ChunkID)
	// ack: all up to seq is stable, and mark with it, if there is one.
	ack(seq chunkfmt.Seq, mark *waiter, head Head)
	// Acked is the last number that was acknowledged.
	Acked() chunkfmt.Seq
	// stalled: the medium takes nothing more for now; nil: it does again. It says whether that is news.
	stalled(err error) bool
	// retrying has a token when the stage is to try a medium that takes nothing once more.
	retrying() <-chan struct{}
	// fail: the stage has ended, nothing more will be acknowledged.
	fail(err error)
}

// store is the tail: it appends tags to the open chunk, copies those of
// metadata to a mirror chunk, and has a goroutine of its own to sync and
// acknowledge, so that appends go on meanwhile. It has one instance.
type store struct {
	cfg   storeConfig
	owner storeOwner
	port  *pipeline.Port
	sync  *syncer

	main, mirror chunkWriter
	held         *pipeline.Buffer // only with Faults.BatchFirst
}

func newStore(owner storeOwner, cfg storeConfig) *store {
	s := &store{owner: owner, cfg: cfg}
	s.main.s, s.mirror.s, s.mirror.mirror = s, s, true
	s.main.number, s.mirror.number = cfg.chunk, cfg.chunk
	return s
}

func (s *store) Run(parent context.Context, p *pipeline.Port) (err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	s.port = p
	s.sync = newSyncer(s.owner, &s.cfg)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.sync.run(ctx); err != nil {
			cancel(mediumFailed(ctx, err))
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
			s.owner.fail(err)
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
		if s.cfg.faults.BatchFirst {
			buf, err = s.batchFirst(ctx, buf, err)
		}
		if buf != nil {
			if err := s.buffer(ctx, buf); err != nil {
				return mediumFailed(ctx, err)
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// mediumFailed says whose failure err is, unless it is the end of ctx.
func mediumFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrMedium, err)
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
	s.owner.placed(sl, s.main.header.Chunk)
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
	case sl.mark != nil || s.cfg.eager:
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
	if s.owner.stalled(fmt.Errorf("waiting for space: %w", err)) {
		s.cfg.log.Warn("medium is full: waiting for space", "error", err)
	}
	t := time.NewTimer(spaceTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.owner.retrying():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
