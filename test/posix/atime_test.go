package posix

import "golang.org/x/sys/unix"

// testAtime is the policy of relatime: a read moves the access time if it is not after the other times, or
// a day old.
func testAtime(w *world) {
	long := unix.Timespec{Sec: clock().Sec - 100_000}
	recent := unix.Timespec{Sec: clock().Sec - 1000}
	w.run("files", func(w *world) {
		w.ok(w.root.write("f", "contents"))
		read := func() error { _, err := w.root.read("f"); return err }
		unread := func() {
			w.Helper()
			w.touches(read, "f:a")
			w.touches(read, "f:")
			w.touches(read, "f:")
		}
		unread()
		w.ok(w.root.write("f", "other"))
		unread()
		w.ok(w.root.chmod("f", 0o600))
		unread()
		w.ok(w.root.truncate("f", 3))
		unread()
		w.ok(w.root.utimens("f", long, long, 0))
		unread()
		w.ok(w.root.link("f", "g"))
		unread()
		// Neither old nor changed since: nothing moves.
		w.ok(w.root.utimens("f", recent, long, 0))
		w.touches(read, "f:a") // the ctime has moved
		w.touches(read, "f:")
		// Many openers, and one that reads what another wrote.
		f, err := w.root.open("f", unix.O_RDWR, 0)
		w.ok(err)
		defer f.close()
		w.touches(func() error { _, err := f.pwrite([]byte("x"), 0); return err }, "f:mc")
		if w.place.writeback {
			return // the kernel has not told yet that there is something new
		}
		w.touches(read, "f:a")
	})
	w.run("without", func(w *world) {
		w.ok(w.root.write("f", "contents"))
		w.touches(func() error {
			f, err := w.root.open("f", unix.O_RDONLY|unix.O_NOATIME, 0)
			w.ok(err)
			defer f.close()
			_, err = f.pread(make([]byte, 10), 0)
			return err
		}, "f:")
		w.touches(func() error { return w.root.opens("f", unix.O_RDONLY, 0) }, "f:")
		w.touches(func() error { _, err := w.root.stat("f"); return err }, "f:")
		w.touches(func() error { return w.root.access("f", unix.R_OK) }, "f:")
		w.touches(func() error { _, err := w.root.listxattr("f", 100); return err }, "f:")
	})
	w.run("directories", func(w *world) {
		w.ok(w.root.mkdir("d", 0o755), w.root.create("d/f", 0o644))
		list := func() error {
			d, err := w.root.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			w.ok(err)
			defer d.close()
			return w.root.call("getdents d", func() error { _, err := unix.Getdents(d.fd, make([]byte, 10000)); return err })
		}
		w.touches(list, "d:a")
		w.touches(list, "d:")
		w.ok(w.root.create("d/g", 0o644))
		w.touches(list, "d:a")
		w.touches(func() error { _, err := w.root.stat("d/f"); return err }, "d:")
		w.touches(func() error { return w.root.opens("d/f", unix.O_RDONLY, 0) }, "d:", "d/f:")
	})
	w.run("links", func(w *world) {
		w.ok(w.root.symlink("x", "l"))
		read := func() error { _, err := w.root.readlink("l"); return err }
		w.touches(read, "l:a")
		w.touches(read, "l:")
		w.ok(w.root.lchown("l", 1, 1))
		w.touches(read, "l:A") // not where the kernel knows where it leads
		w.ok(w.root.mkdir("x", 0o755), w.root.symlink("x", "m"))
		w.touches(func() error { _, err := w.root.stat("m/."); return err }, "m:a") // followed
	})
}
