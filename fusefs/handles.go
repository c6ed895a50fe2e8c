package fusefs

import (
	"sync"

	"coffer/fusefs/tree"
)

// openFile is an open file of the kernel's.
type openFile struct {
	*tree.Handle
	direct bool // past the page cache
}

// handles numbers the open files. Numbers start at 1 and are used again.
type handles struct {
	mu    sync.RWMutex // guards what follows; nothing is locked after it
	files []openFile
	free  []uint64
}

func (t *handles) add(f openFile) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		fh := t.free[n-1]
		t.free = t.free[:n-1]
		t.files[fh-1] = f
		return fh
	}
	t.files = append(t.files, f)
	return uint64(len(t.files))
}

func (t *handles) get(fh uint64) (openFile, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if fh == 0 || fh > uint64(len(t.files)) {
		return openFile{}, false
	}
	f := t.files[fh-1]
	return f, f.Handle != nil
}

func (t *handles) remove(fh uint64) (openFile, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fh == 0 || fh > uint64(len(t.files)) || t.files[fh-1].Handle == nil {
		return openFile{}, false
	}
	f := t.files[fh-1]
	t.files[fh-1] = openFile{}
	t.free = append(t.free, fh)
	return f, true
}
