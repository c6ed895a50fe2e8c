package posix

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// maker is a call that makes something, with a mode.
type maker struct {
	name string
	kind kind
	do   func(c *caller, path string, mode uint32) error
}

var makers = []maker{
	{"mkdir", directory, (*caller).mkdir},
	{"mkfifo", fifo, (*caller).mkfifo},
	{"mknod", regular, func(c *caller, path string, mode uint32) error { return c.mknod(path, unix.S_IFREG|mode, 0) }},
	{"mknod without type", regular, func(c *caller, path string, mode uint32) error { return c.mknod(path, mode, 0) }},
	{"mknod fifo", fifo, func(c *caller, path string, mode uint32) error { return c.mknod(path, unix.S_IFIFO|mode, 0) }},
	{"mknod socket", socket, func(c *caller, path string, mode uint32) error { return c.mknod(path, unix.S_IFSOCK|mode, 0) }},
	{"open", regular, (*caller).create},
	{"open for reading", regular, func(c *caller, path string, mode uint32) error {
		return c.opens(path, unix.O_CREAT|unix.O_RDONLY, mode)
	}},
	{"open nameless", regular, func(c *caller, path string, mode uint32) error {
		f, err := c.open(".", unix.O_TMPFILE|unix.O_RDWR, mode)
		if err != nil {
			return err
		}
		defer f.close()
		return f.linkTo(path)
	}},
}

// linkTo gives an open file a name.
func (f *file) linkTo(path string) error {
	return f.c.call(fmt.Sprintf("linkat %s %s", f.name, path), func() error {
		return unix.Linkat(here, f.procPath(), here, path, unix.AT_SYMLINK_FOLLOW)
	})
}

// testMake is what all calls have in common that make something.
func testMake(w *world) {
	for _, m := range makers {
		w.run(m.name, func(w *world) { m.test(w) })
	}
}

func (m *maker) test(w *world) {
	// mkdir takes no set-id bits from its mode.
	bits := uint32(0o7777)
	if m.kind == directory {
		bits = 0o1777
	}
	for i, c := range []struct {
		mode uint32
		mask int
	}{{0o755, 0}, {0o777, 0o022}, {0o666, 0o077}, {0o4751, 0}, {0o1777, 0o027}, {0o151, 0o077}, {0o345, 0o070}, {0, 0}, {0o777, 0o777}, {0o2755, 0}} {
		path := fmt.Sprint("mode ", i)
		w.ok(w.root.withUmask(c.mask, func() error { return m.do(w.root, path, c.mode) }))
		w.wantKind(path, m.kind)
		w.wantMode(path, c.mode&bits&^uint32(c.mask))
		w.wantOwner(path, 0, 0)
	}

	// The directory's times move on, those of what is made are one instant not before.
	before, err := w.root.lstat(".")
	w.ok(err)
	w.touches(func() error { return m.do(w.root, "timed", 0o644) }, ".:mc")
	st, err := w.root.lstat("timed")
	w.ok(err)
	w.check(later(st.Mtim, before.Mtim) && later(st.Ctim, before.Ctim) && later(st.Atim, before.Mtim), "made with times of the past: %v", st)
	w.check(m.kind == directory || st.Size == 0, "made with %d bytes", st.Size)
	w.keeps(func() error { return m.do(w.eve, "refused", 0o644) }, unix.EACCES, ".")
	w.wantKind("refused", nothing)

	// It belongs to who made it, but for the group below set-group-id.
	w.ok(w.root.mkdir("plain", 0o777), w.root.mkdir("shared", 0o777))
	w.ok(w.root.chown("plain", w.eve.uid, w.eve.gid), w.root.chown("shared", w.eve.uid, second), w.root.chmod("shared", 0o2777))
	for _, c := range []*caller{w.ann, w.bob, w.sue, w.root} {
		plain, shared := "plain/"+c.name, "shared/"+c.name
		w.ok(c.chdir("plain"), m.do(c, c.name, 0o750), c.chdir("../shared"), m.do(c, c.name, 0o750), c.chdir(w.dir))
		w.wantOwner(plain, c.uid, c.gid)
		w.wantOwner(shared, c.uid, second)
		w.wantMode(plain, 0o750)
		inherited := uint32(0)
		if m.kind == directory {
			inherited = 0o2000
		}
		w.wantMode(shared, 0o750|inherited)
		if m.kind == directory {
			continue
		}
		// Whoever is not in the group that it gets can't make set-group-id executables of it.
		w.ok(c.chdir("shared"), m.do(c, c.name+" sgid", 0o2770), m.do(c, c.name+" lock", 0o2760), c.chdir(w.dir))
		if c == w.ann || c == w.root {
			w.wantMode(shared+" sgid", 0o2770)
		} else {
			w.wantMode(shared+" sgid", 0o770)
		}
	}
}

