package fusefs

import (
	"sync"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

// versions has the kernel know one version at a time of files that change without it and are open. The zero value is
// ready.
//
// The kernel keeps pages of a file, and beside them its size, by which it knows where in the last page the file ends. Where
// the pages are of one version and the size is of a later one, whoever reads on at the old end reads zeros. Who reads
// a file goes past the pages, therefore; but who maps it sees them. So once a file has come to another version, the kernel
// is told of it only when it has dropped the pages.
type versions struct {
	mu     sync.Mutex // guards what follows; nothing is locked after it
	opened map[uint64]*opening
	told   chan struct{} // closed by the next update; nil if nobody waits for it
}

// version tells one content of a file from others.
type version struct {
	ctime chunkfmt.Time
	size  uint64
}

func versionOf(f *past.Found) version { return version{f.Ctime, f.Size} }

// opening is a file that is open.
type opening struct {
	known   version // to the kernel
	handles int
}

// open takes in a handle of a version.
func (v *versions) open(node uint64, is version) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened == nil {
		v.opened = map[uint64]*opening{}
	}
	if o := v.opened[node]; o != nil {
		o.handles++
	} else {
		v.opened[node] = &opening{is, 1}
	}
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

// pending gives what to wait for before the kernel is told of a version of a file; nil: nothing.
func (v *versions) pending(node uint64, is version) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	if o := v.opened[node]; o == nil || o.known == is {
		return nil
	}
	if v.told == nil {
		v.told = make(chan struct{})
	}
	return v.told
}

// update has drop drop the pages of the files that are open and have come to another version, which get tells. Called
// after files have changed, by one goroutine at a time. Dropping waits for what is being read into pages.
func (v *versions) update(get func(node uint64) (is version, ok bool), drop func(node uint64)) {
	for _, node := range v.nodes() {
		is, ok := get(node)
		if !ok || v.pending(node, is) == nil {
			continue
		}
		drop(node)
		v.mu.Lock()
		if o := v.opened[node]; o != nil {
			o.known = is
		}
		v.mu.Unlock()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.told != nil {
		close(v.told)
		v.told = nil
	}
}

func (v *versions) nodes() []uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]uint64, 0, len(v.opened))
	for node := range v.opened {
		all = append(all, node)
	}
	return all
}
