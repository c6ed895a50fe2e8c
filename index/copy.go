package index

import (
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// CopyTo writes a whole index, as it was at one commit, to the empty file f. It may be
// called while others read and apply. Where the file system can share what two files
// have in common, that takes no time and no room.
func (x *Index) CopyTo(f *os.File) error {
	err := x.view(func(tx *bolt.Tx, _ *section) error {
		// A file cloned in the midst of a commit is one that a crash left there.
		if unix.IoctlFileClone(int(f.Fd()), int(x.file.Fd())) == nil {
			return nil
		}
		_, err := tx.WriteTo(f)
		return err
	})
	if err != nil {
		return fmt.Errorf("copy the index: %w", err)
	}
	return nil
}

// OpenCopy opens what CopyTo has written, for reading only, and takes the file over.
// It is not checked again: what it was copied from was. Apply fails.
func OpenCopy(f *os.File, id Identity) (*Index, error) {
	db, err := openDB(f.Name(), &bolt.Options{
		ReadOnly:     true,
		NoStatistics: true,
		OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
	if err != nil {
		_ = f.Close() // bbolt closes it too, but not always
		return nil, fmt.Errorf("open a copy of the index: %w", err)
	}
	x, err := loaded(db, f, id)
	if err != nil {
		return nil, fmt.Errorf("open a copy of the index: %w", err)
	}
	return x, nil
}

// OpenPrivate opens what CopyTo has written as an index of the caller's own, and takes
// the file over, which must be open for writing. What is applied to it is never synced.
func OpenPrivate(f *os.File, id Identity) (*Index, error) {
	defer f.Close() // its copy stays open
	var file *os.File
	options := &bolt.Options{
		NoFreelistSync:  true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mapSize,
		NoStatistics:    true,
		NoSync:          true,
		NoGrowSync:      true,
		// The file may have no name, and may have to be opened twice.
		OpenFile: func(string, int, os.FileMode) (*os.File, error) {
			fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			file = os.NewFile(uintptr(fd), f.Name())
			return file, nil
		},
	}
	db, err := openMapped(f.Name(), options)
	if err != nil {
		if file != nil {
			_ = file.Close() // bbolt closes it too, but not after a panic
		}
		return nil, fmt.Errorf("open a copy of the index: %w", err)
	}
	x, err := loaded(db, file, id)
	if err != nil {
		return nil, fmt.Errorf("open a copy of the index: %w", err)
	}
	return x, nil
}
