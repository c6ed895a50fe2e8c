package posix

import (
	"os/exec"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// testBadMemory passes addresses where nothing is.
func testBadMemory(w *world) {
	const page = 4096
	mem, err := unix.Mmap(-1, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	w.ok(err)
	defer unix.Munmap(mem)
	for i := range mem {
		mem[i] = 'm'
	}
	w.ok(unix.Mprotect(mem[page:], unix.PROT_NONE))
	bad := uintptr(unsafe.Pointer(&mem[0])) + page
	raw := func(what string, nr, a, b, c, d uintptr) error {
		return w.root.call(what, func() error {
			if _, _, errno := unix.Syscall6(nr, a, b, c, d, 0, 0); errno != 0 {
				return errno
			}
			return nil
		})
	}
	at := here
	cwd := uintptr(at)
	for what, nr := range map[string]uintptr{
		"openat": unix.SYS_OPENAT, "mkdirat": unix.SYS_MKDIRAT, "unlinkat": unix.SYS_UNLINKAT, "mknodat": unix.SYS_MKNODAT,
		"fchmodat": unix.SYS_FCHMODAT, "fchownat": unix.SYS_FCHOWNAT, "utimensat": unix.SYS_UTIMENSAT,
		"faccessat": unix.SYS_FACCESSAT, "readlinkat": unix.SYS_READLINKAT, "symlinkat": unix.SYS_SYMLINKAT,
	} {
		if what == "symlinkat" {
			w.want(raw(what, nr, bad, cwd, bad, 0), unix.EFAULT)
			continue
		}
		room := uintptr(0)
		if what == "readlinkat" {
			room = 10 // or it would be EINVAL
		}
		w.want(raw(what, nr, cwd, bad, 0, room), unix.EFAULT)
	}
	w.want(raw("renameat", unix.SYS_RENAMEAT2, cwd, bad, cwd, bad), unix.EFAULT)
	w.want(raw("truncate", unix.SYS_TRUNCATE, bad, 0, 0, 0), unix.EFAULT)
	w.want(raw("statfs", unix.SYS_STATFS, bad, 0, 0, 0), unix.EFAULT)

	w.ok(w.root.write("f", "contents"))
	for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR} {
		f, err := w.root.open("f", flags, 0)
		w.ok(err)
		fd := uintptr(f.fd)
		w.want(raw("write", unix.SYS_PWRITE64, fd, bad, 10, 0), unix.EFAULT)
		w.want(raw("fstat", unix.SYS_FSTAT, fd, bad, 0, 0), unix.EFAULT)
		w.wantText("f", "contents")
		if flags == unix.O_RDWR {
			w.want(raw("read", unix.SYS_PREAD64, fd, bad, 10, 0), unix.EFAULT)
		}
		// As much as there is, or nothing.
		n, _, errno := unix.Syscall6(unix.SYS_PWRITE64, fd, bad-10, 20, 100, 0, 0)
		w.check(errno == unix.EFAULT || errno == 0 && n == 10, "a write of memory that ends gives %d, %v", int(n), errno)
		w.ok(f.truncate(8), f.close())
		w.wantText("f", "contents")
	}
	d := w.openDir(".")
	defer d.close()
	w.want(raw("getdents", unix.SYS_GETDENTS64, uintptr(d.fd), bad, 1000, 0), unix.EFAULT)
}

// testLimits is the limit of a process on the size of its files.
func testLimits(w *world) {
	shell := func(script string) (string, error) {
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir = w.dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// 512 bytes a block, and no signal.
	const limited = "trap '' XFSZ; ulimit -f 8; "
	out, err := shell(limited + "dd if=/dev/zero of=f bs=4096 count=2")
	w.check(err != nil && strings.Contains(out, "File too large"), "beyond the limit: %v, %s", err, out)
	st, err := w.root.stat("f")
	w.ok(err)
	w.check(st.Size == 4096, "at the limit it has %d bytes", st.Size)
	out, err = shell(limited + "truncate -s 4097 f")
	w.check(err != nil && strings.Contains(out, "File too large"), "truncated beyond the limit: %v, %s", err, out)
	out, err = shell(limited + "fallocate -l 4097 f")
	w.check(err != nil && strings.Contains(out, "File too large"), "allocated beyond the limit: %v, %s", err, out)
	out, err = shell(limited + "truncate -s 4096 f && dd if=/dev/zero of=f bs=4096 count=1")
	w.check(err == nil, "within the limit: %v, %s", err, out)
}

// testAccess asks as who runs, not as whom it runs: access(2) is for set-user-id programs.
func testAccess(w *world) {
	mixed := caller{name: "root for ann", uid: w.ann.uid, gid: w.ann.gid, effective: true}
	w.ok(mixed.start())
	defer mixed.stop()
	w.ok(mixed.chdir(w.dir))
	w.make(regular, "f", w.root)
	w.ok(w.root.chmod("f", 0o640))
	w.want(mixed.access("f", unix.R_OK), unix.EACCES)
	w.want(mixed.opens("f", unix.O_RDWR, 0), 0)
	effective := func(mode uint32) error {
		return mixed.call("faccessat AT_EACCESS", func() error { return unix.Faccessat2(here, "f", mode, unix.AT_EACCESS) })
	}
	w.want(effective(unix.R_OK|unix.W_OK), 0)
	w.want(effective(unix.X_OK), unix.EACCES)
	w.ok(w.root.chown("f", w.ann.uid, -1))
	w.want(mixed.access("f", unix.R_OK|unix.W_OK), 0)
	w.want(mixed.access("f", unix.X_OK), unix.EACCES)
	w.want(mixed.access("f", unix.F_OK), 0)
	w.want(mixed.access("f", 8), unix.EINVAL)
	w.want(mixed.access("missing", unix.F_OK), unix.ENOENT)
	w.ok(w.root.symlink("missing", "l"))
	w.want(mixed.access("l", unix.F_OK), unix.ENOENT)
	w.want(mixed.call("faccessat AT_SYMLINK_NOFOLLOW", func() error {
		return unix.Faccessat2(here, "l", unix.F_OK, unix.AT_SYMLINK_NOFOLLOW)
	}), 0)
	w.want(w.eve.access("f", unix.F_OK), 0)
}
