package mover

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/pipeline/stage"
)

// defaultCheckpointAfter is about a second's work for who has no index: the log of some 130,000
// files, of which 4 MiB are stored.
const defaultCheckpointAfter = 32 << 20

// checkpointer puts checkpoints into the log of a session.
type checkpointer struct {
	after  uint64
	index  *index.Index
	writer *stage.Writer
	log    *slog.Logger

	turn   chan struct{} // has a token while nobody is at it
	sealed chan struct{} // has a token when the index has another archive
	cancel context.CancelFunc
	group  sync.WaitGroup // run
}

// start begins to write checkpoints of their own accord, when archives are sealed.
func (c *checkpointer) start(ctx context.Context) {
	ctx, c.cancel = context.WithCancel(ctx)
	c.turn <- struct{}{}
	c.group.Go(func() { c.run(ctx) })
}

// stop gives up a checkpoint that is under way, and returns when nobody reads the index for one.
func (c *checkpointer) stop() {
	c.cancel()
	c.group.Wait()
}

// seal says that the index has taken in batches.
func (c *checkpointer) seal(batches []index.Batch) {
	for i := range batches {
		for j := range batches[i].Records {
			r := &batches[i].Records[j]
			if r.Kind != chunkfmt.RecArchive || r.Op != chunkfmt.OpPut {
				continue
			}
			select {
			case c.sealed <- struct{}{}:
			default:
			}
			return
		}
	}
}

func (c *checkpointer) run(ctx context.Context) {
	for {
		select {
		case <-c.sealed:
		case <-ctx.Done():
			return
		}
		err := c.write(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, stage.ErrClosed) {
			c.log.Warn("no checkpoint was written; the next archive is another chance", "cause", err)
		}
	}
}

// write writes a checkpoint if one is due.
func (c *checkpointer) write(ctx context.Context) error {
	select {
	case <-c.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { c.turn <- struct{}{} }()
	behind, image := c.index.Logged()
	if behind <= max(image, c.after) {
		return nil
	}
	im, err := c.index.Image()
	if err != nil {
		return err
	}
	defer im.Close()
	if err := c.writer.Collector().Checkpoint(ctx, im); err != nil {
		return err
	}
	c.index.Checkpointed(im)
	c.log.Debug("a checkpoint was written", "head", im.Head().Seq.String(), "bytes", im.Total())
	return nil
}

// Checkpoint puts an image of the index into the log, if the log behind the last one has become
// longer than that, and returns when it is stable. When an archive was sealed that is done anyway,
// in the background; whoever ends the session calls this before, so that it is not lost. An error
// means that there is none, and that the next machine without an index has more log to read.
func (s *Source) Checkpoint(ctx context.Context) error { return s.checkpoints.write(ctx) }
