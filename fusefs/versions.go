package fusefs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"coffer/chunkfmt"
)

// versions decides what the kernel may keep of files that change without it. The zero value is ready.
//
// Pages are of the version that a file had when it was opened, or of later ones. An open of another version drops
// them; but a read of an earlier handle that is on its way may bring one back. So while such a handle is open, new
// ones go past the pages.
type versions struct {
	mu     sync.Mutex // guards what follows; nothing is locked after it
	opened map[uint64]*opening
	last   map[uint64]chunkfmt.Time // of files that are closed or open: the version that their pages are of
}

type opening struct {
	version chunkfmt.Time
	handles int
}

// maxVersions bounds how many closed files are remembered.
const maxVersions = 1 << 16

// open takes in a handle of a version, and gives the FOPEN flags for it.
func (v *versions) open(node uint64, version chunkfmt.Time) (flags uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if o := v.opened[node]; o != nil {
		o.handles++
		if o.version == version {
			return fuse.FOPEN_KEEP_CACHE
		}
		delete(v.last, node) // nobody knows what pages there will be
		return fuse.FOPEN_DIRECT_IO
	}
	if v.opened == nil || len(v.last) >= maxVersions {
		v.last = map[uint64]chunkfmt.Time{}
	}
	if v.opened == nil {
		v.opened = map[uint64]*opening{}
	}
	if last, ok := v.last[node]; ok && last == version {
		flags = fuse.FOPEN_KEEP_CACHE
	}
	v.opened[node] = &opening{version, 1}
	v.last[node] = version
	return flags
}

// close gives a handle back.
func (v *versions) close(node uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if o := v.opened[node]; o != nil {
		if o.handles--; o.handles == 0 {
			delete(v.opened, node)
		}
	}
}
