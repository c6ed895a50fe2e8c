package index

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// Errors of this package. Everything else that it returns wraps an error of the
// operating system, or says what was wrong with the caller's records.
var (
	// ErrRebuild means that the file is not an index of this volume in a format
	// that this program knows, or that it is damaged. The caller closes the index,
	// calls Remove, opens anew and applies the log from its beginning.
	ErrRebuild = errors.New("index must be rebuilt")
	// ErrForgotten means that the archive that a Reader is of is not there, or not any more.
	ErrForgotten = errors.New("the archive was forgotten")
	// ErrLocked means that another process has the index open.
	ErrLocked = errors.New("index is in use by another process")
)

// Identity says which volume an index belongs to.
type Identity struct {
	Store  chunkfmt.StoreID
	Volume chunkfmt.VolumeID
}

// Head is the place in the log up to which an index has been applied. The zero
// Head stands before the first batch.
type Head struct {
	Session chunkfmt.SessionID // session of the last batch applied
	Ordinal uint32             // ordinal of that session
	Seq     chunkfmt.Seq       // last sequence number applied
	Chain   chunkfmt.Hash      // chain hash after that batch
}

// Batch is one whole metadata batch of the log, the parts of which were put
// together. Apply keeps no reference to the records.
type Batch struct {
	Header  chunkfmt.BatchHeader
	Records []chunkfmt.Record
}

// Locate says where the group with the given sequence number is, if known.
type Locate func(chunkfmt.Seq) (chunkfmt.Location, bool)

// Present is the archive number that stands for the live tree in a Reader.
const Present uint32 = math.MaxUint32

var errClosed = errors.New("index is closed")

// Index is one open index. Its Reader answers for the present. One goroutine at a
// time applies; any number read meanwhile.
type Index struct {
	Reader
	db    *bolt.DB
	file  *os.File              // the same file, for copies
	state atomic.Pointer[state] // as committed; replaced, never changed
	heals atomic.Bool           // some group may be healed

	spared atomic.Bool   // see Spare
	views  atomic.Uint32 // read transactions since then

	applying sync.Mutex // guards what follows, and the right to write
	arena    arena
	applied  bool  // something was written since open
	broken   error // why nothing can be applied any more
}

// Head is the place in the log up to which the index has been applied and synced.
func (x *Index) Head() Head { return x.state.Load().head }

// NextIno is the lowest inode number that was never used in the volume, deleted
// inodes included.
func (x *Index) NextIno() chunkfmt.Ino {
	st := x.state.Load()
	return max(st.maxIno+1, st.nextIno, chunkfmt.RootIno)
}

// Counts gives the number of inodes of the live tree and the sum of the sizes of
// its regular files, in bytes.
func (x *Index) Counts() (inodes, bytes uint64) {
	st := x.state.Load()
	return st.inodes, st.bytes
}

// Archive is the number of the open archive, the one after the last sealed; from 1.
// Changes being applied date from it.
func (x *Index) Archive() uint32 { return x.state.Load().archive }

// Changed says whether anything of the tree has changed since the last archive was
// sealed, or ever if there is none.
func (x *Index) Changed() bool { return x.state.Load().changed }

// At gives a reader of the volume as it was when the archive was sealed. For the
// open archive and later ones it is the present. Once the archive is forgotten all
// that it is asked fails with ErrForgotten.
func (x *Index) At(archive uint32) *Reader { return &Reader{x: x, at: archive} }

// section is a stretch of code in which bbolt works on a file that may be damaged,
// and where its panics and memory faults become errors. Those of the caller's code
// do not.
type section struct{ calling bool }

// end is to be deferred.
func (s *section) end(err *error) {
	if s.calling {
		return
	}
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", ErrRebuild, r)
	}
}

// view runs f in a read transaction.
func (x *Index) view(f func(*bolt.Tx, *section) error) error {
	x.viewing()
	return x.guarded(f)
}

// guarded is view for who does not count as a reader.
func (x *Index) guarded(f func(*bolt.Tx, *section) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var s section
	defer s.end(&err)
	return x.db.View(func(tx *bolt.Tx) error { return f(tx, &s) })
}
