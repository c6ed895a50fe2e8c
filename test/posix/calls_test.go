package posix

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const here = unix.AT_FDCWD

// short keeps long names out of messages.
func short(path string) string {
	if len(path) > 60 {
		return fmt.Sprintf("%.40s…(%d bytes)", path, len(path))
	}
	return path
}

func (c *caller) chmod(path string, mode uint32) error {
	return c.call(fmt.Sprintf("chmod %s %o", short(path), mode), func() error {
		return unix.Fchmodat(here, path, mode, 0)
	})
}

// lchmod changes a link itself, if it can be done.
func (c *caller) lchmod(path string, mode uint32) error {
	return c.call(fmt.Sprintf("lchmod %s %o", short(path), mode), func() error {
		return unix.Fchmodat(here, path, mode, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (c *caller) chown(path string, uid, gid int) error {
	return c.call(fmt.Sprintf("chown %s %d:%d", short(path), uid, gid), func() error {
		return unix.Fchownat(here, path, uid, gid, 0)
	})
}

func (c *caller) lchown(path string, uid, gid int) error {
	return c.call(fmt.Sprintf("lchown %s %d:%d", short(path), uid, gid), func() error {
		return unix.Fchownat(here, path, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (c *caller) link(from, to string) error {
	return c.call(fmt.Sprintf("link %s %s", short(from), short(to)), func() error {
		return unix.Linkat(here, from, here, to, 0)
	})
}

func (c *caller) symlink(target, path string) error {
	return c.call(fmt.Sprintf("symlink %s %s", short(target), short(path)), func() error {
		return unix.Symlinkat(target, here, path)
	})
}

func (c *caller) readlink(path string) (string, error) {
	buf := make([]byte, 8192)
	n := 0
	err := c.call("readlink "+short(path), func() (err error) {
		n, err = unix.Readlinkat(here, path, buf)
		return err
	})
	return string(buf[:max(n, 0)]), err
}

func (c *caller) mkdir(path string, mode uint32) error {
	return c.call(fmt.Sprintf("mkdir %s %o", short(path), mode), func() error {
		return unix.Mkdirat(here, path, mode)
	})
}

func (c *caller) rmdir(path string) error {
	return c.call("rmdir "+short(path), func() error { return unix.Unlinkat(here, path, unix.AT_REMOVEDIR) })
}

func (c *caller) unlink(path string) error {
	return c.call("unlink "+short(path), func() error { return unix.Unlinkat(here, path, 0) })
}

func (c *caller) mkfifo(path string, mode uint32) error {
	return c.mknod(path, unix.S_IFIFO|mode, 0)
}

func (c *caller) mknod(path string, mode uint32, dev uint64) error {
	return c.call(fmt.Sprintf("mknod %s %o %x", short(path), mode, dev), func() error {
		return unix.Mknodat(here, path, mode, int(dev))
	})
}

// bind makes a socket by binding to it.
func (c *caller) bind(path string) error {
	return c.call("bind "+short(path), func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	})
}

func (c *caller) rename(from, to string) error { return c.rename2(from, to, 0) }

func (c *caller) rename2(from, to string, flags uint) error {
	return c.call(fmt.Sprintf("rename %s %s (flags %d)", short(from), short(to), flags), func() error {
		return unix.Renameat2(here, from, here, to, flags)
	})
}

func (c *caller) truncate(path string, size int64) error {
	return c.call(fmt.Sprintf("truncate %s %d", short(path), size), func() error {
		return unix.Truncate(path, size)
	})
}

// open opens; the caller's user closes.
func (c *caller) open(path string, flags int, mode uint32) (*file, error) {
	f := &file{c: c, name: short(path)}
	err := c.call(fmt.Sprintf("open %s %#x %o", short(path), flags, mode), func() (err error) {
		f.fd, err = unix.Openat(here, path, flags|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// opens opens and closes.
func (c *caller) opens(path string, flags int, mode uint32) error {
	f, err := c.open(path, flags, mode)
	if err == nil {
		err = f.close()
	}
	return err
}

// create makes an empty file with exactly that mode.
func (c *caller) create(path string, mode uint32) error {
	return c.opens(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, mode)
}

// write makes a file with contents, or replaces them.
func (c *caller) write(path, text string) error {
	f, err := c.open(path, unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.pwrite([]byte(text), 0)
	if cerr := f.close(); err == nil {
		err = cerr
	}
	return err
}

func (c *caller) read(path string) (string, error) {
	f, err := c.open(path, unix.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer f.close()
	st, err := f.stat()
	if err != nil {
		return "", err
	}
	buf := make([]byte, st.Size+1)
	n, err := f.pread(buf, 0)
	return string(buf[:max(n, 0)]), err
}

func (c *caller) stat(path string) (st unix.Stat_t, err error) {
	err = c.call("stat "+short(path), func() error { return unix.Fstatat(here, path, &st, 0) })
	return st, err
}

func (c *caller) lstat(path string) (st unix.Stat_t, err error) {
	err = c.call("lstat "+short(path), func() error {
		return unix.Fstatat(here, path, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return st, err
}

func (c *caller) statx(path string, flags int) (st unix.Statx_t, err error) {
	err = c.call("statx "+short(path), func() error {
		return unix.Statx(here, path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	})
	return st, err
}

func (c *caller) access(path string, mode uint32) error {
	return c.call(fmt.Sprintf("access %s %o", short(path), mode), func() error {
		return unix.Faccessat(here, path, mode, 0)
	})
}

// utimens sets both times; the flags are those of utimensat.
func (c *caller) utimens(path string, atime, mtime unix.Timespec, flags int) error {
	return c.call(fmt.Sprintf("utimensat %s %v %v", short(path), atime, mtime), func() error {
		return unix.UtimesNanoAt(here, path, []unix.Timespec{atime, mtime}, flags)
	})
}

// touch sets both times to now, as utimensat without times does.
func (c *caller) touch(path string) error {
	return c.call("utimensat "+short(path)+" NULL", func() error {
		p, err := unix.BytePtrFromString(path)
		if err != nil {
			return err
		}
		dir := here
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(dir), uintptr(unsafe.Pointer(p)), 0, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

func (c *caller) setxattr(path, name string, value []byte, flags int) error {
	return c.call(fmt.Sprintf("lsetxattr %s %s (%d bytes, flags %d)", short(path), short(name), len(value), flags), func() error {
		return unix.Lsetxattr(path, name, value, flags)
	})
}

func (c *caller) getxattr(path, name string, room int) (string, error) {
	buf := make([]byte, room)
	n := 0
	err := c.call(fmt.Sprintf("lgetxattr %s %s", short(path), short(name)), func() (err error) {
		n, err = unix.Lgetxattr(path, name, buf)
		return err
	})
	return string(buf[:max(min(n, room), 0)]), err
}

func (c *caller) listxattr(path string, room int) (string, error) {
	buf := make([]byte, room)
	n := 0
	err := c.call("llistxattr "+short(path), func() (err error) {
		n, err = unix.Llistxattr(path, buf)
		return err
	})
	return string(buf[:max(min(n, room), 0)]), err
}

func (c *caller) removexattr(path, name string) error {
	return c.call(fmt.Sprintf("lremovexattr %s %s", short(path), short(name)), func() error {
		return unix.Lremovexattr(path, name)
	})
}

func (c *caller) chdir(path string) error {
	return c.call("chdir "+short(path), func() error { return unix.Chdir(path) })
}

// withUmask runs f with a umask.
func (c *caller) withUmask(mask int, f func() error) error {
	c.run(func() { unix.Umask(mask) })
	defer c.run(func() { unix.Umask(0) })
	return f()
}

// file is an open file. Its calls are made as who opened it, unless as says otherwise.
type file struct {
	c    *caller
	name string
	fd   int
}

func (f *file) as(c *caller) *file { return &file{c, f.name, f.fd} }

func (f *file) close() error {
	return f.c.call("close "+f.name, func() error { return unix.Close(f.fd) })
}

func (f *file) stat() (st unix.Stat_t, err error) {
	err = f.c.call("fstat "+f.name, func() error { return unix.Fstat(f.fd, &st) })
	return st, err
}

func (f *file) pread(p []byte, off int64) (n int, err error) {
	err = f.c.call(fmt.Sprintf("pread %s %d at %d", f.name, len(p), off), func() (err error) {
		n, err = unix.Pread(f.fd, p, off)
		return err
	})
	return n, err
}

func (f *file) pwrite(p []byte, off int64) (n int, err error) {
	err = f.c.call(fmt.Sprintf("pwrite %s %d at %d", f.name, len(p), off), func() (err error) {
		n, err = unix.Pwrite(f.fd, p, off)
		return err
	})
	return n, err
}

func (f *file) write(p []byte) (n int, err error) {
	err = f.c.call(fmt.Sprintf("write %s %d", f.name, len(p)), func() (err error) {
		n, err = unix.Write(f.fd, p)
		return err
	})
	return n, err
}

func (f *file) read(p []byte) (n int, err error) {
	err = f.c.call(fmt.Sprintf("read %s %d", f.name, len(p)), func() (err error) {
		n, err = unix.Read(f.fd, p)
		return err
	})
	return n, err
}

func (f *file) seek(off int64, whence int) (pos int64, err error) {
	err = f.c.call(fmt.Sprintf("lseek %s %d %d", f.name, off, whence), func() (err error) {
		pos, err = unix.Seek(f.fd, off, whence)
		return err
	})
	return pos, err
}

func (f *file) truncate(size int64) error {
	return f.c.call(fmt.Sprintf("ftruncate %s %d", f.name, size), func() error { return unix.Ftruncate(f.fd, size) })
}

func (f *file) fallocate(mode uint32, off, n int64) error {
	return f.c.call(fmt.Sprintf("fallocate %s mode %#x %d+%d", f.name, mode, off, n), func() error {
		return unix.Fallocate(f.fd, mode, off, n)
	})
}

func (f *file) chmod(mode uint32) error {
	return f.c.call(fmt.Sprintf("fchmod %s %o", f.name, mode), func() error { return unix.Fchmod(f.fd, mode) })
}

func (f *file) chown(uid, gid int) error {
	return f.c.call(fmt.Sprintf("fchown %s %d:%d", f.name, uid, gid), func() error { return unix.Fchown(f.fd, uid, gid) })
}

func (f *file) sync() error {
	return f.c.call("fsync "+f.name, func() error { return unix.Fsync(f.fd) })
}

// tick waits until file systems give later times than before. Their clock goes in steps, and may be more than one behind
// the time at which a busy machine looks; but what was looked at gets the exact time when it is changed next. So a step is
// not enough: the clock has to pass the time that it is.
func tick() {
	var start, now unix.Timespec
	unix.ClockGettime(unix.CLOCK_REALTIME, &start)
	for now.Nano() <= start.Nano() {
		time.Sleep(time.Millisecond)
		unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now)
	}
}

// procPath is a path that leads to the open file, whatever its name.
func (f *file) procPath() string { return fmt.Sprintf("/proc/self/fd/%d", f.fd) }
