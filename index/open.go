package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	// mapSize is the address space that the file is mapped into. A map that never
	// has to grow is one that no reader has to wait for.
	mapSize   = 64 << 30
	lockWait  = 500 * time.Millisecond
	lockRetry = 10 * time.Millisecond
)

// Open opens the index at path, or makes an empty one there if nothing is, for one
// volume. Every byte in use is checked. It fails with ErrLocked if another process
// does not give the index up within half a second, and with ErrRebuild if the file
// is something else, or damaged; nothing is changed then.
func Open(path string, id Identity) (*Index, error) {
	x, err := open(path, id)
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", path, err)
	}
	return x, nil
}

func open(path string, id Identity) (*Index, error) { return openFile(path, id, openChecked) }

type openFunc func(path string, flag int, mode os.FileMode) (*os.File, error)

// openFile opens the file that get returns, which is locked and fit for bbolt.
func openFile(path string, id Identity, get openFunc) (x *Index, err error) {
	var file *os.File
	options := &bolt.Options{
		NoFreelistSync:  true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mapSize,
		NoStatistics:    true,
		OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := get(path, flag, mode)
			file = f
			return f, err
		},
	}
	db, err := openMapped(path, options)
	if err != nil {
		if file != nil {
			_ = file.Close() // bbolt closes it too, but not after a panic
		}
		return nil, err
	}
	return loaded(db, file, id)
}

// openMapped opens a file that may grow.
func openMapped(path string, options *bolt.Options) (*bolt.DB, error) {
	db, err := openDB(path, options)
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EAGAIN) {
		options.InitialMmapSize = 0 // a limit on address space; readers may have to wait
		db, err = openDB(path, options)
	}
	return db, err
}

// loaded makes an index of an open file, and closes it if it is none.
func loaded(db *bolt.DB, file *os.File, id Identity) (*Index, error) {
	x := &Index{db: db, file: file}
	x.Reader = Reader{x: x, at: Present}
	if err := x.load(id); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return x, nil
}

// openDB turns a panic of bbolt over a damaged file into an error.
func openDB(path string, options *bolt.Options) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var s section
	defer s.end(&err)
	return bolt.Open(path, 0o600, options)
}

// openChecked opens the file, locks it, and checks it before bbolt sees it.
func openChecked(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if info.Size() > 0 {
		if err := checkFile(f, info.Size()); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

func lock(f *os.File) error {
	for deadline := time.Now().Add(lockWait); ; time.Sleep(lockRetry) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock: %w", err)
		}
		if time.Now().After(deadline) {
			return ErrLocked
		}
	}
}

// load reads the state, or makes the buckets of a new file.
func (x *Index) load(id Identity) error {
	var st *state
	err := x.view(func(tx *bolt.Tx, _ *section) error {
		if tx.Bucket(meta.now) == nil {
			return nil
		}
		for _, name := range bucketNames() {
			if tx.Bucket(name) == nil {
				return fmt.Errorf("%w: no bucket %q", ErrRebuild, name)
			}
		}
		var err error
		if st, err = readState(tx); err != nil {
			return err
		}
		first, _ := tx.Bucket(healed.now).Cursor().First()
		x.heals.Store(first != nil)
		return nil
	})
	if err != nil {
		return err
	}
	if st == nil {
		return x.create(id)
	}
	if st.id != id {
		return fmt.Errorf("%w: it belongs to volume %s of store %s", ErrRebuild, st.id.Volume, st.id.Store)
	}
	x.state.Store(st)
	return nil
}

func (x *Index) create(id Identity) error {
	st := &state{id: id, archive: 1}
	err := x.db.Update(func(tx *bolt.Tx) error {
		for _, name := range bucketNames() {
			if _, err := tx.CreateBucket(name); err != nil {
				return fmt.Errorf("create bucket %s: %w", name, err)
			}
		}
		return writeState(tx, st, &arena{})
	})
	if err != nil {
		return err
	}
	x.state.Store(st)
	return nil
}

// Close closes the index. Reads that are under way are waited for.
func (x *Index) Close() error {
	x.applying.Lock()
	defer x.applying.Unlock()
	if x.applied && x.broken == nil {
		// With the list of free pages in the file, the next open need not find them.
		x.db.NoFreelistSync = false
		if err := x.update(func(*bolt.Tx) error { return nil }); err != nil {
			return errors.Join(err, x.db.Close())
		}
		x.applied = false
	}
	x.broken = errClosed
	return x.db.Close()
}

// Remove deletes a closed index, for instance one that must be rebuilt. It is no
// error if there is none.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove index: %w", err)
	}
	return nil
}
