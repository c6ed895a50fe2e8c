package fsx

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// file is one file on the file system and what it must be.
type file struct {
	model
	path string
	base int64
	open map[access]int // descriptors
	kept []byte         // a mapping of all that the file may become; nil: none
}

var openFlags = map[access]int{
	readWrite: unix.O_RDWR,
	readOnly:  unix.O_RDONLY,
	writeOnly: unix.O_WRONLY,
	appending: unix.O_WRONLY | unix.O_APPEND,
	direct:    unix.O_RDWR | unix.O_DIRECT,
	synced:    unix.O_RDWR | unix.O_SYNC,
}

// handle gives the descriptor for an access, and opens the file if need be.
func (f *file) handle(by access) (int, error) {
	if fd, ok := f.open[by]; ok {
		return fd, nil
	}
	fd, err := unix.Open(f.path, openFlags[by]|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", by, err)
	}
	f.open[by] = fd
	return fd, nil
}

func (f *file) close(by access) error {
	fd, ok := f.open[by]
	if !ok {
		return nil
	}
	delete(f.open, by)
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close %s: %w", by, err)
	}
	return nil
}

// closeAll leaves nothing open or mapped.
func (f *file) closeAll() error {
	err := f.unmap(false)
	for by := range openFlags {
		err = errors.Join(err, f.close(by))
	}
	return err
}

func (f *file) keep(limit int) error {
	if f.kept != nil {
		return nil
	}
	fd, err := f.handle(readWrite)
	if err != nil {
		return err
	}
	f.kept, err = unix.Mmap(fd, f.base, limit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return err
}

func (f *file) unmap(sync bool) error {
	if f.kept == nil {
		return nil
	}
	var err error
	if sync {
		err = unix.Msync(f.kept, unix.MS_SYNC)
	}
	err = errors.Join(err, unix.Munmap(f.kept))
	f.kept = nil
	return err
}

// mapped calls use with the mapping of a range inside the file.
func (f *file) mapped(off, n int, use func([]byte)) (err error) {
	if f.kept != nil {
		return withFaults(func() { use(f.kept[off : off+n]) })
	}
	fd, err := f.handle(readWrite)
	if err != nil {
		return err
	}
	from := off / block * block
	m, err := unix.Mmap(fd, f.base+int64(from), off+n-from, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	err = withFaults(func() { use(m[off-from:]) })
	return errors.Join(err, unix.Munmap(m))
}

// read reads up to n bytes; a short read that is not at the end is an error.
func (f *file) read(by access, off, n int) ([]byte, error) {
	fd, err := f.handle(by)
	if err != nil {
		return nil, err
	}
	p := aligned(n)
	done := 0
	for done < n {
		k, err := unix.Pread(fd, p[done:], f.base+int64(off+done))
		if err != nil {
			return nil, fmt.Errorf("pread: %w", err)
		}
		done += k
		if k == 0 || by == direct && k%sector != 0 {
			break
		}
	}
	return p[:done], nil
}

func (f *file) write(by access, off int, p []byte) error {
	fd, err := f.handle(by)
	if err != nil {
		return err
	}
	var n int
	if by == appending {
		n, err = unix.Write(fd, p)
	} else {
		n, err = unix.Pwrite(fd, p, f.base+int64(off))
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if n != len(p) {
		return fmt.Errorf("wrote %d of %d bytes", n, len(p))
	}
	return nil
}

func (f *file) truncate(by access, size int) error {
	if by == "" {
		return unix.Truncate(f.path, f.base+int64(size))
	}
	fd, err := f.handle(by)
	if err != nil {
		return err
	}
	return unix.Ftruncate(fd, f.base+int64(size))
}

func (f *file) fallocate(by access, mode uint32, off, n int) error {
	fd, err := f.handle(by)
	if err != nil {
		return err
	}
	return unix.Fallocate(fd, mode, f.base+int64(off), int64(n))
}

// seek asks for data or a hole; -1: ENXIO.
func (f *file) seek(by access, off, whence int) (int, error) {
	fd, err := f.handle(by)
	if err != nil {
		return 0, err
	}
	at, err := unix.Seek(fd, f.base+int64(off), whence)
	if err == unix.ENXIO {
		return -1, nil
	}
	return int(at - f.base), err
}

// stat gives what must be the same after the file system was mounted again.
func (f *file) stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Stat(f.path, &st)
	return unix.Stat_t{Ino: st.Ino, Mode: st.Mode, Nlink: st.Nlink, Size: st.Size, Mtim: st.Mtim, Ctim: st.Ctim}, err
}
