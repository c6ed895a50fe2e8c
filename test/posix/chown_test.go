package posix

import "golang.org/x/sys/unix"

func testChown(w *world) {
	w.run("by root", func(w *world) {
		for _, k := range kinds {
			path := string(k)
			w.make(k, path, w.root)
			w.ok(w.root.lchown(path, 123, 456))
			w.wantOwner(path, 123, 456)
			w.ok(w.root.lchown(path, -1, 789))
			w.wantOwner(path, 123, 789)
			w.ok(w.root.lchown(path, 321, -1))
			w.wantOwner(path, 321, 789)
			w.ok(w.root.lchown(path, 1<<31+7, 1<<31+8)) // beyond 31 bits
			w.wantOwner(path, 1<<31+7, 1<<31+8)
			w.touches(func() error { return w.root.lchown(path, 1, 2) }, path+":c", ".:")
			w.touches(func() error { return w.root.lchown(path, 1, 2) }, path+":c")
			w.touches(func() error { return w.root.lchown(path, -1, -1) }, path+":c")
			w.wantOwner(path, 1, 2)
		}
	})
	w.run("by users", func(w *world) {
		for _, k := range kinds {
			path := string(k)
			w.make(k, path, w.ann)
			w.want(w.ann.lchown(path, w.ann.uid, w.ann.gid), 0)
			w.want(w.ann.lchown(path, -1, second), 0)
			w.wantOwner(path, w.ann.uid, second)
			w.touches(func() error { return w.ann.lchown(path, w.ann.uid, w.ann.gid) }, path+":c")
			w.wantOwner(path, w.ann.uid, w.ann.gid)
			w.keeps(func() error { return w.ann.lchown(path, w.bob.uid, -1) }, unix.EPERM, path)
			w.want(w.ann.lchown(path, w.bob.uid, w.ann.gid), unix.EPERM)
			w.want(w.ann.lchown(path, -1, w.eve.gid), unix.EPERM)
			w.want(w.ann.lchown(path, -1, 0), unix.EPERM)
			w.want(w.ann.lchown(path, 0, 0), unix.EPERM)
			for _, c := range []*caller{w.bob, w.sue, w.eve} {
				w.want(c.lchown(path, c.uid, -1), unix.EPERM)
				w.want(c.lchown(path, -1, c.gid), unix.EPERM)
				w.want(c.lchown(path, w.ann.uid, w.ann.gid), unix.EPERM)
			}
			w.wantOwner(path, w.ann.uid, w.ann.gid)
		}
		// Being of the group does not give the group away, nor keep it.
		w.make(regular, "f", w.ann)
		w.ok(w.root.chown("f", w.ann.uid, w.eve.gid))
		w.want(w.ann.chown("f", -1, w.eve.gid), 0) // as it is
		w.want(w.ann.chown("f", -1, second), 0)
		w.want(w.ann.chown("f", -1, w.eve.gid), unix.EPERM)
	})
	w.run("links", func(w *world) {
		w.make(regular, "f", w.root)
		w.ok(w.root.symlink("f", "l"))
		w.ok(w.root.chown("l", 5, 6))
		w.wantOwner("f", 5, 6)
		w.wantOwner("l", 0, 0)
		w.ok(w.root.lchown("l", 7, 8))
		w.wantOwner("f", 5, 6)
		w.wantOwner("l", 7, 8)
		w.ok(w.root.symlink("nowhere", "dangling"))
		w.want(w.root.chown("dangling", 5, 6), unix.ENOENT)
		w.want(w.root.lchown("dangling", 5, 6), 0)
	})
	w.run("set-id bits", func(w *world) {
		for _, c := range []struct {
			mode, then uint32 // after a change by the owner, and by root too
		}{
			{0o6555, 0o555}, {0o6777, 0o777}, {0o4711, 0o711}, {0o2711, 0o711}, {0o4600, 0o600}, {0o7711, 0o1711},
			{0o2644, 0o2644}, // without execution by the group it is a lock's bit
			{0o6644, 0o2644},
		} {
			for _, who := range []*caller{w.ann, w.root} {
				for _, to := range [][2]int{{-1, second}, {w.ann.uid, w.ann.gid}, {-1, -1}, {w.ann.uid, -1}} {
					path := w.spareOf(regular, w.ann)
					w.ok(w.root.chmod(path, c.mode))
					w.wantMode(path, c.mode)
					w.ok(who.chown(path, to[0], to[1]))
					got := w.mode(path)
					w.check(got == c.then, "%s: chown %d:%d of a file of mode %s leaves %s, want %s",
						who.name, to[0], to[1], octal(c.mode), octal(got), octal(c.then))
				}
			}
			dir := w.spareOf(directory, w.ann)
			w.ok(w.root.chmod(dir, c.mode), w.ann.chown(dir, -1, second))
			w.wantMode(dir, c.mode)
		}
		path := w.spareOf(regular, w.ann)
		w.ok(w.root.chmod(path, 0o6755))
		w.want(w.eve.chown(path, w.eve.uid, -1), unix.EPERM)
		w.wantMode(path, 0o6755)
	})
	w.run("of open files", func(w *world) {
		w.make(regular, "f", w.ann)
		w.ok(w.root.chmod("f", 0o6755))
		f, err := w.ann.open("f", unix.O_RDONLY, 0)
		w.ok(err)
		defer f.close()
		w.want(f.chown(-1, second), 0)
		w.wantOwner("f", w.ann.uid, second)
		w.wantMode("f", 0o755)
		w.want(f.as(w.eve).chown(w.eve.uid, -1), unix.EPERM)
		w.want(f.as(w.root).chown(9, 9), 0)
		w.wantOwner("f", 9, 9)
	})
	w.run("permissions follow", func(w *world) {
		w.make(regular, "f", w.ann)
		w.ok(w.root.chmod("f", 0o600))
		w.want(w.bob.opens("f", unix.O_RDWR, 0), unix.EACCES)
		w.ok(w.root.chown("f", w.bob.uid, -1))
		w.want(w.bob.opens("f", unix.O_RDWR, 0), 0)
		w.want(w.ann.opens("f", unix.O_RDWR, 0), unix.EACCES)
		w.want(w.ann.chmod("f", 0o666), unix.EPERM)
		w.ok(w.root.chmod("f", 0o060))
		w.want(w.sue.opens("f", unix.O_RDWR, 0), 0)
		w.want(w.bob.opens("f", unix.O_RDWR, 0), unix.EACCES)
		w.ok(w.root.chown("f", -1, w.eve.gid))
		w.want(w.sue.opens("f", unix.O_RDWR, 0), unix.EACCES)
		w.want(w.eve.opens("f", unix.O_RDWR, 0), 0)
	})
}
