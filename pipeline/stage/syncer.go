package stage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"coffer/chunkfmt"
	"coffer/media"
)

// syncJob asks to make a chunk stable.
type syncJob struct {
	chunk  media.Appender
	upTo   chunkfmt.Seq // stable then; 0: nothing more than before
	mark   *waiter      // true then
	head   Head         // with mark
	done   bool         // the chunk is to be closed
	id     chunkfmt.ChunkID
	sealed int64 // size of the chunk with its footer; 0: it has none
}

// syncer syncs chunks in the order of the jobs, and acknowledges. Jobs of one
// chunk that came while another sync was under way share one.
type syncer struct {
	owner storeOwner
	cfg   *storeConfig
	wake  chan struct{}

	mu     sync.Mutex // guards what follows; nothing is locked after it
	jobs   []syncJob
	closed bool

	syncs int // only with Faults.FailSync
}

func newSyncer(owner storeOwner, cfg *storeConfig) *syncer {
	return &syncer{owner: owner, cfg: cfg, wake: make(chan struct{}, 1)}
}

// add queues a job. All that it covers was appended before.
func (y *syncer) add(j syncJob) {
	y.mu.Lock()
	y.jobs = append(y.jobs, j)
	y.mu.Unlock()
	y.signal()
}

// close lets run return when it has done all jobs.
func (y *syncer) close() {
	y.mu.Lock()
	y.closed = true
	y.mu.Unlock()
	y.signal()
}

func (y *syncer) signal() {
	select {
	case y.wake <- struct{}{}:
	default:
	}
}

// now makes the chunks stable before it returns. There are no jobs yet.
func (y *syncer) now(ctx context.Context, upTo chunkfmt.Seq, chunks ...*chunkWriter) error {
	for _, c := range chunks {
		if err := y.stable(ctx, c.app); err != nil {
			return err
		}
	}
	y.owner.ack(upTo, nil, Head{})
	return nil
}

// run does jobs until close. After a failed sync nobody knows what is stable:
// it returns.
func (y *syncer) run(ctx context.Context) error {
	for {
		y.mu.Lock()
		jobs, closed := y.jobs, y.closed
		y.jobs = nil
		y.mu.Unlock()
		if err := y.do(ctx, jobs); err != nil {
			y.keep(jobs)
			return err
		}
		if len(jobs) > 0 {
			continue
		}
		if closed {
			return nil
		}
		select {
		case <-y.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// do syncs each stretch of jobs of one chunk once.
func (y *syncer) do(ctx context.Context, jobs []syncJob) error {
	for len(jobs) > 0 {
		n := 1
		for n < len(jobs) && jobs[n].chunk == jobs[0].chunk {
			n++
		}
		if err := y.stable(ctx, jobs[0].chunk); err != nil {
			return err
		}
		for _, j := range jobs[:n] {
			y.owner.ack(j.upTo, j.mark, j.head)
			if err := y.end(j); err != nil {
				return err
			}
		}
		jobs = jobs[n:]
	}
	return nil
}

func (y *syncer) stable(ctx context.Context, chunk media.Appender) error {
	if y.cfg.faults.NoSync {
		return nil
	}
	err := chunk.Sync(ctx)
	if y.cfg.faults.FailSync {
		if y.syncs++; y.syncs%8 == 0 {
			err = errors.Join(err, syscall.EIO)
		}
	}
	if err != nil {
		return fmt.Errorf("making a chunk stable: %w", err)
	}
	return nil
}

// end closes a chunk that is done.
func (y *syncer) end(j syncJob) error {
	if !j.done {
		return nil
	}
	if err := j.chunk.Close(); err != nil {
		y.cfg.log.Warn("closing a chunk", "chunk", j.id, "error", err)
	}
	var err error
	if j.sealed == 0 {
		err = y.cfg.catalog.LeaveChunk(j.id)
	} else {
		err = y.cfg.catalog.SealChunk(j.id, j.sealed)
	}
	if err != nil {
		return fmt.Errorf("recording chunk %v: %w", j.id, err)
	}
	return nil
}

// keep puts jobs that were not done back, for drop.
func (y *syncer) keep(jobs []syncJob) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.jobs = append(jobs, y.jobs...)
}

// drop closes the chunks of jobs that were not done when run returned.
func (y *syncer) drop() {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, j := range y.jobs {
		if j.done {
			_ = j.chunk.Close()
			_ = y.cfg.catalog.LeaveChunk(j.id) // fails for one that was ended before another job failed
		}
	}
}
