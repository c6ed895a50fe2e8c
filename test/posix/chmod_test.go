package posix

import "golang.org/x/sys/unix"

func testChmod(w *world) {
	w.run("modes", func(w *world) {
		for _, k := range kinds {
			if k == symlink {
				continue
			}
			w.make(k, string(k), w.root)
			for _, mode := range []uint32{0, 0o111, 0o222, 0o444, 0o644, 0o755, 0o777, 0o1777, 0o2755, 0o4755, 0o6777, 0o7777, 0o2644, 0o7000} {
				w.ok(w.root.chmod(string(k), mode))
				w.wantMode(string(k), mode)
				w.wantKind(string(k), k)
			}
			w.touches(func() error { return w.root.chmod(string(k), 0o640) }, string(k)+":c", ".:")
			w.keeps(func() error { return w.eve.chmod(string(k), 0o600) }, unix.EPERM, string(k))
			w.wantMode(string(k), 0o640)
		}
	})
	w.run("umask does not apply", func(w *world) {
		w.make(regular, "f", w.ann)
		w.ok(w.ann.withUmask(0o777, func() error { return w.ann.chmod("f", 0o666) }))
		w.wantMode("f", 0o666)
	})
	w.run("who may", func(w *world) {
		for _, k := range kinds {
			if k == symlink {
				continue
			}
			w.make(k, string(k), w.ann)
			w.want(w.ann.chmod(string(k), 0o1777), 0)
			w.wantMode(string(k), 0o1777)
			for _, c := range []*caller{w.bob, w.sue, w.eve} {
				w.want(c.chmod(string(k), 0o600), unix.EPERM)
			}
			w.want(w.root.chmod(string(k), 0o700), 0)
			w.wantMode(string(k), 0o700)
		}
	})
	w.run("follows links", func(w *world) {
		w.make(regular, "f", w.ann)
		w.ok(w.eve.withUmask(0, func() error { return w.root.symlink("f", "l") }), w.root.lchown("l", w.eve.uid, w.eve.gid))
		w.want(w.ann.chmod("l", 0o751), 0)
		w.wantMode("f", 0o751)
		w.wantMode("l", 0o777)
		w.want(w.eve.chmod("l", 0o600), unix.EPERM)
		w.want(w.root.lchmod("l", 0o600), unix.EOPNOTSUPP)
		w.wantMode("l", 0o777)
		w.want(w.ann.lchmod("f", 0o740), 0)
		w.wantMode("f", 0o740)
	})
	w.run("set-group-id needs the group", func(w *world) {
		for _, k := range []kind{regular, directory, fifo} {
			for _, gid := range []int{w.ann.gid, second, w.eve.gid, 0} {
				path := w.spareOf(k, w.ann)
				w.ok(w.root.chown(path, w.ann.uid, gid))
				w.ok(w.ann.chmod(path, 0o6755))
				if gid == w.ann.gid || gid == second {
					w.wantMode(path, 0o6755)
				} else {
					w.wantMode(path, 0o4755)
				}
				w.ok(w.root.chmod(path, 0o6755))
				w.wantMode(path, 0o6755)
				// Nor is it kept: whoever is not in the group takes it off with any chmod.
				w.ok(w.ann.chmod(path, 0o2700))
				if gid == w.ann.gid || gid == second {
					w.wantMode(path, 0o2700)
				} else {
					w.wantMode(path, 0o700)
				}
			}
		}
	})
	w.run("of open files", func(w *world) {
		w.make(regular, "f", w.ann)
		f, err := w.ann.open("f", unix.O_RDONLY, 0)
		w.ok(err)
		defer f.close()
		w.want(f.chmod(0o200), 0)
		w.wantMode("f", 0o200)
		_, err = f.pread(make([]byte, 1), 0)
		w.want(err, 0) // what is open stays open
		w.want(w.ann.opens("f", unix.O_RDONLY, 0), unix.EACCES)
		w.want(f.as(w.eve).chmod(0o777), unix.EPERM)
		w.ok(w.ann.call("unlink", func() error { return nil }), w.root.unlink("f"))
		w.want(f.chmod(0o640), 0)
		st, err := f.stat()
		w.ok(err)
		w.check(st.Mode == unix.S_IFREG|0o640, "an unlinked file has mode %o", st.Mode)
		w.make(regular, "g", w.ann)
		p, err := w.ann.open("g", unix.O_PATH, 0)
		w.ok(err)
		defer p.close()
		w.want(p.chmod(0o600), unix.EBADF)
	})
	w.run("of the directory one is in", func(w *world) {
		w.ok(w.root.mkdir("d", 0o755), w.root.chown("d", w.ann.uid, w.ann.gid), w.ann.chdir("d"))
		w.want(w.ann.create("a", 0o644), 0)
		w.want(w.ann.chmod(".", 0o500), 0)
		w.want(w.ann.create("b", 0o644), unix.EACCES)
		w.want(w.ann.chmod(".", 0o600), 0)
		_, err := w.ann.stat("a")
		w.want(err, unix.EACCES)
	})
}
