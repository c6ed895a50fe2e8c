package tree

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A file that is written in small pieces all over, or appended to a line at a
// time, is read as slowly as it was written: each piece is somewhere else in the
// log. Where that was seen, a window of the file is later written again as a
// whole, in the background and without anybody noticing: neither contents nor
// times change.
const (
	defragWindow = WriteMax
	// defragFew pieces of a window are not worth the work; a window that is
	// still written to is left alone until it has defragMany, so that what is
	// written again is never much more than what was written.
	defragFew  = 8
	defragMany = 256
	// defragPiece is how short the pieces of a window are on average, bytes,
	// when it is written again. Less than the shortest block, so that what was
	// written again is not found wanting.
	defragPiece = 48 << 10
	// defragNotes bounds the windows that are kept in mind. Those forgotten
	// are found again when they are read.
	defragNotes = 1 << 16
	defragTries = 3
)

// defrag keeps in mind which windows of which files are in pieces.
type defrag struct {
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex // guards what follows; nothing is locked after it
	files map[Ino]*scattered
	notes int // windows in files
	taken int // windows that due gave and that are not done
}

// scattered is what is known of one file.
type scattered struct {
	windows map[int64]int // pieces seen, by number of the window
	last    time.Time     // written to
}

// dueWindow is a stretch of a file whose time has come.
type dueWindow struct {
	ino    Ino
	number int64
	pieces int
}

// note notes that n pieces were seen in the window around off. wrote is the time
// if they were written then, and zero if they were found.
func (d *defrag) note(ino Ino, off int64, n int, wrote time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[ino]
	if f == nil {
		if d.notes >= defragNotes {
			return
		}
		if d.files == nil {
			d.files = make(map[Ino]*scattered)
		}
		f = &scattered{windows: make(map[int64]int)}
		d.files[ino] = f
	}
	if !wrote.IsZero() {
		f.last = wrote
	}
	number := off / defragWindow
	have, ok := f.windows[number]
	if !ok {
		if d.notes >= defragNotes {
			return
		}
		d.notes++
	}
	f.windows[number] = have + n
}

// due takes out the windows whose time has come, and what is not worth it.
func (d *defrag) due(now time.Time, quiet time.Duration) (list []dueWindow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ino, f := range d.files {
		still := now.Sub(f.last) >= quiet
		for number, pieces := range f.windows {
			if pieces >= defragMany || still && pieces >= defragFew {
				list = append(list, dueWindow{ino, number, pieces})
			} else if !still {
				continue
			}
			delete(f.windows, number)
			d.notes--
		}
		if len(f.windows) == 0 {
			delete(d.files, ino)
		}
	}
	d.taken += len(list)
	slices.SortFunc(list, func(a, b dueWindow) int {
		return cmp.Or(cmp.Compare(a.ino, b.ino), cmp.Compare(a.number, b.number))
	})
	return list
}

// done takes n windows off the account that due gave.
func (d *defrag) done(n int) {
	d.mu.Lock()
	d.taken -= n
	d.mu.Unlock()
}

// len is how many windows are kept in mind or being written again.
func (d *defrag) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.notes + d.taken
}

// wroteApart is told of each write that did not go on where the last one ended.
// i.mu is held.
func (t *Tree) wroteApart(i *inode, off int64, n int) {
	if n >= defragPiece {
		return
	}
	if i.apart < defragFew { // a new file's first write is no more than that
		i.apart++
		return
	}
	t.defrag.note(i.ino, off, 1, t.cfg.Clock())
}

// readApart is told in how many parts a read was found.
func (t *Tree) readApart(i *inode, off, n int64, parts int) {
	if parts >= defragFew && n/int64(parts) < defragPiece {
		t.defrag.note(i.ino, off, parts, time.Time{})
	}
}

// defragmenter looks for what is due until ctx ends.
func (t *Tree) defragmenter(ctx context.Context) {
	tick := time.NewTicker(t.cfg.DefragEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.defragment(ctx)
		}
	}
}

