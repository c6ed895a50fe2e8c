package posix

import "golang.org/x/sys/unix"

const (
	timeNow  = (1 << 30) - 1 // UTIME_NOW
	timeOmit = (1 << 30) - 2 // UTIME_OMIT
)

func testUtimens(w *world) {
	now, omit := unix.Timespec{Nsec: timeNow}, unix.Timespec{Nsec: timeOmit}
	at := func(sec, nsec int64) unix.Timespec { return unix.Timespec{Sec: sec, Nsec: nsec} }
	w.run("times", func(w *world) {
		for _, k := range kinds {
			path := string(k)
			w.make(k, path, w.root)
			for _, c := range []struct{ a, m unix.Timespec }{
				{at(0, 0), at(0, 1)},
				{at(1_000_000_000, 123_456_789), at(1_000_000_001, 999_999_999)},
				{at(-1, 0), at(-1, 999_999_999)},
				{at(-2_000_000_000, 5), at(-1<<31+1, 7)},         // 1906 and 1901
				{at(1<<31, 11), at(1<<32, 13)},                   // 2038 and 2106
				{at(10_000_000_000, 17), at(14_000_000_000, 19)}, // 2286 and 2413
				{at(1<<31-1, 999_999_999), at(1<<31, 0)},
			} {
				w.ok(w.root.utimens(path, c.a, c.m, unix.AT_SYMLINK_NOFOLLOW))
				w.wantTimes(path, c.a, c.m)
				x, err := w.root.statx(path, unix.AT_SYMLINK_NOFOLLOW)
				w.ok(err)
				w.check(x.Atime.Sec == c.a.Sec && int64(x.Atime.Nsec) == c.a.Nsec && x.Mtime.Sec == c.m.Sec && int64(x.Mtime.Nsec) == c.m.Nsec,
					"statx of %s gives %v and %v, want %v and %v", path, x.Atime, x.Mtime, c.a, c.m)
			}
			a, m := at(100, 1), at(200, 2)
			w.ok(w.root.utimens(path, a, m, unix.AT_SYMLINK_NOFOLLOW))
			w.ok(w.root.utimens(path, omit, at(300, 3), unix.AT_SYMLINK_NOFOLLOW))
			w.wantTimes(path, a, at(300, 3))
			w.ok(w.root.utimens(path, at(400, 4), omit, unix.AT_SYMLINK_NOFOLLOW))
			w.wantTimes(path, at(400, 4), at(300, 3))
			w.touches(func() error { return w.root.utimens(path, omit, omit, unix.AT_SYMLINK_NOFOLLOW) }, path+":")
			w.touches(func() error { return w.root.utimens(path, at(400, 4), at(300, 3), unix.AT_SYMLINK_NOFOLLOW) }, path+":c", ".:")
			w.touches(func() error { return w.root.utimens(path, now, omit, unix.AT_SYMLINK_NOFOLLOW) }, path+":ac")
			w.touches(func() error { return w.root.utimens(path, omit, now, unix.AT_SYMLINK_NOFOLLOW) }, path+":mc")
			w.touches(func() error { return w.root.utimens(path, now, now, unix.AT_SYMLINK_NOFOLLOW) }, path+":amc")
			if k != symlink {
				w.touches(func() error { return w.root.touch(path) }, path+":amc")
			}
			st, err := w.root.lstat(path)
			w.ok(err)
			w.check(st.Atim == st.Mtim, "one call sets now to %v and %v", st.Atim, st.Mtim)
		}
	})
	w.run("links", func(w *world) {
		w.make(regular, "f", w.root)
		w.ok(w.root.symlink("f", "l"))
		w.ok(w.root.utimens("l", at(1, 0), at(2, 0), 0))
		w.wantTimes("f", at(1, 0), at(2, 0))
		w.ok(w.root.utimens("l", at(3, 0), at(4, 0), unix.AT_SYMLINK_NOFOLLOW))
		w.wantTimes("f", at(1, 0), at(2, 0))
		w.wantTimes("l", at(3, 0), at(4, 0))
	})
	w.run("who may", func(w *world) {
		for _, k := range kinds {
			if k == symlink {
				continue
			}
			path := string(k)
			w.make(k, path, w.ann)
			set := func(c *caller) error { return c.utimens(path, at(1, 0), at(2, 0), 0) }
			// Without write permission for any.
			w.ok(w.root.chmod(path, 0o444))
			w.want(set(w.ann), 0)
			w.want(w.ann.touch(path), 0)
			w.want(w.ann.utimens(path, now, omit, 0), 0)
			w.keeps(func() error { return set(w.eve) }, unix.EPERM, path)
			w.want(w.eve.touch(path), unix.EACCES)
			w.want(w.eve.utimens(path, now, now, 0), unix.EACCES)
			w.want(w.eve.utimens(path, now, omit, 0), unix.EPERM)
			w.want(w.eve.utimens(path, omit, at(1, 0), 0), unix.EPERM)
			w.want(w.eve.utimens(path, omit, omit, 0), 0)
			// Writing allows now, and nothing else.
			w.ok(w.root.chmod(path, 0o466))
			for _, c := range []*caller{w.bob, w.sue, w.eve} {
				w.want(c.touch(path), 0)
				w.want(c.utimens(path, now, now, 0), 0)
				w.want(c.utimens(path, now, omit, 0), unix.EPERM)
				w.want(c.utimens(path, omit, now, 0), unix.EPERM)
				w.want(set(c), unix.EPERM)
			}
			w.want(set(w.root), 0)
			w.wantTimes(path, at(1, 0), at(2, 0))
		}
	})
	w.run("errors", func(w *world) {
		w.make(regular, "f", w.root)
		for _, nsec := range []int64{-1, 1_000_000_000, 1 << 40} {
			w.want(w.root.utimens("f", at(0, nsec), omit, 0), unix.EINVAL)
			w.want(w.root.utimens("f", omit, at(0, nsec), 0), unix.EINVAL)
		}
		w.want(w.root.utimens("f", now, now, 0x8000), unix.EINVAL)
	})
	w.run("of open files", func(w *world) {
		w.make(regular, "f", w.ann)
		f, err := w.ann.open("f", unix.O_RDONLY, 0)
		w.ok(err)
		defer f.close()
		set := func(c *caller) error {
			return c.call("futimens", func() error {
				return unix.UtimesNanoAt(here, f.procPath(), []unix.Timespec{at(5, 6), at(7, 8)}, 0)
			})
		}
		w.want(set(w.ann), 0)
		w.wantTimes("f", at(5, 6), at(7, 8))
		w.want(set(w.eve), unix.EPERM, unix.EACCES)
	})
	w.run("birth", func(w *world) {
		for _, k := range kinds {
			before := clock()
			w.make(k, string(k), w.root)
			var after unix.Timespec
			unix.ClockGettime(unix.CLOCK_REALTIME, &after)
			x, err := w.root.statx(string(k), unix.AT_SYMLINK_NOFOLLOW)
			w.ok(err)
			born := at(x.Btime.Sec, int64(x.Btime.Nsec))
			w.check(x.Mask&unix.STATX_BTIME != 0 && !later(before, born) && !later(born, after), "%s was born %v, not from %v to %v", k, born, before, after)
			tick()
			w.ok(w.root.utimens(string(k), at(1, 0), at(2, 0), unix.AT_SYMLINK_NOFOLLOW), w.root.lchown(string(k), 1, 1), w.root.rename(string(k), "x"))
			x, err = w.root.statx("x", unix.AT_SYMLINK_NOFOLLOW)
			w.ok(err)
			w.check(at(x.Btime.Sec, int64(x.Btime.Nsec)) == born, "%s is born again", k)
			w.ok(w.root.rename("x", string(k)))
		}
	})
}

// clock is the time as coarse as file systems tell it.
func clock() (now unix.Timespec) {
	unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now)
	return now
}
