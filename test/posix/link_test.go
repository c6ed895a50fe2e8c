package posix

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func testLink(w *world) {
	w.run("is the same inode", func(w *world) {
		for _, k := range files {
			a, b, c := string(k)+" a", string(k)+" b", string(k)+" c"
			w.make(k, a, w.root)
			ino := w.ino(a)
			w.wantLinks(a, 1)
			w.touches(func() error { return w.root.link(a, b) }, a+":c", ".:mc")
			w.ok(w.root.link(b, c))
			for _, path := range []string{a, b, c} {
				w.same(path, ino)
				w.wantLinks(path, 3)
				w.wantKind(path, k)
			}
			w.ok(w.root.lchown(b, 11, 12))
			w.wantOwner(c, 11, 12)
			if k != symlink {
				w.ok(w.root.chmod(c, 0o751))
				w.wantMode(a, 0o751)
			}
			w.touches(func() error { return w.root.unlink(a) }, b+":c", ".:mc")
			w.wantKind(a, nothing)
			w.wantLinks(b, 2)
			w.ok(w.root.unlink(c))
			w.wantLinks(b, 1)
			w.same(b, ino)
		}
	})
	w.run("contents are one", func(w *world) {
		w.ok(w.root.write("a", "first"), w.root.link("a", "b"), w.root.write("b", "second and longer"))
		w.wantText("a", "second and longer")
		w.ok(w.root.truncate("a", 6))
		w.wantText("b", "second")
		w.ok(w.root.unlink("a"))
		w.wantText("b", "second")
	})
	w.run("not of directories", func(w *world) {
		w.make(directory, "d", w.ann)
		w.want(w.root.link("d", "x"), unix.EPERM)
		w.ok(w.root.chown(".", w.ann.uid, -1))
		w.want(w.ann.link("d", "x"), unix.EPERM)
		w.want(w.root.link(".", "x"), unix.EPERM)
	})
	w.run("of links", func(w *world) {
		w.make(regular, "f", w.root)
		w.ok(w.root.symlink("f", "l"), w.root.link("l", "l2"))
		w.wantKind("l2", symlink)
		follow := func(from, to string) error {
			return w.root.call("linkat follow", func() error {
				return unix.Linkat(here, from, here, to, unix.AT_SYMLINK_FOLLOW)
			})
		}
		w.ok(follow("l", "f2"))
		w.wantKind("f2", regular)
		w.wantLinks("f", 2)
		w.ok(w.root.symlink("nowhere", "dangling"))
		w.want(follow("dangling", "x"), unix.ENOENT)
		w.want(w.root.link("dangling", "x"), 0)
	})
	w.run("permissions", func(w *world) {
		w.ok(w.root.mkdir("from", 0o755), w.root.mkdir("to", 0o755))
		w.make(regular, "from/f", w.ann)
		w.want(w.ann.link("from/f", "to/f"), unix.EACCES)
		w.ok(w.root.chmod("to", 0o777))
		w.want(w.ann.link("from/f", "to/f"), 0)
		w.ok(w.root.chmod("from", 0o700))
		w.want(w.ann.link("from/f", "to/g"), unix.EACCES)
		w.want(w.ann.link("to/f", "from/g"), unix.EACCES)
	})
	w.run("errors", func(w *world) {
		w.make(regular, "f", w.root)
		w.want(w.root.link("f", "f"), unix.EEXIST)
		w.want(w.root.link("missing", "f"), unix.ENOENT)
		w.want(w.root.link("missing", "x"), unix.ENOENT)
		w.want(w.root.link("f", "x/"), unix.ENOENT)
		w.keeps(func() error { return w.root.link("f", "f") }, unix.EEXIST, "f", ".")
		w.wantLinks("f", 1)
		w.want(w.root.link("f", "/dev/shm/posix"), unix.EXDEV)
		w.want(w.root.link("/proc/self/status", "x"), unix.EXDEV)
		w.want(w.root.call("linkat with bad flags", func() error {
			return unix.Linkat(here, "f", here, "x", 0x8000)
		}), unix.EINVAL)
	})
	w.run("many", func(w *world) {
		const n = 1500
		w.make(regular, "f", w.root)
		w.ok(w.root.mkdir("d", 0o755))
		for i := range n {
			w.ok(w.root.link("f", fmt.Sprint("d/", i)))
		}
		w.wantLinks("f", n+1)
		for i := range n {
			w.ok(w.root.unlink(fmt.Sprint("d/", i)))
		}
		w.wantLinks("f", 1)
		w.ok(w.root.rmdir("d"))
	})
}
