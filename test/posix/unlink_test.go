package posix

import "golang.org/x/sys/unix"

func testRmdir(w *world) {
	w.run("removes", func(w *world) {
		w.ok(w.root.mkdir("d", 0o755))
		w.make(directory, "d/x", w.root)
		w.touches(func() error { return w.root.rmdir("d/x") }, "d:mc")
		w.wantKind("d/x", nothing)
		w.wantLinks("d", 2)
		w.want(w.root.rmdir("d/x"), unix.ENOENT)
		w.want(w.root.rmdir("d/"), 0)
		// The mode of a directory is nothing to whoever removes it.
		w.ok(w.root.chown(".", w.ann.uid, -1), w.ann.mkdir("none", 0))
		w.want(w.ann.rmdir("none"), 0)
	})
	w.run("not empty", func(w *world) {
		for _, k := range kinds {
			w.make(directory, "d", w.root)
			w.make(k, "d/x", w.root)
			w.keeps(func() error { return w.root.rmdir("d") }, unix.ENOTEMPTY, "d", "d/x", ".")
			w.ok(w.root.rename("d/x", "moved "+string(k)), w.root.rmdir("d"))
		}
		// What was removed from it is not in the way.
		w.ok(w.root.mkdir("d", 0o755), w.root.create("d/f", 0o644))
		f, err := w.root.open("d/f", unix.O_RDWR, 0)
		w.ok(err)
		defer f.close()
		w.ok(w.root.unlink("d/f"), w.root.rmdir("d"))
		_, err = f.pwrite([]byte("still"), 0)
		w.want(err, 0)
	})
	w.run("errors", func(w *world) {
		for _, k := range files {
			w.make(k, string(k), w.root)
			w.keeps(func() error { return w.root.rmdir(string(k)) }, unix.ENOTDIR, string(k), ".")
		}
		w.ok(w.root.mkdir("d", 0o755), w.root.mkdir("d/e", 0o755), w.root.symlink("d", "l"))
		w.want(w.root.rmdir("l"), unix.ENOTDIR)
		w.want(w.root.rmdir("l/"), unix.ENOTDIR)
		w.want(w.root.rmdir("d/."), unix.EINVAL)
		w.want(w.root.rmdir("d/e/.."), unix.ENOTEMPTY)
		w.want(w.root.rmdir("d/e/."), unix.EINVAL)
		w.want(w.root.rmdir("/"), unix.EBUSY, unix.ENOTEMPTY)
		w.ok(unix.Mount("posix", w.path("d/e"), "tmpfs", 0, ""))
		defer unix.Unmount(w.path("d/e"), unix.MNT_DETACH)
		w.want(w.root.rmdir("d/e"), unix.EBUSY)
	})
	w.run("with somebody in it", func(w *world) {
		w.ok(w.root.mkdir("d", 0o777), w.ann.chdir("d"))
		d, err := w.root.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		w.ok(err)
		defer d.close()
		w.ok(w.root.rmdir("d"))
		w.want(w.ann.create("f", 0o644), unix.ENOENT)
		w.want(w.ann.mkdir("e", 0o755), unix.ENOENT)
		w.want(w.ann.symlink("x", "l"), unix.ENOENT)
		w.want(w.ann.mkfifo("p", 0o644), unix.ENOENT)
		w.want(w.ann.link(w.path("d"), "x"), unix.ENOENT)
		_, err = w.ann.stat("f")
		w.want(err, unix.ENOENT)
		st, err := w.ann.stat(".")
		w.ok(err)
		w.check(st.Nlink == 0 && st.Mode == unix.S_IFDIR|0o777, "a removed directory has %d links and mode %o", st.Nlink, st.Mode)
		st, err = d.stat()
		w.ok(err)
		w.check(st.Nlink == 0, "a removed open directory has %d links", st.Nlink)
		buf := make([]byte, 1024)
		w.want(w.root.call("getdents", func() error { _, err := unix.Getdents(d.fd, buf); return err }), 0, unix.ENOENT)
		w.want(w.ann.call("getcwd", func() error { _, err := unix.Getcwd(buf); return err }), unix.ENOENT)
		w.want(d.sync(), 0)
	})
}