func testMkdir(w *world) {
	w.run("links", func(w *world) {
		w.ok(w.root.mkdir("d", 0o755))
		base := w.links("d")
		w.check(base == 2, "an empty directory has %d links", base)
		for i := range 5 {
			w.ok(w.root.mkdir(fmt.Sprint("d/", i), 0o755))
			w.wantLinks("d", uint64(3+i))
			w.wantLinks(fmt.Sprint("d/", i), 2)
		}
		w.ok(w.root.create("d/f", 0o644))
		w.wantLinks("d", 7)
		w.same("d/1/..", w.ino("d"))
		w.same("d/1/.", w.ino("d/1"))
		w.ok(w.root.rmdir("d/0"))
		w.wantLinks("d", 6)
		w.ok(w.root.rename("d/1", "d/2"))
		w.wantLinks("d", 5)
	})
	w.run("errors", func(w *world) {
		w.want(w.root.mkdir("x/y", 0o755), unix.ENOENT)
		w.want(w.root.mkdir("d/", 0o755), 0)
		w.want(w.root.mkdir("d/", 0o755), unix.EEXIST)
		w.ok(w.root.symlink("nowhere", "dangling"), w.root.symlink("d", "l"))
		w.want(w.root.mkdir("dangling", 0o755), unix.EEXIST)
		w.want(w.root.mkdir("dangling/", 0o755), unix.EEXIST)
		w.want(w.root.mkdir("l/", 0o755), unix.EEXIST)
		w.want(w.root.mkdir("d/x/.", 0o755), unix.ENOENT)
		w.want(w.root.mkdir("d/.", 0o755), unix.EEXIST)
	})
	w.run("deep", func(w *world) {
		// Deeper than any path reaches.
		const depth, upTo = 300, 4096
		name := repeat("deep", 50)
		for range depth {
			w.ok(w.root.mkdir(name, 0o755), w.root.chdir(name))
		}
		w.ok(w.root.write("f", "at the bottom"))
		w.wantText("f", "at the bottom")
		w.want(w.root.call("getcwd", func() error { _, err := unix.Getcwd(make([]byte, upTo)); return err }), unix.ENAMETOOLONG, unix.ERANGE)
		w.want(w.ann.chdir(w.path(repeat(name+"/", 21))), unix.ENAMETOOLONG)
		w.ok(w.root.rename("f", w.path("f")), w.root.chdir(".."), w.root.rename(name, w.path("bottom")))
		w.ok(w.root.chdir(w.dir))
		w.same("bottom/..", w.ino("."))
		// The top of it goes below what was its bottom, and not below itself.
		w.ok(w.root.rename(name, "bottom/top"), w.root.rename("bottom/top/"+name, "rest"))
		w.want(w.root.rename("rest", "rest/"+name+"/"+name+"/x"), unix.EINVAL)
	})
	w.run("many", func(w *world) {
		const n = 1000
		for i := range n {
			w.ok(w.root.mkdir(fmt.Sprint(i), 0o755))
		}
		if got := w.links("."); got != n+2 {
			w.Errorf("a directory with %d others has %d links", n, got)
		}
		for i := range n {
			w.ok(w.root.rmdir(fmt.Sprint(i)))
		}
		w.wantLinks(".", 2)
	})
}

func (w *world) links(path string) uint64 {
	w.Helper()
	st, err := w.root.lstat(path)
	w.ok(err)
	return uint64(st.Nlink)
}

