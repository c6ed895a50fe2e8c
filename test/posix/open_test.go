package posix

import (
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

func testOpen(w *world) {
	w.run("permissions", func(w *world) {
		classes := w.classes()
		for _, k := range []kind{regular, directory, fifo} {
			for mode := range uint32(8) {
				for c, class := range classes {
					path := fmt.Sprintf("%s %d %s", k, mode, c.name)
					w.make(k, path, w.ann)
					// The class has the mode, all others the contrary.
					w.ok(w.root.chmod(path, mode*0o111&class|^mode*0o111&0o777&^class))
					for _, a := range []struct {
						flags int
						need  uint32
					}{{unix.O_RDONLY, 4}, {unix.O_WRONLY, 2}, {unix.O_RDWR, 6}, {unix.O_RDONLY | unix.O_TRUNC, 6}, {unix.O_WRONLY | unix.O_APPEND, 2}} {
						want := unix.Errno(0)
						switch {
						case k == directory && a.need != 4:
							want = unix.EISDIR
						case mode&a.need != a.need:
							want = unix.EACCES
						case k == fifo && a.flags&unix.O_ACCMODE == unix.O_WRONLY:
							want = unix.ENXIO
						}
						if k == fifo && a.flags&unix.O_TRUNC != 0 {
							continue
						}
						if want == unix.EISDIR {
							w.want(c.opens(path, a.flags, 0), unix.EISDIR, unix.EACCES)
							continue
						}
						w.want(c.opens(path, a.flags|unix.O_NONBLOCK, 0), want)
					}
					for need := range uint32(8) {
						want := unix.Errno(0)
						if mode&need != need {
							want = unix.EACCES
						}
						w.want(c.access(path, need), want)
					}
					w.want(w.root.access(path, unix.R_OK|unix.W_OK), 0)
				}
			}
		}
		// Root executes only what somebody may.
		w.make(regular, "x", w.ann)
		w.ok(w.root.chmod("x", 0o666))
		w.want(w.root.access("x", unix.X_OK), unix.EACCES)
		w.ok(w.root.chmod("x", 0o001))
		w.want(w.root.access("x", unix.X_OK), 0)
		w.make(directory, "dir", w.ann)
		w.ok(w.root.chmod("dir", 0))
		w.want(w.root.access("dir", unix.X_OK), 0)
	})
	w.run("create", func(w *world) {
		w.touches(func() error { return w.root.create("f", 0o644) }, ".:mc")
		w.touches(func() error { return w.root.opens("f", unix.O_CREAT|unix.O_RDWR, 0o777) }, ".:", "f:")
		w.wantMode("f", 0o644)
		for _, k := range kinds {
			w.make(k, string(k), w.root)
			w.keeps(func() error { return w.root.opens(string(k), unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY, 0o644) }, unix.EEXIST, string(k), ".")
		}
		w.want(w.root.opens("directory", unix.O_CREAT|unix.O_RDWR, 0o644), unix.EISDIR)
		w.want(w.root.opens("directory", unix.O_CREAT|unix.O_RDONLY, 0o644), unix.EISDIR)
		w.want(w.root.opens("new/", unix.O_CREAT|unix.O_RDWR, 0o644), unix.EISDIR)
		w.ok(w.root.symlink("made", "dangling"))
		w.want(w.root.opens("dangling", unix.O_CREAT|unix.O_NOFOLLOW|unix.O_RDWR, 0o644), unix.ELOOP)
		w.want(w.root.opens("dangling", unix.O_CREAT|unix.O_RDWR, 0o600), 0)
		w.wantMode("made", 0o600)
		// Whoever makes a file may write it, whatever its mode.
		w.ok(w.root.mkdir("d", 0o777))
		f, err := w.ann.open("d/none", unix.O_CREAT|unix.O_RDWR, 0)
		w.ok(err)
		_, err = f.write([]byte("x"))
		w.want(err, 0)
		w.ok(f.close())
		w.want(w.ann.opens("d/none", unix.O_RDWR, 0), unix.EACCES)
		w.want(w.ann.opens("d/none", unix.O_CREAT|unix.O_RDWR, 0o777), unix.EACCES)
	})
	w.run("truncate", func(w *world) {
		w.ok(w.root.write("f", "contents"))
		w.touches(func() error { return w.root.opens("f", unix.O_WRONLY|unix.O_TRUNC, 0) }, "f:mc", ".:")
		w.wantText("f", "")
		w.ok(w.root.write("f", "contents"), w.root.chmod("f", 0o444), w.root.chown("f", w.ann.uid, -1))
		w.keeps(func() error { return w.ann.opens("f", unix.O_RDONLY|unix.O_TRUNC, 0) }, unix.EACCES, "f")
		w.wantText("f", "contents")
		// An empty file too.
		w.ok(w.root.create("e", 0o644))
		w.touches(func() error { return w.root.opens("e", unix.O_RDWR|unix.O_TRUNC, 0) }, "e:mc")
	})
	w.run("kinds", func(w *world) {
		for _, k := range kinds {
			w.make(k, string(k), w.root)
			if k != directory {
				w.want(w.root.opens(string(k), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0), unix.ENOTDIR)
			}
		}
		w.want(w.root.opens("symbolic link", unix.O_RDONLY|unix.O_NOFOLLOW, 0), unix.ELOOP)
		w.want(w.root.opens("directory", unix.O_WRONLY, 0), unix.EISDIR)
		w.want(w.root.opens("directory", unix.O_RDWR, 0), unix.EISDIR)
		w.want(w.root.opens("directory", unix.O_RDONLY|unix.O_TRUNC, 0), unix.EISDIR)
		w.want(w.root.opens("socket", unix.O_RDWR, 0), unix.ENXIO)
		w.want(w.root.opens("file", unix.O_TMPFILE|unix.O_RDWR, 0o644), unix.ENOTDIR)
		w.want(w.root.opens("directory", unix.O_TMPFILE|unix.O_RDONLY, 0o644), unix.EINVAL)
		d, err := w.root.open("directory", unix.O_RDONLY, 0)
		w.ok(err)
		defer d.close()
		_, err = d.read(make([]byte, 1))
		w.want(err, unix.EISDIR)
		_, err = d.write([]byte("x"))
		w.want(err, unix.EBADF)
		w.want(d.truncate(0), unix.EINVAL)
	})
	w.run("access mode", func(w *world) {
		w.ok(w.root.write("f", "contents"))
		r, err := w.root.open("f", unix.O_RDONLY, 0)
		w.ok(err)
		defer r.close()
		_, err = r.write([]byte("x"))
		w.want(err, unix.EBADF)
		w.want(r.truncate(0), unix.EINVAL)
		w.want(r.fallocate(0, 0, 10), unix.EBADF)
		o, err := w.root.open("f", unix.O_WRONLY, 0)
		w.ok(err)
		defer o.close()
		_, err = o.read(make([]byte, 1))
		w.want(err, unix.EBADF)
		p, err := w.root.open("f", unix.O_PATH, 0)
		w.ok(err)
		defer p.close()
		_, err = p.read(make([]byte, 1))
		w.want(err, unix.EBADF)
	})
	w.run("noatime", func(w *world) {
		w.make(regular, "f", w.ann)
		w.ok(w.root.chmod("f", 0o666))
		w.want(w.ann.opens("f", unix.O_RDONLY|unix.O_NOATIME, 0), 0)
		w.want(w.root.opens("f", unix.O_RDONLY|unix.O_NOATIME, 0), 0)
		w.want(w.eve.opens("f", unix.O_RDONLY|unix.O_NOATIME, 0), unix.EPERM)
	})
	w.run("running program", func(w *world) {
		program, err := os.ReadFile("/bin/sleep")
		w.ok(err)
		w.ok(os.WriteFile(w.path("sleep"), program, 0o755))
		cmd := exec.Command(w.path("sleep"), "1000")
		w.ok(cmd.Start())
		defer cmd.Wait()
		defer cmd.Process.Kill()
		w.want(w.root.opens("sleep", unix.O_WRONLY, 0), unix.ETXTBSY)
		w.want(w.root.opens("sleep", unix.O_RDWR|unix.O_TRUNC, 0), unix.ETXTBSY)
		w.want(w.root.truncate("sleep", 0), unix.ETXTBSY)
		w.want(w.root.opens("sleep", unix.O_RDONLY, 0), 0)
		w.ok(w.root.write("new", "another"), w.root.rename("new", "sleep"))
		w.wantText("sleep", "another")
		// And the other way round: what is being written can't be run.
		f, err := w.root.open("script", unix.O_CREAT|unix.O_WRONLY, 0o755)
		w.ok(err)
		_, err = f.write([]byte("#!/bin/sh\nexit 0\n"))
		w.ok(err)
		w.want(errnoIn(exec.Command(w.path("script")).Run()), unix.ETXTBSY)
		w.ok(f.close(), exec.Command(w.path("script")).Run())
		w.ok(w.root.chmod("script", 0o644))
		w.want(errnoIn(exec.Command(w.path("script")).Run()), unix.EACCES)
	})
	w.run("set-user-id programs", func(w *world) {
		program, err := os.ReadFile("/usr/bin/id")
		w.ok(err)
		w.ok(os.WriteFile(w.path("id"), program, 0o755), w.root.chown("id", w.ann.uid, w.ann.gid), w.root.chmod("id", 0o6755))
		out, err := exec.Command(w.path("id"), "-u").CombinedOutput()
		w.check(err == nil && string(out) == fmt.Sprintln(w.ann.uid), "a set-user-id program runs as %s%v", out, err)
		out, err = exec.Command(w.path("id"), "-g").CombinedOutput()
		w.check(err == nil && string(out) == fmt.Sprintln(w.ann.gid), "a set-group-id program runs as %s%v", out, err)
	})
	w.run("nameless", func(w *world) {
		w.ok(w.root.mkdir("d", 0o755), w.root.mkdir("open", 0o777))
		w.want(w.ann.opens("d", unix.O_TMPFILE|unix.O_RDWR, 0o644), unix.EACCES)
		f, err := w.ann.open("open", unix.O_TMPFILE|unix.O_RDWR, 0o640)
		w.ok(err)
		st, err := f.stat()
		w.ok(err)
		w.check(st.Nlink == 0 && st.Mode == unix.S_IFREG|0o640 && int(st.Uid) == w.ann.uid, "a nameless file has %+v", st)
		_, err = f.pwrite([]byte("contents"), 0)
		w.ok(err)
		w.want(f.linkTo("d/x"), unix.EACCES)
		w.touchesFiles(func() error { return f.linkTo("open/x") }, []*file{f}, "x:c")
		w.wantText("open/x", "contents")
		w.wantLinks("open/x", 1)
		w.want(f.linkTo("open/x"), unix.EEXIST)
		w.ok(f.linkTo("open/y"))
		w.wantLinks("open/x", 2)
		w.ok(f.close(), w.root.unlink("open/x"), w.root.unlink("open/y"))
		f, err = w.root.open("open", unix.O_TMPFILE|unix.O_EXCL|unix.O_RDWR, 0o640)
		w.ok(err)
		w.want(f.linkTo("open/x"), unix.ENOENT)
		w.ok(f.close(), w.root.rmdir("open"))
	})
}

// errnoIn is the errno of starting a program.
func errnoIn(err error) error {
	if err == nil {
		return nil
	}
	return &failure{"run", err}
}

func testTruncate(w *world) {
	w.run("sizes", func(w *world) {
		w.ok(w.root.write("f", "0123456789"))
		for _, size := range []int64{5, 20, 4096, 4095, 1 << 20, 3, 0, 1 << 40, 1<<42 + 1, 100} {
			w.touches(func() error { return w.root.truncate("f", size) }, "f:mc", ".:")
			st, err := w.root.stat("f")
			w.ok(err)
			w.check(st.Size == size, "truncated to %d, it has %d bytes", size, st.Size)
		}
		// What was cut off does not come back.
		w.ok(w.root.write("g", "0123456789"), w.root.truncate("g", 4), w.root.truncate("g", 8))
		w.wantText("g", "0123\x00\x00\x00\x00")
	})
	w.run("open files", func(w *world) {
		f, err := w.root.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
		w.ok(err)
		defer f.close()
		_, err = f.write([]byte("0123456789"))
		w.ok(err)
		for _, size := range []int64{5, 100, 0, 1 << 33} {
			w.touchesFiles(func() error { return f.truncate(size) }, []*file{f}, "f:mc")
			st, err := f.stat()
			w.ok(err)
			w.check(st.Size == size, "truncated to %d, it has %d bytes", size, st.Size)
		}
		pos, err := f.seek(0, unix.SEEK_CUR)
		w.check(err == nil && pos == 10, "the position moved to %d, %v", pos, err)
		w.ok(f.truncate(3))
		_, err = f.write([]byte("x"))
		w.ok(err)
		w.wantText("f", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00x")
		w.want(f.truncate(-1), unix.EINVAL)
		w.ok(w.root.chmod("f", 0), w.root.chown("f", w.ann.uid, -1))
		w.want(f.as(w.ann).truncate(1), 0) // what is open for writing stays so
	})
	w.run("errors", func(w *world) {
		for _, k := range kinds {
			w.make(k, string(k), w.root)
		}
		w.want(w.root.truncate("directory", 0), unix.EISDIR)
		w.want(w.root.truncate("symbolic link", 0), unix.ENOENT)
		for _, k := range []kind{fifo, socket, charDev, blockDev} {
			w.want(w.root.truncate(string(k), 0), unix.EINVAL)
		}
		w.want(w.root.truncate("file", -1), unix.EINVAL)
		w.want(w.root.truncate("file", 1<<63-1), unix.EFBIG, 0)
		w.keeps(func() error { return w.eve.truncate("file", 3) }, unix.EACCES, "file")
		w.ok(w.root.chown("file", w.ann.uid, w.ann.gid), w.root.chmod("file", 0o266))
		w.want(w.ann.truncate("file", 3), 0)
		w.ok(w.root.chmod("file", 0o466))
		w.want(w.ann.truncate("file", 3), unix.EACCES)
		w.want(w.bob.truncate("file", 3), 0)
		w.ok(w.root.chmod("file", 0o606))
		w.want(w.sue.truncate("file", 3), unix.EACCES)
		w.want(w.eve.truncate("file", 3), 0)
	})
}

// testSetID goes through what takes set-id bits away, which root and whoever owns both may keep.
func testSetID(w *world) {
	changes := []struct {
		name string
		do   func(f *file, path string) error
	}{
		{"write", func(f *file, _ string) error { _, err := f.pwrite([]byte("new"), 0); return err }},
		{"write beyond the end", func(f *file, _ string) error { _, err := f.pwrite([]byte("new"), 100); return err }},
		{"ftruncate", func(f *file, _ string) error { return f.truncate(2) }},
		{"ftruncate up", func(f *file, _ string) error { return f.truncate(200) }},
		{"truncate", func(f *file, path string) error { return f.c.truncate(path, 2) }},
		{"open truncating", func(f *file, path string) error { return f.c.opens(path, unix.O_WRONLY|unix.O_TRUNC, 0) }},
		{"fallocate", func(f *file, _ string) error { return f.fallocate(0, 0, 1000) }},
		{"punch", func(f *file, _ string) error {
			return f.fallocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 2)
		}},
	}
	for _, ch := range changes {
		w.run(ch.name, func(w *world) {
			for _, m := range []struct{ mode, then uint32 }{{0o6777, 0o777}, {0o4766, 0o766}, {0o2776, 0o776}, {0o6766, 0o2766}, {0o2766, 0o2766}, {0o1777, 0o1777}} {
				for _, who := range []*caller{w.root, w.ann, w.eve} {
					path := w.spareOf(regular, w.ann)
					f, err := w.root.open(path, unix.O_RDWR, 0)
					w.ok(err)
					_, err = f.pwrite([]byte("old and long"), 0)
					w.ok(err)
					w.ok(w.root.chmod(path, m.mode))
					w.want(ch.do(f.as(who), path), 0)
					want := []uint32{m.then}
					if who == w.root {
						want = []uint32{m.mode}
					}
					if who == w.eve && m.mode&0o2010 == 0o2000 {
						// Who is not in the group may lose it the lock's bit too.
						want = append(want, m.then&^0o2000)
					}
					got := w.mode(path)
					ok := false
					for _, one := range want {
						ok = ok || got == one
					}
					w.check(ok, "%s: %s of a file of mode %s leaves %s, want %s", who.name, ch.name, octal(m.mode), octal(got), octal(want[0]))
					w.ok(f.close())
				}
			}
		})
	}
	w.run("mapped", func(w *world) {
		path := w.spareOf(regular, w.ann)
		w.ok(w.root.write(path, repeat("x", 100)), w.root.chmod(path, 0o6777))
		f, err := w.eve.open(path, unix.O_RDONLY, 0)
		w.ok(err)
		_, err = f.pread(make([]byte, 10), 0)
		w.ok(err, f.close())
		w.wantMode(path, 0o6777) // reading takes nothing away
	})
}