func testUnlink(w *world) {
	w.run("removes", func(w *world) {
		for _, k := range files {
			w.make(k, string(k), w.root)
			w.touches(func() error { return w.root.unlink(string(k)) }, ".:mc")
			w.wantKind(string(k), nothing)
			w.want(w.root.unlink(string(k)), unix.ENOENT)
		}
		// Neither mode nor owner of what is removed count, only those of the directory.
		w.make(regular, "f", w.root)
		w.ok(w.root.chmod("f", 0), w.root.chmod(".", 0o777))
		w.want(w.eve.unlink("f"), 0)
	})
	w.run("errors", func(w *world) {
		w.make(directory, "d", w.root)
		w.keeps(func() error { return w.root.unlink("d") }, unix.EISDIR, "d", ".")
		w.want(w.root.unlink("d/"), unix.EISDIR)
		w.want(w.root.unlink("d/."), unix.EISDIR, unix.EINVAL)
		w.want(w.root.unlink("d/.."), unix.EISDIR)
		w.make(regular, "d/f", w.root)
		w.keeps(func() error { return w.eve.unlink("d/f") }, unix.EACCES, "d/f", "d")
		w.ok(w.root.chown("d", w.ann.uid, w.ann.gid))
		w.want(w.ann.unlink("d/f/"), unix.ENOTDIR)
		w.ok(w.ann.chmod("d", 0o600))
		w.want(w.ann.unlink("d/f"), unix.EACCES)
		w.ok(w.ann.chmod("d", 0o300))
		w.want(w.ann.unlink("d/f"), 0)
		w.ok(w.root.call("create a mount point", func() error { return nil }), w.root.create("m", 0o644))
		w.ok(unix.Mount("/dev/null", w.path("m"), "", unix.MS_BIND, ""))
		defer unix.Unmount(w.path("m"), unix.MNT_DETACH)
		w.want(w.root.unlink("m"), unix.EBUSY)
	})
	w.run("open files live on", func(w *world) {
		f, err := w.root.open("f", unix.O_CREAT|unix.O_RDWR, 0o640)
		w.ok(err)
		_, err = f.pwrite([]byte("contents"), 0)
		w.ok(err)
		w.touchesFiles(func() error { return w.root.unlink("f") }, []*file{f}, "f:c")
		w.wantKind("f", nothing)
		st, err := f.stat()
		w.ok(err)
		w.check(st.Nlink == 0 && st.Size == 8 && st.Mode == unix.S_IFREG|0o640, "an unlinked open file has %+v", st)
		_, err = f.pwrite([]byte("more"), 8)
		w.ok(err)
		buf := make([]byte, 20)
		n, err := f.pread(buf, 0)
		w.check(err == nil && string(buf[:n]) == "contentsmore", "an unlinked open file holds %q, %v", buf[:n], err)
		w.want(f.truncate(100), 0)
		w.want(f.chmod(0o600), 0)
		w.want(f.chown(1, 2), 0)
		w.want(f.sync(), 0)
		w.want(f.fallocate(0, 0, 1000), 0)
		w.want(f.linkTo("again"), unix.ENOENT)
		// It can be opened again through what is open.
		again, err := w.root.open(f.procPath(), unix.O_RDONLY, 0)
		w.ok(err)
		n, err = again.pread(buf, 0)
		w.check(err == nil && n == 20 && string(buf[:12]) == "contentsmore", "opened again it holds %q, %v", buf[:n], err)
		w.ok(again.close())
		// The name is free.
		w.ok(w.root.write("f", "another"))
		w.wantText("f", "another")
		st, err = f.stat()
		w.ok(err)
		w.check(st.Size == 1000 && st.Ino != w.ino("f"), "the unlinked file became %+v", st)
		w.ok(f.close())
	})
	w.run("what is only referred to lives on", func(w *world) {
		for _, k := range kinds {
			w.make(k, string(k), w.root)
			f, err := w.root.open(string(k), unix.O_PATH|unix.O_NOFOLLOW, 0)
			w.ok(err)
			defer f.close()
			ino := w.ino(string(k))
			if k == directory {
				w.ok(w.root.rmdir(string(k)))
			} else {
				w.ok(w.root.unlink(string(k)))
			}
			st, err := f.stat()
			w.want(err, 0)
			w.check(err != nil || st.Nlink == 0 && st.Ino == ino && st.Mode&unix.S_IFMT == typeBits[k], "a removed %s has %+v", k, st)
		}
	})
}
