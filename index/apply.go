package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// MetaNextIno names the log's meta record that carries the next inode number, 8
// bytes big-endian, so that numbers of inodes that came and went between two cuts
// are not used again either.
const MetaNextIno = "next-ino"

// Apply brings the index forward by whole batches, in the order of the log, in one
// synced commit; head is the place in the log after them. After a crash the file
// stands at one head or the other. Locate, which may be nil, gives the hint that is
// kept for each group of these batches. An error leaves the index where it was;
// one that wraps chunkfmt.ErrDamaged means a record that makes no sense.
//
// The records of a batch are taken in their order. Deleting an inode deletes its
// extents and attributes and its mark as an orphan. Deleting a group deletes that it is bad,
// and deleting that deletes where its blocks are healed from. An archive record ends the
// archive: what comes after it dates from the next. Deleting one forgets the archive:
// Sweep then deletes what of the history it was kept for. Removing groups deletes their
// records; moving them does not. In one directory no two names may have one cookie.
func (x *Index) Apply(batches []Batch, head Head, locate Locate) error {
	x.applying.Lock()
	defer x.applying.Unlock()
	if x.broken != nil {
		return fmt.Errorf("apply to index: %w", x.broken)
	}
	defer x.spareApply()()
	st := *x.state.Load()
	heals := false
	err := x.update(func(tx *bolt.Tx) error {
		a := newApplier(tx, &st, &x.arena, batches)
		if err := a.batches(batches); err != nil {
			return err
		}
		heals = len(a.healed) > 0
		if err := a.finish(locate); err != nil {
			return err
		}
		st.head = head
		st.logged += logged(batches)
		return writeState(tx, &st, &x.arena)
	})
	if err != nil {
		x.arena = arena{}
		if errors.Is(err, ErrRebuild) {
			x.broken = err
		}
		return fmt.Errorf("apply to index: %w", err)
	}
	x.arena.reset()
	x.applied = true
	x.state.Store(&st)
	if heals {
		x.heals.Store(true)
	}
	return nil
}

// logged is about how much of the log batches are, in bytes.
func logged(batches []Batch) (n uint64) {
	for i := range batches {
		n += chunkfmt.TagSize + chunkfmt.BatchHeaderSize
		for j := range batches[i].Records {
			n += uint64(batches[i].Records[j].Size())
		}
	}
	return n
}