// defragment writes again what is due, as long as the tree has nothing better to
// do.
func (t *Tree) defragment(ctx context.Context) {
	list := t.defrag.due(t.cfg.Clock(), t.cfg.DefragAfter)
	defer t.defrag.done(len(list))
	for k, w := range list {
		if ctx.Err() != nil || t.failure.Load() != nil {
			return
		}
		if t.dirty.Load() > t.cfg.MaxDirty/4 {
			for _, w := range list[k:] {
				t.defrag.note(w.ino, w.number*defragWindow, w.pieces, time.Time{})
			}
			return
		}
		if err := t.rewrite(ctx, w); err != nil {
			// Nobody asked for it. What is wrong shows where it is read or
			// written; what was left is noted when it is read.
			if t.passes(err) {
				return
			}
			t.cfg.Log.Debug("defragmenting failed", "inode", w.ino, "window", w.number, "err", err)
		}
	}
}

// rewrite writes a window again, if it still is in pieces and comes to rest.
func (t *Tree) rewrite(ctx context.Context, w dueWindow) error {
	i, err := t.table.get(w.ino)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer i.put()
	if i.kind != unix.DT_REG {
		return nil
	}
	for range defragTries {
		r := rewriting{t: t, i: i, off: w.number * defragWindow}
		if done, err := r.try(ctx); done || err != nil {
			return err
		}
	}
	return nil
}

// rewriting is one attempt to write a window again.
type rewriting struct {
	t   *Tree
	i   *inode
	off int64

	parts           []span
	data            []byte // from off on
	breaks, written uint64 // of the inode, when parts were looked up
}

// try returns false if somebody else wrote meanwhile.
func (r *rewriting) try(ctx context.Context) (done bool, err error) {
	defer r.t.readers.leave(r.t.readers.enter())
	if err := r.look(); err != nil || len(r.parts) == 0 {
		return true, err
	}
	if err := r.t.fill(ctx, r.i, r.data, r.off, r.parts); err != nil {
		return true, err
	}
	for parts := r.parts; len(parts) > 0; {
		// Holes stay: only what hangs together is written as one.
		n := 1
		for n < len(parts) && parts[n-1].end() == parts[n].off {
			n++
		}
		from, to := parts[0].off, parts[n-1].end()
		if n > 1 {
			if ok, err := r.write(ctx, from, to); !ok || err != nil {
				return err != nil, err
			}
		}
		parts = parts[n:]
	}
	return true, nil
}

// look finds the parts of the window that hold data; none if they are few.
func (r *rewriting) look() error {
	i := r.i
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.dead {
		return nil
	}
	end := min(r.off+defragWindow, int64(i.attr.Size))
	if end <= r.off {
		return nil
	}
	all, err := r.t.layout(i, r.off, end, nil)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(s span) bool { return s.hole() })
	joints, data := 0, int64(0)
	for k := range all {
		data += all[k].n
		if k > 0 && all[k-1].end() == all[k].off {
			joints++
		}
	}
	if joints < defragFew || data/int64(len(all)) >= defragPiece {
		return nil
	}
	r.parts, r.data = all, make([]byte, end-r.off)
	r.breaks, r.written = i.breaks.Load(), i.written
	return nil
}

// write writes [from, to) of the file as it is, in a stream of its own; false if
// somebody else wrote since look.
func (r *rewriting) write(ctx context.Context, from, to int64) (bool, error) {
	t, i := r.t, r.i
	if err := t.admit(ctx); err != nil {
		return false, err
	}
	stream := t.cfg.Collector.NewStream(i)
	slot, err := t.cfg.Collector.Begin(ctx, stream, from, int(to-from))
	if err != nil {
		return false, err
	}
	t.epochMu.RLock()
	i.mu.Lock()
	ok := !i.dead && i.breaks.Load() == r.breaks && i.written == r.written
	if ok {
		var room [1]Piece
		pieces := slot.Write(r.data[from-r.off:to-r.off], from, room[:0])
		if ok = len(pieces) > 0; ok {
			d := t.note(i)
			t.cover(d, pieces)
			t.charge(d.e, runCost)
			i.written++
			r.written = i.written
		}
	}
	i.mu.Unlock()
	t.epochMu.RUnlock()
	slot.Release()
	t.cfg.Collector.Finish(stream)
	return ok, nil
}