func testMknod(w *world) {
	w.run("devices", func(w *world) {
		for _, k := range []kind{charDev, blockDev} {
			for _, dev := range [][2]uint32{{1, 3}, {0, 0}, {255, 255}, {256, 256}, {4095, 1<<20 - 1}, {7, 1 << 19}} {
				path := fmt.Sprintf("%s %d %d", k, dev[0], dev[1])
				w.ok(w.root.mknod(path, typeBits[k]|0o640, unix.Mkdev(dev[0], dev[1])))
				st, err := w.root.stat(path)
				w.ok(err)
				w.check(unix.Major(st.Rdev) == dev[0] && unix.Minor(st.Rdev) == dev[1], "%s is device %d %d", path, unix.Major(st.Rdev), unix.Minor(st.Rdev))
				x, err := w.root.statx(path, 0)
				w.ok(err)
				w.check(x.Rdev_major == dev[0] && x.Rdev_minor == dev[1], "%s is device %d %d to statx", path, x.Rdev_major, x.Rdev_minor)
				w.wantKind(path, k)
				w.wantMode(path, 0o640)
			}
			w.ok(w.root.mkdir(string(k), 0o777))
			w.want(w.ann.mknod(string(k)+"/x", typeBits[k]|0o644, unix.Mkdev(1, 3)), unix.EPERM)
			w.touches(func() error { return w.root.mknod("timed "+string(k), typeBits[k]|0o644, unix.Mkdev(1, 3)) }, ".:mc")
		}
		w.ok(w.root.mknod("zero", unix.S_IFCHR|0o666, unix.Mkdev(1, 5)))
		f, err := w.ann.open("zero", unix.O_RDWR, 0)
		w.ok(err)
		n, err := f.read(make([]byte, 10))
		w.check(n == 10 && err == nil, "read of a device: %d, %v", n, err)
		w.ok(f.close(), w.root.chmod("zero", 0o600))
		w.want(w.ann.opens("zero", unix.O_RDONLY, 0), unix.EACCES)
		w.want(w.root.opens("block device 4095 1048575", unix.O_RDONLY, 0), unix.ENXIO, unix.ENODEV)
	})
	w.run("errors", func(w *world) {
		w.want(w.root.mknod("x", unix.S_IFDIR|0o755, 0), unix.EPERM)
		w.want(w.root.mknod("x", unix.S_IFLNK|0o755, 0), unix.EINVAL)
		w.want(w.root.mknod("x/", unix.S_IFREG|0o755, 0), unix.ENOENT)
		w.want(w.root.mkfifo("x/", 0o755), unix.ENOENT)
		w.wantKind("x", nothing)
	})
	w.run("fifo", func(w *world) {
		w.ok(w.root.mkfifo("f", 0o666))
		w.want(w.root.opens("f", unix.O_WRONLY|unix.O_NONBLOCK, 0), unix.ENXIO)
		in, err := w.ann.open("f", unix.O_RDONLY|unix.O_NONBLOCK, 0)
		w.ok(err)
		defer in.close()
		out, err := w.bob.open("f", unix.O_WRONLY|unix.O_NONBLOCK, 0)
		w.ok(err)
		_, err = out.write([]byte("through"))
		w.ok(err)
		buf := make([]byte, 10)
		n, err := in.read(buf)
		w.check(err == nil && string(buf[:n]) == "through", "%q, %v came through the FIFO", buf[:n], err)
		_, err = in.read(buf)
		w.want(err, unix.EAGAIN)
		w.ok(out.close())
		n, err = in.read(buf)
		w.check(n == 0 && err == nil, "read %d, %v at the end", n, err)
		_, err = in.seek(0, 0)
		w.want(err, unix.ESPIPE)
		w.ok(w.root.chmod("f", 0o200))
		w.want(w.ann.opens("f", unix.O_RDONLY|unix.O_NONBLOCK, 0), unix.EACCES)
	})
	w.run("socket", func(w *world) {
		w.ok(w.root.mkdir("d", 0o777), w.ann.bind("d/s"))
		w.wantKind("d/s", socket)
		w.wantOwner("d/s", w.ann.uid, w.ann.gid)
		w.want(w.ann.bind("d/s"), unix.EADDRINUSE)
		w.want(w.ann.opens("d/s", unix.O_RDONLY, 0), unix.ENXIO)
		connect := func(c *caller) error {
			return c.call("connect d/s", func() error {
				fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				return unix.Connect(fd, &unix.SockaddrUnix{Name: "d/s"})
			})
		}
		w.want(connect(w.ann), unix.ECONNREFUSED) // nobody listens
		w.ok(w.ann.chmod("d/s", 0o700))
		w.want(connect(w.eve), unix.EACCES)
		w.ok(w.root.chmod("d", 0o755))
		w.want(w.ann.bind("d/t"), unix.EACCES)
		w.ok(w.root.withUmask(0o027, func() error { return w.root.bind("masked") }))
		w.wantMode("masked", 0o750)

		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		w.ok(err)
		defer unix.Close(fd)
		w.ok(w.root.call("bind", func() error { return unix.Bind(fd, &unix.SockaddrUnix{Name: "served"}) }), unix.Listen(fd, 1))
		w.ok(w.root.rename("served", "moved"), w.root.chmod("moved", 0o777))
		w.ok(w.eve.call("connect moved", func() error {
			c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(c)
			return unix.Connect(c, &unix.SockaddrUnix{Name: "moved"})
		}))
	})
}

