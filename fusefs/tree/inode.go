package tree

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// inode is one inode in memory. It is in the table while it has deltas, handles
// or an operation under way (its pins), and afterwards until it is evicted.
type inode struct {
	ino Ino

	pins       atomic.Int32 // raised only under shard.mu, or by who has one already
	used       atomic.Bool  // since the clock hand last passed
	prev, next *inode       // shard's ring, guarded by shard.mu

	// breaks counts changes of the contents by other means than writes;
	// what the collector has unfinished from before one must not be gone on
	// with. Raised under mu. mended is the count that stream begins after.
	breaks, mended atomic.Uint64

	// absent is the name that the index was last found not to have in this directory: who looks for a name in
	// vain goes on to make it. Set under mu, for reading at least; forgotten when the index changes.
	absent atomic.Pointer[string]

	// mu guards all below. The order is in the package comment. Changes also
	// need epochMu for reading.
	mu     sync.RWMutex
	attr   Attr
	alloc  uint64 // bytes that are not holes; attr.Blocks follows it
	target string
	kind   uint8 // DT_*, never changes

	fresh bool // the index knows nothing of the inode yet
	dead  bool // deleted
	// forgotten says of an inode without a name that whoever serves the tree
	// will not ask about it again; referred, of a deleted directory, that he
	// may, which holds a pin. Only where forgets are expected.
	forgotten, referred bool
	linkable            bool // O_TMPFILE without O_EXCL: may be given a name
	orphaned            bool // without a name, and a batch says so
	handles             int
	writers             int // of handles, those open for writing

	stream  Stream // made by the first write
	live    Run    // the last run that a write was given; its end may be unfinished
	written uint64 // counts writes, for who must see that none came between
	apart   uint8  // writes that did not go on where another ended, the first few

	oldest, newest *delta     // by epoch, linked both ways
	dir            *directory // changed entries, directories only

	noCaps     bool   // known to have no security.capability
	aclKnown   bool   // defaultACL is what the directory has
	defaultACL []byte // nil: none
}

func (i *inode) isDir() bool { return i.kind == unix.DT_DIR }

// setAlloc sets the bytes that are not holes.
func (i *inode) setAlloc(n uint64) {
	i.alloc = n
	i.attr.Blocks = (n + 511) / 512
}

// touchTimes sets ctime, and mtime if contents changed.
func (i *inode) touchTimes(now Time, contents bool) {
	i.attr.Ctime = now
	if contents {
		i.attr.Mtime = now
	}
}

// contentsChanged sets the times after a change of contents, if that is for the tree to do.
func (t *Tree) contentsChanged(i *inode) {
	if !t.leaveTimes.Load() {
		i.touchTimes(t.now(), true)
	}
}

// typeOf is the DT_* of a mode.
func typeOf(mode uint32) uint8 { return uint8(mode & unix.S_IFMT >> 12) }

// newInode makes the memory of an inode that the index knows.
func newInode(ino Ino, rec *chunkfmt.Inode) *inode {
	i := &inode{ino: ino, attr: rec.Attr, target: rec.Target, kind: typeOf(rec.Mode)}
	i.alloc = min(i.attr.Blocks*512, i.attr.Size)
	return i
}
