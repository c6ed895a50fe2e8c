package stage

import (
	"context"
	"fmt"

	"coffer/chunkfmt"
	"coffer/pipeline"
)

// Image gives the pieces of a checkpoint. *index.Image is one.
type Image interface {
	// Piece puts the payload of the next piece into the memory of dst, up to its
	// capacity, which is some 900 KiB, and says whether it is the last. It is not
	// called again after that, or after an error, and waits for nothing that waits
	// for the pipe.
	Piece(dst []byte) (payload []byte, last bool, err error)
}

// piecesUnderWay is how many pieces of a checkpoint may be in the pipe: enough to keep
// it busy, few beside what is being written, and what is ahead of an fsync.
const piecesUnderWay = 3

// piece is a piece of a checkpoint on its way from the head to pack.
type piece struct {
	waiter
	first, last bool
}

// Checkpoint sends an image through the pipe, among all that is written meanwhile, and
// returns when all of it is stable. What it stands for must be stable before; one at
// a time. An error means that there is no checkpoint: pieces that are there already
// tell nothing. Errors: those of the image; media.ErrFull, also when the medium has
// room but not for more than what is needed besides; ErrClosed; ErrStopped of package
// pipeline; why the pipe failed; ctx's, whose end leaves what is on its way.
func (c *Collector) Checkpoint(ctx context.Context, im Image) error {
	acks := make(chan error, piecesUnderWay) // room for all: nobody may wait to tell
	under := 0
	await := func() error {
		select {
		case err := <-acks:
			under--
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for first, last := true, false; !last; first = false {
		if under == piecesUnderWay {
			if err := await(); err != nil {
				return fmt.Errorf("store a checkpoint: %w", err)
			}
		}
		p := &piece{first: first}
		p.Acked = func(err error) { acks <- err }
		if err := c.sendPiece(ctx, im, p); err != nil {
			return fmt.Errorf("store a checkpoint: %w", err)
		}
		under++
		last = p.last
	}
	for under > 0 {
		if err := await(); err != nil {
			return fmt.Errorf("store a checkpoint: %w", err)
		}
	}
	return nil
}

// sendPiece fills a buffer with the next piece and sends it.
func (c *Collector) sendPiece(ctx context.Context, im Image, p *piece) error {
	if err := c.space.admit(ctx, 2*partBytes); err != nil { // twice, apart
		return err
	}
	bufs, err := c.reserve(ctx, 1)
	if err != nil {
		return err
	}
	buf := bufs[0]
	var payload []byte
	if payload, p.last, err = im.Piece(buf.Data()[:0:partBytes]); err != nil {
		c.free(buf)
		return err
	}
	buf.Length = len(payload)
	if err := c.queuePiece(buf, p); err != nil {
		c.free(buf)
		return err
	}
	c.waiters.check(&p.waiter)
	return nil
}

// queuePiece puts a piece into its place among writes and cuts.
func (c *Collector) queuePiece(buf *pipeline.Buffer, p *piece) error {
	c.gate.RLock()
	defer c.gate.RUnlock()
	if c.closed {
		return ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	buf.Payload = p
	c.waiters.add(&p.waiter)
	c.port.SendBuf(buf)
	c.unholdLocked(1)
	return nil
}

// piece gives a piece of a checkpoint its number. The last of it carries the flag that
// a batch's last part has. No head goes with its mark: what is stable then is not
// what a next session goes on from.
func (k *pack) piece(buf *pipeline.Buffer, p *piece) {
	seq := k.log.next()
	if p.first {
		k.checkpoint = seq
	}
	chunkfmt.SetPieceFirst(buf.Data(), k.checkpoint)
	g := group{seq: seq, kind: chunkfmt.KindCheckpoint}
	if !p.last {
		g.flags = chunkfmt.FlagMore
	}
	k.send(buf, buf.Length, g, &p.waiter, Head{})
}
