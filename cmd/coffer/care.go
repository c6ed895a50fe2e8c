package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
	"coffer/fusefs/tree"
)

// care is what an open volume does beside what it is asked for: it applies the keep rules when an archive was sealed,
// and goes on with a prune that was ended. It ends before the volume does.
type care struct {
	life   context.Context
	end    context.CancelFunc
	wg     sync.WaitGroup
	sealed chan struct{} // has a token when archives were sealed
	busy   sync.Mutex    // held while chunks are cleaned
	// renamed has the kernel forget what the name of an archive led to; nil: it knows none. Set before anything is begun.
	renamed func(name string)
}

func (c *care) init(ctx context.Context) {
	c.life, c.end = context.WithCancel(ctx)
	c.sealed = make(chan struct{}, 1)
}

// takeCare begins, for a volume that stays open.
func (v *volume) takeCare() {
	c := &v.care
	c.wg.Go(func() {
		for {
			select {
			case <-c.sealed:
				v.applyPolicy(c.life)
			case <-c.life.Done():
				return
			}
		}
	})
	if v.source.Unclean() {
		c.wg.Go(func() {
			err := c.alone(c.life, func(ctx context.Context) error {
				result, err := v.source.Clean(ctx)
				if err == nil && result.Chunks > 0 {
					slog.Info("a prune that was ended is done", "chunks", result.Chunks, "bytes", result.Bytes)
				}
				return err
			})
			if err != nil && c.life.Err() == nil {
				slog.Error("a prune that was ended does not go on", "cause", err)
			}
		})
	}
}

// stop ends what is under way.
func (c *care) stop() {
	c.end()
	c.wg.Wait()
	c.busy.Lock() // for good
}

var errPruning = errors.New("a prune of the volume is under way, and goes on")

// alone calls f unless chunks are being cleaned already. f ends with the volume.
func (c *care) alone(ctx context.Context, f func(context.Context) error) error {
	if !c.busy.TryLock() {
		return errPruning
	}
	defer c.busy.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	return f(ctx)
}

// sealedOne is told that the index has an archive more.
func (c *care) sealedOne() {
	select {
	case c.sealed <- struct{}{}:
	default:
	}
}

// applyPolicy forgets what the keep rules of the volume do not keep.
func (v *volume) applyPolicy(ctx context.Context) {
	gone, err := v.source.ApplyKeep(ctx, v.tree)
	switch {
	case err != nil && ctx.Err() == nil && !errors.Is(err, unix.EIO):
		slog.Warn("the keep rules of the volume are not applied", "cause", err)
	case len(gone) > 0:
		slog.Info("archives are forgotten by the keep rules of the volume", "archives", len(gone))
	}
	v.forgotten(gone)
}

// forgotten has the kernel forget the names of archives.
func (v *volume) forgotten(gone []chunkfmt.ArchiveRecord) {
	if v.care.renamed == nil {
		return
	}
	for i := range gone {
		v.care.renamed(past.Name(&gone[i]))
		if past.IsName(gone[i].Label) {
			v.care.renamed(gone[i].Label)
		}
	}
}

// snapshotsDir is the node of the directory of archives, as the kernel knows it.
const snapshotsDir = tree.Ino(past.Root)