func testSymlink(w *world) {
	w.run("targets", func(w *world) {
		for i, target := range []string{"x", "no/such/thing", "/", ".", "..", "a//b/", "\x01\xff \n", repeat("t", 255), repeat("t/", 512) + "end", repeat("t", 4095)} {
			path := fmt.Sprint("l", i)
			w.ok(w.root.symlink(target, path))
			got, err := w.root.readlink(path)
			w.ok(err)
			w.check(got == target, "%s leads to %q, want %q", path, short(got), short(target))
			st, err := w.root.lstat(path)
			w.ok(err)
			w.check(st.Size == int64(len(target)), "a link of %d bytes has size %d", len(target), st.Size)
			w.check(st.Mode == unix.S_IFLNK|0o777, "a link has mode %o", st.Mode)
		}
		w.want(w.root.symlink(repeat("t", 4096), "x"), unix.ENAMETOOLONG)
		w.want(w.root.symlink("", "x"), unix.ENOENT)
		w.wantKind("x", nothing)
		// readlink cuts off what there is no room for.
		buf := make([]byte, 4)
		n := 0
		w.ok(w.root.call("readlink", func() (err error) { n, err = unix.Readlinkat(here, "l1", buf); return err }))
		w.check(n == 4 && string(buf) == "no/s", "a short readlink gives %q", buf[:n])
	})
	w.run("owner and mode", func(w *world) {
		w.ok(w.root.mkdir("d", 0o777), w.root.mkdir("s", 0o777), w.root.chown("s", 0, second), w.root.chmod("s", 0o2777))
		w.ok(w.ann.withUmask(0o777, func() error { return w.ann.symlink("x", "d/l") }), w.ann.symlink("x", "s/l"))
		w.wantOwner("d/l", w.ann.uid, w.ann.gid)
		w.wantOwner("s/l", w.ann.uid, second)
		w.wantMode("d/l", 0o777)
		w.touches(func() error { return w.root.symlink("x", "timed") }, ".:mc")
		w.keeps(func() error { return w.eve.symlink("x", "refused") }, unix.EACCES, ".")
	})
	w.run("are followed", func(w *world) {
		w.ok(w.root.mkdir("d", 0o755), w.root.symlink("d", "l"), w.root.write("l/f", "text"))
		w.wantText("d/f", "text")
		w.ok(w.root.symlink(w.path("d/f"), "absolute"), w.root.symlink("../d/f", "d/relative"))
		w.wantText("absolute", "text")
		w.wantText("d/relative", "text")
		w.ok(w.root.symlink("made", "dangling"), w.root.write("dangling", "made through a link"))
		w.wantText("made", "made through a link")
		w.want(w.root.rmdir("l"), unix.ENOTDIR)
		w.want(w.root.unlink("l"), 0)
		w.wantKind("d", directory)
	})
	w.run("readlink of others", func(w *world) {
		for _, k := range kinds {
			if k == symlink {
				continue
			}
			w.make(k, string(k), w.root)
			_, err := w.root.readlink(string(k))
			w.want(err, unix.EINVAL)
		}
	})
}
