package posix

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func testRename(w *world) {
	w.run("moves", func(w *world) {
		w.ok(w.root.mkdir("a", 0o755), w.root.mkdir("b", 0o755))
		for _, k := range kinds {
			from, to := "a/"+string(k), "b/"+string(k)
			w.make(k, from, w.root)
			ino := w.ino(from)
			st, err := w.root.lstat(from)
			w.ok(err)
			w.touches(func() error { return w.root.rename(from, to) }, "a:mc", "b:mc", from+":c")
			w.same(to, ino)
			w.wantKind(from, nothing)
			w.wantLinks(to, uint64(st.Nlink))
			w.touches(func() error { return w.root.rename(to, "b/x") }, "b:mc", to+":c", "a:")
			w.same("b/x", ino)
			w.wantKind(to, nothing)
			// Onto itself nothing happens.
			w.touches(func() error { return w.root.rename("b/x", "b/x") }, "b/x:", "b:")
			w.ok(w.root.rename("b/x", to))
		}
	})
	w.run("replaces", func(w *world) {
		for _, old := range kinds {
			for _, k := range kinds {
				from, to := fmt.Sprintf("%s for %s", k, old), fmt.Sprintf("old %s for %s", old, k)
				w.make(k, from, w.root)
				w.make(old, to, w.root)
				ino, oldIno := w.ino(from), w.ino(to)
				switch {
				case k == directory && old != directory:
					w.keeps(func() error { return w.root.rename(from, to) }, unix.ENOTDIR, from, to, ".")
					w.same(to, oldIno)
				case k != directory && old == directory:
					w.keeps(func() error { return w.root.rename(from, to) }, unix.EISDIR, from, to, ".")
					w.same(to, oldIno)
				default:
					w.want(w.root.rename(from, to), 0)
					w.same(to, ino)
					w.wantKind(from, nothing)
					continue
				}
				w.same(from, ino)
			}
		}
	})
	w.run("replaced one goes", func(w *world) {
		w.ok(w.root.write("old", "old"), w.root.link("old", "other"), w.root.write("new", "new"))
		old, err := w.root.open("old", unix.O_RDONLY, 0)
		w.ok(err)
		defer old.close()
		w.touchesFiles(func() error { return w.root.rename("new", "old") }, []*file{old}, "old:c")
		w.wantText("old", "new")
		w.wantText("other", "old")
		w.wantLinks("other", 1)
		w.ok(w.root.write("new", "newer"), w.root.rename("new", "other"))
		st, err := old.stat()
		w.ok(err)
		w.check(st.Nlink == 0, "a replaced open file has %d links", st.Nlink)
		buf := make([]byte, 8)
		n, err := old.pread(buf, 0)
		w.check(err == nil && string(buf[:n]) == "old", "a replaced open file holds %q, %v", buf[:n], err)
		w.wantText("other", "newer")
	})
	w.run("two names of one", func(w *world) {
		w.make(regular, "a", w.root)
		w.ok(w.root.link("a", "b"))
		w.keeps(func() error { return w.root.rename("a", "b") }, 0, "a", ".")
		w.wantLinks("a", 2)
		w.wantLinks("b", 2)
	})
	w.run("directories", func(w *world) {
		w.ok(w.root.mkdir("a", 0o755), w.root.mkdir("a/b", 0o755), w.root.mkdir("a/b/c", 0o755), w.root.mkdir("e", 0o755))
		w.want(w.root.rename("a", "a/x"), unix.EINVAL)
		w.want(w.root.rename("a", "a/b"), unix.EINVAL)
		w.want(w.root.rename("a", "a/b/x"), unix.EINVAL)
		w.want(w.root.rename("a", "a/b/c"), unix.EINVAL)
		w.want(w.root.rename("a/b", "a"), unix.ENOTEMPTY)
		w.want(w.root.rename("a/b/c", "a"), unix.ENOTEMPTY)
		w.want(w.root.rename("e", "a"), unix.ENOTEMPTY, unix.EEXIST)
		w.want(w.root.rename("a/b", "e"), 0)
		w.wantLinks("a", 2)
		w.wantLinks("e", 3)
		w.wantLinks(".", 4)
		w.same("e/..", w.ino("."))
		w.ok(w.root.rename("e", "a/e"))
		w.same("a/e/..", w.ino("a"))
		w.wantLinks("a", 3)
		w.wantLinks(".", 3)
		w.ok(w.root.rename("a/e/c", "c"))
		w.same("c/..", w.ino("."))
		w.wantLinks("a/e", 2)
		for _, k := range kinds {
			w.ok(w.root.mkdir("full", 0o755), w.root.mkdir("empty", 0o755))
			w.make(k, "full/x", w.root)
			w.want(w.root.rename("empty", "full"), unix.ENOTEMPTY, unix.EEXIST)
			w.ok(w.root.rename("full", "empty"))
			w.wantKind("empty/x", k)
			w.ok(w.root.call("remove", func() error { return unix.Rename("empty", "gone "+string(k)) }))
		}
	})
	w.run("dots", func(w *world) {
		w.ok(w.root.mkdir("d", 0o755), w.root.mkdir("d/e", 0o755))
		for _, pair := range [][2]string{{"d/.", "x"}, {"d/e/..", "x"}, {"d", "d/."}, {"d/e", "d/e/.."}, {".", "x"}, {"..", "x"}, {"d", "."}, {"d", ".."}} {
			w.want(w.root.rename(pair[0], pair[1]), unix.EBUSY, unix.EINVAL)
		}
		w.want(w.root.rename("d/", "x/"), 0)
		w.wantKind("x/e", directory)
		w.make(regular, "f", w.root)
		w.want(w.root.rename("f", "y/"), unix.ENOTDIR)
		w.want(w.root.rename("f/", "y"), unix.ENOTDIR)
		w.want(w.root.rename("f", "x/"), unix.EISDIR, unix.ENOTDIR)
		w.ok(w.root.symlink("x", "l"))
		w.want(w.root.rename("l/", "y"), unix.ENOTDIR)
		w.want(w.root.rename("l", "y"), 0)
		w.wantKind("y", symlink)
	})
	w.run("parent of a directory", func(w *world) {
		// A directory that gets another parent is itself written: its "..".
		w.ok(w.root.mkdir("open", 0o777), w.root.mkdir("target", 0o777))
		for _, c := range []struct {
			owner *caller
			mode  uint32
			want  unix.Errno
		}{{w.ann, 0o700, 0}, {w.ann, 0o500, unix.EACCES}, {w.bob, 0o755, unix.EACCES}, {w.bob, 0o777, 0}} {
			path := fmt.Sprintf("open/%s %o", c.owner.name, c.mode)
			w.ok(w.root.mkdir(path, c.mode), w.root.chown(path, c.owner.uid, c.owner.gid), w.root.chmod(path, c.mode))
			w.want(w.ann.rename(path, path+" renamed"), 0) // keeps its parent
			w.want(w.ann.rename(path+" renamed", fmt.Sprintf("target/%s %o", c.owner.name, c.mode)), c.want)
		}
	})
	w.run("flags", func(w *world) {
		w.make(regular, "a", w.root)
		w.make(directory, "d", w.root)
		w.make(regular, "d/f", w.root)
		w.want(w.root.rename2("a", "d", unix.RENAME_NOREPLACE), unix.EEXIST)
		w.want(w.root.rename2("a", "d/f", unix.RENAME_NOREPLACE), unix.EEXIST)
		w.want(w.root.rename2("a", "a", unix.RENAME_NOREPLACE), unix.EEXIST)
		w.want(w.root.rename2("a", "b", unix.RENAME_NOREPLACE), 0)
		w.want(w.root.rename2("missing", "c", unix.RENAME_NOREPLACE), unix.ENOENT)
		w.want(w.root.rename2("b", "missing", unix.RENAME_EXCHANGE), unix.ENOENT)
		w.want(w.root.rename2("missing", "b", unix.RENAME_EXCHANGE), unix.ENOENT)
		w.want(w.root.rename2("b", "c", unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE), unix.EINVAL)
		w.want(w.root.rename2("b", "c", unix.RENAME_EXCHANGE|unix.RENAME_WHITEOUT), unix.EINVAL)
		w.want(w.root.rename2("b", "c", 1<<10), unix.EINVAL)
		w.want(w.root.rename2("d", "d/f", unix.RENAME_EXCHANGE), unix.EINVAL)
		w.want(w.root.rename2("d/f", "d", unix.RENAME_EXCHANGE), unix.EINVAL, unix.ENOTEMPTY)
		w.want(w.root.rename2("b", "b", unix.RENAME_EXCHANGE), 0)
		w.want(w.root.rename2("b", "/dev/shm", unix.RENAME_EXCHANGE), unix.EXDEV, unix.EBUSY)
	})
	w.run("exchange", func(w *world) {
		w.ok(w.root.mkdir("1", 0o755), w.root.mkdir("2", 0o755))
		for _, k := range kinds {
			for _, l := range kinds {
				a, b := fmt.Sprintf("1/%s %s", k, l), fmt.Sprintf("2/%s %s", l, k)
				w.make(k, a, w.root)
				w.make(l, b, w.root)
				if k == directory {
					w.make(regular, a+"/in", w.root)
				}
				ai, bi := w.ino(a), w.ino(b)
				n1, n2 := w.links("1"), w.links("2")
				w.ok(w.root.rename2(a, b, unix.RENAME_EXCHANGE))
				w.same(a, bi)
				w.same(b, ai)
				w.wantKind(a, l)
				w.wantKind(b, k)
				if k == directory {
					w.same(b+"/..", w.ino("2"))
					w.wantKind(b+"/in", regular)
				}
				switch {
				case k == directory && l != directory:
					n1, n2 = n1-1, n2+1
				case k != directory && l == directory:
					n1, n2 = n1+1, n2-1
				}
				w.wantLinks("1", n1)
				w.wantLinks("2", n2)
			}
		}
		w.touches(func() error { return w.root.rename2("1/file file", "2/directory directory", unix.RENAME_EXCHANGE) },
			"1:mc", "2:mc", "1/file file:c", "2/directory directory:c")
	})
	w.run("across mounts", func(w *world) {
		w.make(regular, "f", w.root)
		w.make(directory, "d", w.root)
		w.make(directory, "m", w.root)
		w.want(w.root.rename("f", "/dev/shm/posix"), unix.EXDEV)
		w.want(w.root.rename("d", "/dev/shm/posix"), unix.EXDEV)
		w.ok(unix.Mount("posix", w.path("m"), "tmpfs", 0, ""))
		defer unix.Unmount(w.path("m"), unix.MNT_DETACH)
		w.want(w.root.rename("f", "m/f"), unix.EXDEV)
		w.want(w.root.rename("d", "m"), unix.EBUSY, unix.EXDEV)
		w.want(w.root.rename("m", "x"), unix.EBUSY, unix.EXDEV)
		w.want(w.root.rmdir("m"), unix.EBUSY)
	})
}

