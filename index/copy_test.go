package index

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"coffer/chunkfmt"
)

// TestCopy copies an index while it goes on, and finds in each copy one of its states.
func TestCopy(t *testing.T) {
	x := openTemp(t)
	ino := chunkfmt.Ino(2)
	apply(t, x, tree(ino, 500)...)
	var applying sync.WaitGroup
	stop := make(chan struct{})
	applying.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
				apply(t, x, tree(chunkfmt.Ino(1000*n), 500)...)
			}
		}
	})
	defer applying.Wait()
	defer close(stop)
	for range 20 {
		f, err := os.Create(filepath.Join(t.TempDir(), "copy"))
		noError(t, err)
		noError(t, x.CopyTo(f))
		info, err := f.Stat()
		noError(t, err)
		noError(t, checkFile(f, info.Size()))
		y, err := OpenCopy(f, testID)
		noError(t, err)
		inodes, _ := y.Counts()
		var counted uint64
		noError(t, y.each(inodesTable(), func(_, _ []byte, _ *section) (bool, error) {
			counted++
			return true, nil
		}))
		if counted != inodes || counted < 500 {
			t.Errorf("a copy says that it has %d inodes, and has %d", inodes, counted)
		}
		if err := y.Apply(nil, y.Head(), nil); err == nil {
			t.Error("a copy can be applied to")
		}
		noError(t, y.Close())
	}
}

func inodesTable() table { return inodes }
