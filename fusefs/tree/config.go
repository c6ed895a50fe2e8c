package tree

import (
	"context"
	"log/slog"
	"time"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/pipeline/stage"
)

// Index is what the tree needs of the view of the log. *index.Index is one.
// All reads see one committed state each and never wait for Apply.
type Index interface {
	Inode(Ino) (chunkfmt.Inode, bool, error)
	Dirent(parent Ino, name string) (chunkfmt.Dirent, bool, error)
	ReadDir(parent Ino, after uint64, limit int, f func(name string, d chunkfmt.Dirent) bool) error
	Xattr(ino Ino, name string) ([]byte, bool, error)
	Xattrs(ino Ino, f func(name string, value []byte) bool) error
	Extents(ino Ino, off, n uint64, f func(chunkfmt.Extent) bool) error

	Orphans() ([]Ino, error)
	NextIno() Ino
	// Changed says whether the tree has changed since the last archive.
	Changed() bool
	// ArchiveAt gives the last archive at or before a time.
	ArchiveAt(ns int64) (chunkfmt.ArchiveRecord, bool, error)
	Counts() (inodes, bytes uint64)
	Apply(batches []index.Batch, head index.Head, locate index.Locate) error
}

// Collector takes in what is written, the head of the pipe. FromStage makes one
// of a *stage.Collector; see there for the contract of each method.
type Collector interface {
	// NewStream makes the collector's state of one file being written, and
	// notes whose it is for Tail.
	NewStream(owner any) Stream
	// Begin gets what writing n bytes (at most WriteMax) at off needs. It may
	// wait. The slot must be released.
	Begin(ctx context.Context, s Stream, off int64, n int) (Slot, error)
	// Finish ends what is unfinished in s: the file was closed, or is changed
	// by other means than writes. It never waits, and may be called again. The
	// caller holds neither a slot nor a lock.
	Finish(s Stream)
	// Prepare gets what a cut needs. It may wait. The slot must be released.
	Prepare(ctx context.Context) (CutSlot, error)
}

// Stream is a collector's state of one file being written.
type Stream any

// Slot is the leave to make one write.
type Slot interface {
	// Write takes p in, as long as was asked for at most, at off, which may be
	// another than was asked for. It appends to out which ranges of the file
	// are now where: nothing if the session has ended and p was not taken. It
	// never waits. It is called at most once, under the inode's lock.
	Write(p []byte, off int64, out []Piece) []Piece
	Release()
}

// CutSlot is the leave to make one cut.
type CutSlot interface {
	// Cut sends m behind everything written so far. It never waits; it is
	// called at most once, when no write is under way.
	Cut(m stage.Marker) []Tail
	Release()
}

// Piece is a range of a file that a write (re)covered with bytes of a run.
type Piece struct {
	Off, Len int64
	Run      Run
	RunOff   int64
}

// Tail is an unfinished block that a cut stores provisionally: the frozen epoch
// takes the bytes at Off from Run, whose offset 0 is Off.
type Tail struct {
	Owner    any // of the stream
	Off, Len int64
	Run      Run
}

// Run holds bytes that were written, in whatever form they now are. Runs are
// compared with ==.
type Run interface {
	// ReadAt fills p from offset off of the run.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// Places says where the bytes [off, off+n) are in the log, ascending, all
	// of them: group and offset in it, or group 0 for zeros. It is called
	// when all their blocks have a place.
	Places(off, n int64, f func(runOff, n int64, group chunkfmt.Seq, groupOff uint32) error) error
}

// Groups reads what has a place in the log. *stage.Groups is one.
type Groups interface {
	ReadAt(ctx context.Context, group chunkfmt.Seq, p []byte, off uint32) error
	Prefetch(groups ...chunkfmt.Seq)
}

// Flight knows the groups that the index does not know yet. *stage.Flight is one.
type Flight interface {
	Location(chunkfmt.Seq) (chunkfmt.Location, bool)
	Forget(upTo chunkfmt.Seq)
}

// Pipe says whether what is written still gets anywhere. *pipeline.Pipe is one.
type Pipe interface {
	Done() <-chan struct{}
	// Err is why the pipe stopped; nil while it runs and when it ended cleanly.
	Err() error
}

// Config puts a tree together. Index, Collector, Groups and Flight are needed;
// zero values of the rest mean the defaults named beside them.
type Config struct {
	Index     Index
	Collector Collector
	Groups    Groups
	Flight    Flight
	Pipe      Pipe // nil: never fails but by a failed acknowledgement

	Clock func() time.Time // time.Now
	Log   *slog.Logger     // slog.Default

	// CutEvery is how old a change gets before a cut is taken unasked; 5 s.
	CutEvery time.Duration
	// ApplyEvery is how long acknowledged cuts are gathered for one commit of
	// the index; 1 s.
	ApplyEvery time.Duration
	// ArchiveEvery is how long after the last archive of this session another is
	// sealed, if anything has changed; 0: none is sealed unasked.
	ArchiveEvery time.Duration
	// Sealed is called when the index has an archive that it did not have before. It must be quick and must not call
	// into the tree; nil: nobody is.
	Sealed func()
	// MaxDirty is the limit of changes in memory, in bytes, about: writers
	// wait beyond it, and a cut is taken at a quarter of it; 48 MiB.
	MaxDirty int64
	// MaxClean is the number of clean inodes kept in memory, about; 100,000.
	MaxClean int
	// Readahead is how many bytes are fetched ahead of a sequential reader;
	// 4 MiB. Negative: none.
	Readahead int64
	// DefragEvery is how often is looked for files in pieces, and DefragAfter
	// how long a file must not have been written to; 5 s and 10 s.
	DefragEvery, DefragAfter time.Duration
	// Relatime keeps access times as Linux's relatime does: set on a read if
	// not after mtime and ctime or older than a day. Otherwise reads do not
	// change them (noatime).
	Relatime bool
	// Full is the error that says that the medium is full: what wraps it is
	// answered as ENOSPC. nil: none is.
	Full error
	// Away is the error that says that the medium does not answer for now: what wraps it is answered with EIO, and what
	// waits for the medium is kept, as when it is full. nil: there is none.
	Away error
	// Uid, Gid and Mode are the root directory's when the volume is new; Mode
	// 0 means 0755.
	Uid, Gid, Mode uint32
	// Space asks the medium how much room it has; nil: unknown, zeros.
	Space func(context.Context) (Space, error)
}

const (
	defaultCutEvery   = 5 * time.Second
	defaultApplyEvery = time.Second
	defaultMaxDirty   = 48 << 20
	defaultMaxClean   = 100_000
	defaultReadahead  = 4 << 20

	defaultDefragEvery = 5 * time.Second
	defaultDefragAfter = 10 * time.Second
)

func (c *Config) defaults() {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.CutEvery == 0 {
		c.CutEvery = defaultCutEvery
	}
	if c.ApplyEvery == 0 {
		c.ApplyEvery = defaultApplyEvery
	}
	if c.MaxDirty == 0 {
		c.MaxDirty = defaultMaxDirty
	}
	if c.MaxClean == 0 {
		c.MaxClean = defaultMaxClean
	}
	if c.DefragEvery == 0 {
		c.DefragEvery = defaultDefragEvery
	}
	if c.DefragAfter == 0 {
		c.DefragAfter = defaultDefragAfter
	}
	if c.Readahead == 0 {
		c.Readahead = defaultReadahead
	}
}