// testSticky goes through who may remove what from whose directory.
func testSticky(w *world) {
	everybody := []*caller{w.root, w.ann, w.bob, w.sue, w.eve}
	removers := []struct {
		name string
		kind kind
		do   func(w *world, c *caller, path string) error
	}{
		{"unlink", regular, func(_ *world, c *caller, path string) error { return c.unlink(path) }},
		{"unlink link", symlink, func(_ *world, c *caller, path string) error { return c.unlink(path) }},
		{"unlink fifo", fifo, func(_ *world, c *caller, path string) error { return c.unlink(path) }},
		{"rmdir", directory, func(_ *world, c *caller, path string) error { return c.rmdir(path) }},
		{"rename", regular, func(w *world, c *caller, path string) error { return c.rename(path, w.spare()) }},
		{"rename within", regular, func(_ *world, c *caller, path string) error { return c.rename(path, path+" new") }},
		{"rename onto", regular, func(w *world, c *caller, path string) error { return c.rename(w.spareOf(regular, c), path) }},
		{"rename directory onto", directory, func(w *world, c *caller, path string) error {
			return c.rename(w.spareOf(directory, c), path)
		}},
		{"exchange", regular, func(w *world, c *caller, path string) error {
			return c.rename2(path, w.spareOf(regular, c), unix.RENAME_EXCHANGE)
		}},
	}
	for _, r := range removers {
		w.run(r.name, func(w *world) {
			for _, dirOwner := range []*caller{w.root, w.ann} {
				for _, owner := range []*caller{w.root, w.ann, w.eve} {
					for _, c := range everybody {
						for _, sticky := range []uint32{0, 0o1000} {
							dir := fmt.Sprintf("%s %s %s %o", dirOwner.name, owner.name, c.name, sticky)
							w.ok(w.root.mkdir(dir, 0o777), w.root.chown(dir, dirOwner.uid, dirOwner.gid), w.root.chmod(dir, sticky|0o777))
							w.make(r.kind, dir+"/x", owner)
							if r.kind == directory {
								w.ok(w.root.chmod(dir+"/x", 0o777))
							}
							want := unix.Errno(0)
							if sticky != 0 && c != w.root && c != dirOwner && c != owner {
								want = unix.EPERM
							}
							before := w.ino(dir + "/x")
							w.want(r.do(w, c, dir+"/x"), want)
							if want != 0 {
								w.same(dir+"/x", before)
							}
						}
					}
				}
			}
		})
	}
}
