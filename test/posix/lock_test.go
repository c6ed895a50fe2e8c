package posix

import (
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func testLocks(w *world) {
	fcntl := func(f *file, cmd int, typ int16, start, n int64) error {
		return w.root.call("fcntl "+f.name, func() error {
			return unix.FcntlFlock(uintptr(f.fd), cmd, &unix.Flock_t{Type: typ, Whence: unix.SEEK_SET, Start: start, Len: n})
		})
	}
	open := func(path string, flags int) *file {
		f, err := w.root.open(path, flags, 0o644)
		w.ok(err)
		w.Cleanup(func() { f.close() })
		return f
	}
	w.run("flock", func(w *world) {
		a, b := open("f", unix.O_CREAT|unix.O_RDWR), open("f", unix.O_RDONLY)
		flock := func(f *file, how int) error {
			return w.root.call("flock "+f.name, func() error { return unix.Flock(f.fd, how|unix.LOCK_NB) })
		}
		w.want(flock(a, unix.LOCK_EX), 0)
		w.want(flock(b, unix.LOCK_EX), unix.EWOULDBLOCK)
		w.want(flock(b, unix.LOCK_SH), unix.EWOULDBLOCK)
		w.want(flock(a, unix.LOCK_SH), 0)
		w.want(flock(b, unix.LOCK_SH), 0)
		w.want(flock(a, unix.LOCK_EX), unix.EWOULDBLOCK)
		w.want(flock(b, unix.LOCK_UN), 0)
		w.want(flock(a, unix.LOCK_EX), 0)
		// Somebody who waits gets it when it is given back.
		got := make(chan error)
		go func() { got <- unix.Flock(b.fd, unix.LOCK_EX) }()
		select {
		case err := <-got:
			w.Errorf("a lock that is held was given: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		w.want(flock(a, unix.LOCK_UN), 0)
		if err := <-got; err != nil {
			w.Error(err)
		}
		// The last close gives it back.
		c := open("f", unix.O_RDWR)
		w.want(flock(c, unix.LOCK_EX), unix.EWOULDBLOCK)
		w.ok(unix.Dup2(b.fd, c.fd), flock(c, unix.LOCK_EX))
	})
	w.run("open file descriptions", func(w *world) {
		a, b := open("f", unix.O_CREAT|unix.O_RDWR), open("f", unix.O_RDWR)
		w.want(fcntl(a, unix.F_OFD_SETLK, unix.F_WRLCK, 10, 10), 0)
		w.want(fcntl(b, unix.F_OFD_SETLK, unix.F_WRLCK, 0, 10), 0)
		w.want(fcntl(b, unix.F_OFD_SETLK, unix.F_WRLCK, 20, 0), 0)
		w.want(fcntl(b, unix.F_OFD_SETLK, unix.F_RDLCK, 19, 1), unix.EAGAIN)
		w.want(fcntl(b, unix.F_OFD_SETLK, unix.F_WRLCK, 5, 6), unix.EAGAIN)
		w.want(fcntl(a, unix.F_OFD_SETLK, unix.F_RDLCK, 10, 10), 0)
		w.want(fcntl(b, unix.F_OFD_SETLK, unix.F_RDLCK, 19, 1), 0)
		w.want(fcntl(b, unix.F_OFD_SETLK, unix.F_WRLCK, 12, 1), unix.EAGAIN)
		w.want(fcntl(a, unix.F_OFD_SETLK, unix.F_UNLCK, 12, 1), 0)
		w.want(fcntl(b, unix.F_OFD_SETLK, unix.F_WRLCK, 12, 1), 0)
		l := unix.Flock_t{Type: unix.F_WRLCK, Start: 0, Len: 0}
		w.ok(w.root.call("F_OFD_GETLK", func() error { return unix.FcntlFlock(uintptr(a.fd), unix.F_OFD_GETLK, &l) }))
		w.check(l.Type == unix.F_WRLCK && l.Start == 0 && l.Len == 10 && l.Pid == -1, "the first lock in the way is %+v", l)
		w.ok(b.close())
		w.want(fcntl(a, unix.F_OFD_SETLK, unix.F_WRLCK, 0, 0), 0)
		r := open("f", unix.O_RDONLY)
		w.want(fcntl(r, unix.F_OFD_SETLK, unix.F_WRLCK, 0, 1), unix.EBADF)
	})
	w.run("processes", func(w *world) {
		a := open("f", unix.O_CREAT|unix.O_RDWR)
		w.want(fcntl(a, unix.F_SETLK, unix.F_WRLCK, 0, 10), 0)
		// Of another process, which says what it gets.
		other := func(start, n string) string {
			cmd := exec.Command(os.Args[0], "-test.run=^TestLocker$", "-test.v")
			cmd.Env = append(os.Environ(), lockEnv+"="+w.path("f")+" "+start+" "+n)
			out, err := cmd.CombinedOutput()
			if err != nil {
				w.Fatalf("%v\n%s", err, out)
			}
			return string(out)
		}
		w.check(strings.Contains(other("5", "1"), "refused"), "a locked range was given to another process")
		w.check(strings.Contains(other("10", "5"), "given"), "a free range was refused to another process")
		// Any close of the file gives the process's locks back.
		w.ok(w.root.opens("f", unix.O_RDONLY, 0))
		w.check(strings.Contains(other("5", "1"), "given"), "a lock outlives a close")
		w.want(fcntl(a, unix.F_SETLK, unix.F_WRLCK, -1, 10), unix.EINVAL)
	})
	w.run("leases", func(w *world) {
		f := open("f", unix.O_CREAT|unix.O_RDONLY)
		w.ok(w.root.call("F_SETLEASE", func() error {
			_, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETLEASE, unix.F_RDLCK)
			return err
		}))
	})
}
