package index

import (
	"errors"
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
	x := &Index{db: db, file: f}
	x.Reader = Reader{x: x, at: Present}
	if err := x.load(id); err != nil {
		return nil, errors.Join(fmt.Errorf("open a copy of the index: %w", err), db.Close())
	}
	return x, nil
}
