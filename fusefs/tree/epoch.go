package tree

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/pipeline/stage"
)

// delta is what one inode changed in one epoch. While the epoch is open it is
// guarded by the inode's mu; once frozen, only saved, attr, older and newer
// change, under mu.
type delta struct {
	i            *inode
	e            *epoch
	older, newer *delta
	nextDirty    *delta // of the epoch's list

	saved bool // attr holds; else the inode's are this delta's
	attr  Attr

	born    bool // the inode was made in this epoch
	deleted bool // and/or deleted in it
	orphan  int8 // +1: lost its last name but is open; -1: no longer so

	ext    spans
	dents  []*dent
	xattrs map[string]xattr
}

// epoch is a time between two cuts, and afterwards the cut that ended it.
type epoch struct {
	n     uint64
	dirty atomic.Pointer[delta] // list of all deltas
	cost  atomic.Int64          // bytes of memory, about
	since atomic.Int64          // Clock, ns, of the first change
	// altered says that there is a change which a new archive would show, unlike
	// access times and files that were only brought together.
	altered atomic.Bool
	archive int64 // the time of the archive that it ended, or 0

	ready   chan struct{} // closed when the freeze is complete
	nextIno Ino           // the next inode number to give, if this epoch gave any

	// Guarded by Tree.backlog.mu.
	journal stage.Journal
	stable  bool
	err     error         // why it is not stable
	done    chan struct{} // closed when stable or err holds
	told    bool          // done is closed
	indexed chan struct{} // closed when the index has the epoch
}

func newEpoch(n uint64) *epoch {
	return &epoch{n: n, ready: make(chan struct{}), done: make(chan struct{}), indexed: make(chan struct{})}
}

// Costs in bytes of memory, about and never less: with the records that the pipe
// keeps of it from the cut until the index has it.
const (
	deltaCost = 850 // and the inode that it pins
	dentCost  = 320
	spanCost  = 250
	runCost   = 400 // what the collector holds of it
	xattrCost = 300 // and twice the bytes
)

// touch returns the inode's delta of the open epoch. The caller holds epochMu for
// reading and i.mu; it changes i.attr only afterwards.
func (t *Tree) touch(i *inode) *delta {
	if !t.cur.altered.Load() {
		t.cur.altered.Store(true)
	}
	return t.note(i)
}

// note is touch for a change that is not worth an archive.
func (t *Tree) note(i *inode) *delta {
	d := i.newest
	e := t.cur
	if d != nil && d.e == e {
		return d
	}
	n := &delta{i: i, e: e, older: d}
	if d == nil {
		i.oldest = n
	} else {
		if !d.saved {
			d.attr, d.saved = i.attr, true
		}
		d.newer = n
	}
	i.newest = n
	i.pins.Add(1)
	t.charge(e, deltaCost)
	if e.since.Load() == 0 {
		e.since.CompareAndSwap(0, t.cfg.Clock().UnixNano())
	}
	for {
		head := e.dirty.Load()
		n.nextDirty = head
		if e.dirty.CompareAndSwap(head, n) {
			if head == nil {
				t.kick(t.dirtied)
			}
			return n
		}
	}
}

// charge counts memory that epoch e holds.
func (t *Tree) charge(e *epoch, n int64) {
	c := e.cost.Add(n)
	t.dirty.Add(n)
	if quarter := t.cfg.MaxDirty / 4; c > quarter && c-n <= quarter {
		t.kick(t.pressed)
	}
}

// freeze ends the open epoch at one instant of all operations. The batch of m comes
// behind that of the epoch.
func (t *Tree) freeze(slot CutSlot, m stage.Marker) *epoch {
	t.epochMu.Lock()
	defer t.epochMu.Unlock()
	e := t.cur
	t.cur = newEpoch(e.n + 1)
	if last := t.nextIno.Load(); last > t.frozenIno {
		t.frozenIno, e.nextIno = last, Ino(last+1)
	}
	if m.Kind == stage.MarkArchive {
		t.altered, e.archive = false, m.Archive.Time
	} else {
		t.altered = t.altered || e.altered.Load()
	}
	m.Archive.Files, m.Archive.Bytes = uint64(t.inodes.Load()), uint64(t.bytes.Load())
	m.Batch = with(e, m.Batch)
	m.Journalled = func(j stage.Journal) { t.journalled(e, j) }
	m.Acked = func(err error) { t.acked(e, err) }
	t.enqueue(e)
	for _, tail := range slot.Cut(m) {
		i := tail.Owner.(*inode)
		i.mu.Lock()
		if d := i.newest; d != nil && d.e == e && i.live != nil {
			// Bytes that were cut off or covered since are not the
			// run's any more and stay as they are.
			d.ext.replace(tail.Off, tail.Off+tail.Len, i.live, tail.Run)
		}
		i.mu.Unlock()
	}
	close(e.ready)
	return e
}

// Encode gives the records of the frozen epoch. It takes inode locks for an
// instant each.
func (e *epoch) Encode(w stage.RecordSink) error {
	<-e.ready
	if e.nextIno != 0 {
		// What was made and deleted again leaves no other trace of its number.
		v := binary.BigEndian.AppendUint64(nil, uint64(e.nextIno))
		if err := put(w, chunkfmt.RecMeta, chunkfmt.MetaKey(index.MetaNextIno), v); err != nil {
			return fmt.Errorf("encode the next inode number: %w", err)
		}
	}
	for d := e.dirty.Load(); d != nil; d = d.nextDirty {
		if err := d.encode(w); err != nil {
			return fmt.Errorf("encode inode %d of cut %d: %w", d.i.ino, e.n, err)
		}
	}
	return nil
}

func (d *delta) frozenAttr() Attr {
	d.i.mu.RLock()
	defer d.i.mu.RUnlock()
	if d.saved {
		return d.attr
	}
	return d.i.attr
}

// age is how long the epoch has had changes.
func (e *epoch) age(now time.Time) time.Duration {
	if e.dirty.Load() == nil {
		return 0
	}
	return now.Sub(time.Unix(0, e.since.Load()))
}

// unplaced is what a run that has no place at batch time means: a fault of the
// collector or of this package.
func unplaced(ino Ino, s span) error {
	return fmt.Errorf("inode %d bytes %d to %d have no place", ino, s.off, s.end())
}

var _ stage.BatchSource = (*epoch)(nil)