// update runs f in a write transaction and commits it, synced.
func (x *Index) update(f func(*bolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx, err := x.db.Begin(true)
	if err != nil {
		return err
	}
	// Deferred first, so that it runs after a panic has become an error. A commit that
	// failed or succeeded has ended the transaction.
	defer func() {
		var s section
		defer s.end(&err)
		_ = tx.Rollback()
	}()
	var s section
	defer s.end(&err)
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// op is a put or delete of one key; n is its place in the order of records.
type op struct {
	key, val []byte
	n        int
	del      bool
}

// put is a finished value for a key; of one to be deleted only the key counts.
type put struct{ key, val []byte }

// applier turns records into changes of buckets. The changes of one archive are
// collected, folded so that each key is touched once, sorted, and written in the
// order of keys, which is what a B+tree likes.
type applier struct {
	tx    *bolt.Tx
	st    *state
	arena *arena
	n     int
	known chunkfmt.Ino // inodes above are new in this run: nothing of them is in any bucket
	seen  chunkfmt.Ino // highest inode number in this run

	inodes, dirents, xattrs, orphans   []op
	groups, archives, records          []op
	bad, healed                        []op
	removed                            []chunkfmt.Removed
	moved                              []movedRange
	wipes                              []wipe
	deltas                             []delta
	cookiePuts, cookieDels, cookiePast []put
	parentPuts, parentDels             []put

	key []byte // scratch
}

// wipe is the deletion of everything that belongs to an inode.
type wipe struct {
	ino chunkfmt.Ino
	n   int
}

func newApplier(tx *bolt.Tx, st *state, ar *arena, batches []Batch) *applier {
	var count [chunkfmt.RecHealed + 1]int
	for i := range batches {
		for _, r := range batches[i].Records {
			if int(r.Kind) < len(count) {
				count[r.Kind]++
			}
		}
	}
	return &applier{
		tx: tx, st: st, arena: ar, known: st.maxIno,
		inodes:     make([]op, 0, count[chunkfmt.RecInode]),
		dirents:    make([]op, 0, count[chunkfmt.RecDirent]),
		xattrs:     make([]op, 0, count[chunkfmt.RecXattr]),
		groups:     make([]op, 0, count[chunkfmt.RecGroup]),
		deltas:     make([]delta, 0, count[chunkfmt.RecExtent]),
		cookiePuts: make([]put, 0, count[chunkfmt.RecDirent]),
		parentPuts: make([]put, 0, count[chunkfmt.RecDirent]),
	}
}

func (a *applier) batches(batches []Batch) error {
	for i := range batches {
		for j := range batches[i].Records {
			r := &batches[i].Records[j]
			if err := a.add(r); err != nil {
				return fmt.Errorf("batch of cut %d, record %d, %v %x: %w",
					batches[i].Header.Cut, j, r.Kind, r.Key, err)
			}
		}
	}
	return nil
}

// add takes in one record.
func (a *applier) add(r *chunkfmt.Record) error {
	a.n++
	o := op{key: r.Key, val: r.Value, n: a.n, del: r.Op == chunkfmt.OpDelete}
	if !o.del && r.Op != chunkfmt.OpPut {
		return fmt.Errorf("operation %d: %w", r.Op, chunkfmt.ErrDamaged)
	}
	switch r.Kind {
	case chunkfmt.RecInode:
		return a.addInode(o)
	case chunkfmt.RecDirent:
		return a.addDirent(o)
	case chunkfmt.RecXattr:
		return a.addNamed(&a.xattrs, o)
	case chunkfmt.RecExtent:
		return a.addExtent(o)
	case chunkfmt.RecOrphan:
		return addNumbered(&a.orphans, o)
	case chunkfmt.RecGroup:
		return addNumbered(&a.groups, o)
	case chunkfmt.RecBad:
		return addNumbered(&a.bad, o)
	case chunkfmt.RecHealed:
		return a.addHealed(o)
	case chunkfmt.RecArchive:
		return a.addArchive(o)
	case chunkfmt.RecMeta:
		return a.addMeta(o)
	case chunkfmt.RecRemoved:
		r, err := removedOf(o)
		a.removed = append(a.removed, r)
		return err
	case chunkfmt.RecMoved:
		r, err := removedOf(o)
		a.moved = append(a.moved, movedRange{r, o.n})
		return err
	}
	return fmt.Errorf("%v: %w", r.Kind, chunkfmt.ErrDamaged)
}

// see notes an inode number and says whether it is one.
func (a *applier) see(key []byte) (chunkfmt.Ino, error) {
	ino := chunkfmt.Ino(binary.BigEndian.Uint64(key))
	if ino == 0 || ino == ^chunkfmt.Ino(0) {
		return 0, fmt.Errorf("inode number %d: %w", ino, chunkfmt.ErrDamaged)
	}
	a.seen = max(a.seen, ino)
	return ino, nil
}

func (a *applier) addInode(o op) error {
	if err := keyLength(o.key, 8, 8); err != nil {
		return err
	}
	ino, err := a.see(o.key)
	if err != nil {
		return err
	}
	a.inodes = append(a.inodes, o)
	if o.del {
		a.wipes = append(a.wipes, wipe{ino, o.n})
		a.orphans = append(a.orphans, o)
		a.deltas = append(a.deltas, delta{ino: ino, span: span{end: endOfFile}})
	}
	return nil
}

// maxName bounds the names of entries and attributes: Linux has 255 bytes for both.
const maxName = 255

func (a *applier) addNamed(ops *[]op, o op) error {
	if err := keyLength(o.key, 9, 8+maxName); err != nil {
		return err
	}
	if _, err := a.see(o.key); err != nil {
		return err
	}
	*ops = append(*ops, o)
	return nil
}

func (a *applier) addDirent(o op) error {
	if err := a.addNamed(&a.dirents, o); err != nil || o.del {
		return err
	}
	d, err := chunkfmt.ParseDirent(o.val)
	a.seen = max(a.seen, d.Ino)
	return err
}

func addNumbered(ops *[]op, o op) error {
	if err := keyLength(o.key, 8, 8); err != nil {
		return err
	}
	*ops = append(*ops, o)
	return nil
}

func (a *applier) addArchive(o op) error {
	number, err := chunkfmt.ParseArchiveKey(o.key)
	if err != nil {
		return err
	}
	if !o.del {
		if _, err := chunkfmt.ParseArchive(number, o.val); err != nil {
			return err
		}
		if number >= Present-1 {
			return fmt.Errorf("archive %d: %w", number, chunkfmt.ErrDamaged)
		}
		if err := a.flush(); err != nil {
			return err
		}
		a.st.changed = false
		a.st.archive = max(a.st.archive, number+1)
	}
	a.archives = append(a.archives, o)
	return nil
}

func (a *applier) addMeta(o op) error {
	if err := keyLength(o.key, 1, maxName); err != nil {
		return err
	}
	if string(o.key) == MetaNextIno && !o.del {
		if len(o.val) != 8 {
			return fmt.Errorf("value of %d bytes, want 8: %w", len(o.val), chunkfmt.ErrDamaged)
		}
		a.st.nextIno = max(a.st.nextIno, chunkfmt.Ino(binary.BigEndian.Uint64(o.val)))
	}
	a.records = append(a.records, o)
	return nil
}

func keyLength(key []byte, least, most int) error {
	if len(key) < least || len(key) > most {
		return fmt.Errorf("key of %d bytes, want %d to %d: %w", len(key), least, most, chunkfmt.ErrDamaged)
	}
	return nil
}

// isRegular says whether a mode is that of a regular file.
func isRegular(mode uint32) bool { return mode&unix.S_IFMT == unix.S_IFREG }
