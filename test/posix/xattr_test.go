package posix

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// listed are the names that a list of attributes has, those of the system's own security modules left out.
func listed(list string) []string {
	var names []string
	for name := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		if name != "" && name != "security.selinux" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (w *world) wantXattrs(c *caller, path string, names ...string) {
	w.Helper()
	list, err := c.listxattr(path, 70000)
	w.ok(err)
	slices.Sort(names)
	if got := listed(list); !slices.Equal(got, names) {
		w.Errorf("%s has attributes %q, want %q", path, got, names)
	}
}

func (w *world) wantXattr(path, name, value string) {
	w.Helper()
	got, err := w.root.getxattr(path, name, 70000)
	w.ok(err)
	if got != value {
		w.Errorf("%s of %s is %q, want %q", name, path, short(got), short(value))
	}
}

func testXattr(w *world) {
	w.run("life", func(w *world) {
		for _, k := range []kind{regular, directory} {
			path := string(k)
			w.make(k, path, w.ann)
			for _, name := range []string{"user.a", "user." + repeat("n", 250), "user.ü \n", "trusted.t", "security.s"} {
				set := func(value string, flags int) error { return w.root.setxattr(path, name, []byte(value), flags) }
				_, err := w.root.getxattr(path, name, 10)
				w.want(err, unix.ENODATA)
				w.want(w.root.removexattr(path, name), unix.ENODATA)
				w.keeps(func() error { return set("x", unix.XATTR_REPLACE) }, unix.ENODATA, path)
				w.touches(func() error { return set("first", unix.XATTR_CREATE) }, path+":c", ".:")
				w.wantXattr(path, name, "first")
				w.keeps(func() error { return set("x", unix.XATTR_CREATE) }, unix.EEXIST, path)
				w.want(set("second value", unix.XATTR_REPLACE), 0)
				w.wantXattr(path, name, "second value")
				w.want(set("third", 0), 0)
				w.wantXattr(path, name, "third")
				w.want(set("", 0), 0)
				w.wantXattr(path, name, "")
				w.want(set("with\x00zeros\x00", 0), 0)
				w.wantXattr(path, name, "with\x00zeros\x00")
				w.want(set("x", 4), unix.EINVAL)
				w.wantXattrs(w.root, path, name)
				w.touches(func() error { return w.root.removexattr(path, name) }, path+":c")
				w.wantXattrs(w.root, path)
			}
		}
	})
	w.run("sizes", func(w *world) {
		w.make(regular, "f", w.root)
		// ext4 without large values has room for less than a block.
		for _, n := range []int{1, 100, 1000, 3000} {
			w.ok(w.root.setxattr("f", "user.a", []byte(repeat("v", n)), 0))
			w.wantXattr("f", "user.a", repeat("v", n))
			_, err := w.root.getxattr("f", "user.a", n-1)
			if n > 1 {
				w.want(err, unix.ERANGE)
			}
			size := 0
			w.ok(w.root.call("getxattr for its size", func() (err error) {
				size, err = unix.Lgetxattr("f", "user.a", nil)
				return err
			}))
			w.check(size == n, "the size of a value of %d bytes is %d", n, size)
		}
		// As much as Linux takes, if there is room, and no more.
		most := make([]byte, 65536)
		w.want(w.root.setxattr("f", "user.most", most, 0), 0, unix.ENOSPC, unix.E2BIG)
		w.want(w.root.setxattr("f", "user.more", make([]byte, 65537), 0), unix.E2BIG)
		w.want(w.root.setxattr("f", "user."+repeat("n", 251), []byte("x"), 0), unix.ERANGE)
		w.want(w.root.setxattr("f", "user.", []byte("x"), 0), unix.EINVAL)
		w.want(w.root.setxattr("f", "", []byte("x"), 0), unix.ERANGE)
		w.want(w.root.setxattr("f", "nothing.a", []byte("x"), 0), unix.EOPNOTSUPP)
		w.want(w.root.setxattr("f", "user", []byte("x"), 0), unix.EOPNOTSUPP)
		w.want(w.root.setxattr("f", "coffer.a", []byte("x"), 0), unix.EOPNOTSUPP)
		_, err := w.root.getxattr("f", "nothing.a", 10)
		w.want(err, unix.EOPNOTSUPP)
		w.want(w.root.removexattr("f", "nothing.a"), unix.EOPNOTSUPP)
		_, err = w.root.getxattr("f", "user."+repeat("n", 251), 10)
		w.want(err, unix.ERANGE)
	})
	w.run("list", func(w *world) {
		w.make(regular, "f", w.ann)
		var names []string
		length := 0
		for i := range 20 {
			name := fmt.Sprintf("user.%d", i)
			names = append(names, name)
			length += len(name) + 1
			w.ok(w.root.setxattr("f", name, []byte("v"), 0))
		}
		w.wantXattrs(w.root, "f", names...)
		size := 0
		w.ok(w.root.call("listxattr for its size", func() (err error) { size, err = unix.Llistxattr("f", nil); return err }))
		w.check(size == length, "a list of %d bytes is said to have %d", length, size)
		_, err := w.root.listxattr("f", length-1)
		w.want(err, unix.ERANGE)
		_, err = w.root.listxattr("f", length)
		w.want(err, 0)
		w.ok(w.root.setxattr("f", "trusted.t", []byte("v"), 0))
		w.wantXattrs(w.ann, "f", names...) // who may not read trusted ones does not see them
		w.wantXattrs(w.root, "f", append(names, "trusted.t")...)
	})
	w.run("permissions", func(w *world) {
		for _, k := range []kind{regular, directory} {
			path := string(k)
			w.make(k, path, w.ann)
			w.ok(w.root.chmod(path, 0o640))
			get := func(c *caller, name string) error { _, err := c.getxattr(path, name, 100); return err }
			set := func(c *caller, name string) error { return c.setxattr(path, name, []byte("v"), 0) }
			// user: as the contents.
			w.want(set(w.ann, "user.a"), 0)
			w.want(get(w.bob, "user.a"), 0)
			w.want(get(w.sue, "user.a"), 0)
			w.want(get(w.eve, "user.a"), unix.EACCES)
			w.want(set(w.bob, "user.a"), unix.EACCES)
			w.want(w.bob.removexattr(path, "user.a"), unix.EACCES)
			w.want(get(w.eve, "user.missing"), unix.EACCES)
			w.ok(w.root.chmod(path, 0o620))
			w.want(set(w.bob, "user.a"), 0)
			w.want(get(w.bob, "user.a"), unix.EACCES)
			w.want(w.bob.removexattr(path, "user.a"), 0)
			// trusted: root's.
			w.want(set(w.root, "trusted.a"), 0)
			w.want(set(w.ann, "trusted.a"), unix.EPERM)
			w.want(get(w.ann, "trusted.a"), unix.ENODATA)
			w.want(w.ann.removexattr(path, "trusted.a"), unix.EPERM)
			// security: root's to write, everybody's to read.
			w.want(set(w.root, "security.a"), 0)
			w.want(set(w.ann, "security.a"), unix.EPERM)
			w.want(get(w.eve, "security.a"), 0)
			w.want(w.ann.removexattr(path, "security.a"), unix.EPERM)
			// Names can be listed without any permission.
			_, err := w.eve.listxattr(path, 1000)
			w.want(err, 0)
		}
		// In a sticky directory only its owner may.
		w.make(directory, "sticky", w.ann)
		w.ok(w.root.chmod("sticky", 0o1777))
		w.want(w.ann.setxattr("sticky", "user.a", []byte("v"), 0), 0)
		w.want(w.eve.setxattr("sticky", "user.a", []byte("v"), 0), unix.EPERM)
		_, err := w.eve.getxattr("sticky", "user.a", 10)
		w.want(err, 0)
	})
	w.run("kinds", func(w *world) {
		for _, k := range []kind{symlink, fifo, socket, charDev, blockDev} {
			path := string(k)
			w.make(k, path, w.ann)
			for _, c := range []*caller{w.root, w.ann} {
				w.want(c.setxattr(path, "user.a", []byte("v"), 0), unix.EPERM)
				_, err := c.getxattr(path, "user.a", 10)
				w.want(err, unix.ENODATA)
				w.want(c.removexattr(path, "user.a"), unix.EPERM)
			}
			w.want(w.root.setxattr(path, "trusted.a", []byte("v"), 0), 0)
			w.wantXattr(path, "trusted.a", "v")
			w.want(w.root.setxattr(path, "security.a", []byte("v"), 0), 0)
			w.wantXattr(path, "security.a", "v")
			w.wantXattrs(w.root, path, "security.a", "trusted.a")
			w.want(w.root.removexattr(path, "trusted.a"), 0)
			w.wantXattrs(w.root, path, "security.a")
		}
	})
	w.run("stay with the inode", func(w *world) {
		w.ok(w.root.write("f", "text"), w.root.setxattr("f", "user.a", []byte("v"), 0), w.root.link("f", "g"))
		w.wantXattr("g", "user.a", "v")
		w.ok(w.root.rename("f", "h"), w.root.chmod("h", 0o700), w.root.chown("h", 1, 1), w.root.truncate("h", 1))
		w.wantXattr("h", "user.a", "v")
		w.ok(w.root.setxattr("g", "user.a", []byte("w"), 0))
		w.wantXattr("h", "user.a", "w")
		w.ok(w.root.unlink("h"), w.root.unlink("g"), w.root.write("f", "new"))
		w.wantXattrs(w.root, "f")
		f, err := w.root.open("f", unix.O_RDWR, 0)
		w.ok(err)
		defer f.close()
		w.ok(w.root.call("fsetxattr", func() error { return unix.Fsetxattr(f.fd, "user.b", []byte("v"), 0) }), w.root.unlink("f"))
		w.ok(w.root.call("fsetxattr of an unlinked file", func() error { return unix.Fsetxattr(f.fd, "user.c", []byte("v"), 0) }))
		buf := make([]byte, 10)
		w.ok(w.root.call("fgetxattr of an unlinked file", func() error { _, err := unix.Fgetxattr(f.fd, "user.b", buf); return err }))
	})
	w.run("capabilities", func(w *world) {
		// cap_net_raw+p, as setcap writes it. Whatever changes a program takes its capabilities away.
		caps := []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		for name, do := range map[string]func(f *file) error{
			"write":    func(f *file) error { _, err := f.pwrite([]byte("x"), 0); return err },
			"truncate": func(f *file) error { return f.truncate(1) },
			"chown":    func(f *file) error { return f.chown(1, 1) },
			"nothing":  func(f *file) error { return f.chown(-1, -1) },
		} {
			w.ok(w.root.write("f", "program"), w.root.setxattr("f", "security.capability", caps, 0))
			got, err := w.root.getxattr("f", "security.capability", 100)
			w.check(err == nil && got == string(caps), "capabilities are %q, %v", got, err)
			f, err := w.root.open("f", unix.O_RDWR, 0)
			w.ok(err, do(f), f.close())
			_, err = w.root.getxattr("f", "security.capability", 100)
			if errnoOf(err) != unix.ENODATA {
				w.Errorf("%s leaves capabilities: %v", name, err)
			}
			w.ok(w.root.unlink("f"))
		}
	})
}
