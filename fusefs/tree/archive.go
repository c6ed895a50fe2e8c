package tree

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// Snapshots is the name in the root directory that is not the tree's: whoever serves
// the tree shows its archives there. Making, removing and moving it is EROFS.
const Snapshots = ".snapshots"

// Snapshot seals an archive of the tree as it is at one instant of the call, and
// returns when that is stable and in the index. Without a label, and when nothing
// but access times has changed since the last archive, it makes none (made is
// false), and what is there is stable.
func (t *Tree) Snapshot(ctx context.Context, label string) (a chunkfmt.ArchiveRecord, made bool, err error) {
	if len(label) > chunkfmt.MaxLabel {
		return a, false, unix.ENAMETOOLONG
	}
	r := t.request(stage.MarkArchive, label)
	if err := t.await(ctx, r); err != nil || r.archive == 0 {
		return a, false, err
	}
	if err := t.awaitIndex(ctx, r.epoch); err != nil {
		return a, false, err
	}
	a, made, err = t.cfg.Index.ArchiveAt(r.archive)
	if err == nil && (!made || a.Time != r.archive) {
		err = fmt.Errorf("%w: the archive is not in the index", unix.EIO)
	}
	return a, made, err
}

// Settle returns when everything that was done before it was called is stable and in
// the index.
func (t *Tree) Settle(ctx context.Context) error {
	r := t.request(stage.MarkCut, "")
	if err := t.await(ctx, r); err != nil || r.epoch == nil {
		return err
	}
	return t.awaitIndex(ctx, r.epoch)
}

// awaitIndex returns when the index has an epoch that is stable.
func (t *Tree) awaitIndex(ctx context.Context, e *epoch) error {
	t.hurried.Add(1)
	defer t.hurried.Add(-1)
	t.kick(t.applies)
	select {
	case <-e.indexed:
		return nil
	case <-t.failing:
		return t.refuse()
	case <-t.applierGone:
	case <-ctx.Done():
		return fmt.Errorf("%w: wait for the index: %w", unix.EINTR, ctx.Err())
	}
	select {
	case <-e.indexed: // at last
		return nil
	default:
		return fmt.Errorf("%w: the tree was closed", unix.EIO)
	}
}

// unaltered fulfils a wish for an archive when the last one is as good.
func (t *Tree) unaltered(r *request) bool {
	t.epochMu.RLock()
	altered := t.altered || t.cur.altered.Load()
	t.epochMu.RUnlock()
	if altered || r.label != "" {
		return false
	}
	t.taken(r)
	t.mu.Lock()
	defer t.mu.Unlock()
	r.finish(t.last, nil)
	return true
}

// archiveTime gives an archive its time: whole seconds, and as nanoseconds behind
// them how many of that second there are already. So no two have the same, and the
// name that is made of it stays what it is when others are removed.
func (t *Tree) archiveTime() (int64, error) {
	second := t.cfg.Clock().Truncate(time.Second).UnixNano()
	next := second + int64(time.Second)
	free := second
	a, ok, err := t.cfg.Index.ArchiveAt(next - 1)
	if err != nil {
		return 0, fmt.Errorf("%w: find a time for the archive: %w", unix.EIO, err)
	}
	if ok && a.Time >= second {
		free = a.Time + 1
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, at := range t.sealing {
		if at >= free && at < next {
			free = at + 1
		}
	}
	t.sealing = append(t.sealing, free)
	return free, nil
}

// sealed notes that the index has an archive.
func (t *Tree) sealed(at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealing = slices.DeleteFunc(t.sealing, func(s int64) bool { return s == at })
}

// archiveTicker tells when an archive is due; stop it.
func (t *Tree) archiveTicker() *time.Ticker {
	if t.cfg.ArchiveEvery <= 0 {
		never := time.NewTicker(time.Hour)
		never.Stop()
		return never
	}
	return time.NewTicker(t.cfg.ArchiveEvery)
}

// checkEntry is checkName for a name in a directory.
func checkEntry(parent Ino, name string) error {
	if parent == RootIno && name == Snapshots {
		return unix.EROFS
	}
	return checkName(name)
}
