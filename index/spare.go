package index

import (
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// The kernel maps 64 KiB around each page that is touched and cached. A commit touches pages all over the file, and reads do
// in time: soon all of it is mapped.
const (
	spareViews = 64               // read transactions after which an index that is spared gives back what is mapped
	sparePause = time.Millisecond // between two times that it does while changes are applied
)

// Spare has the index give the pages of its file that are mapped back to the kernel from now on, again and again. The
// kernel's cache keeps them, and who touches them next maps them again: it is a little slower, and the process smaller.
func (x *Index) Spare() {
	x.spared.Store(true)
	x.unmap()
}

// viewing is called before each read transaction.
func (x *Index) viewing() {
	if x.spared.Load() && x.views.Add(1)%spareViews == 0 {
		x.unmap()
	}
}

// spareApply works until it is told to stop.
func (x *Index) spareApply() (stop func()) {
	if !x.spared.Load() {
		return func() {}
	}
	done := make(chan struct{})
	var unmapper sync.WaitGroup
	unmapper.Go(func() {
		pause := time.NewTicker(sparePause)
		defer pause.Stop()
		for {
			select {
			case <-done:
				x.unmap()
				return
			case <-pause.C:
				x.unmap()
			}
		}
	})
	return func() {
		close(done)
		unmapper.Wait()
	}
}

// unmap may be called at any time. That it fails leaves more mapped, and nothing else.
func (x *Index) unmap() {
	_ = x.guarded(func(tx *bolt.Tx, _ *section) error { // the mapping stays where it is while a transaction is open
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, x.db.Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
		return nil
	})
}
