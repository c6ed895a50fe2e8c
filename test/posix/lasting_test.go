package posix

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// testLasting is what must be the same after the file system was away.
func testLasting(w *world) {
	if w.place.remount == nil {
		return // it is as long as it is mounted
	}
	w.ok(w.root.mkdir("d", 0o3751), w.root.chown("d", 1, 2), w.root.chmod("d", 0o3751))
	for _, k := range kinds {
		w.make(k, "d/"+string(k), w.ann)
	}
	w.ok(w.root.write("d/file", "contents"), w.root.chmod("d/file", 0o6751), w.root.chmod("d/fifo", 0o604))
	w.ok(w.root.link("d/file", "d/other name"), w.root.link("d/fifo", "other fifo"), w.root.symlink(repeat("t", 4000), "d/long link"))
	w.ok(w.root.setxattr("d/file", "user.a", []byte("value"), 0), w.root.setxattr("d/file", "trusted.a", nil, 0))
	w.ok(w.root.setxattr("d/symbolic link", "trusted.l", []byte(repeat("v", 2000)), 0))
	acl := encode(ace{userObj, 7, 0}, ace{userID, 6, w.eve.uid}, ace{groupObj, 5, 0}, ace{maskACE, 4, 0}, ace{otherACE, 0, 0})
	w.ok(w.root.setxattr("d/block device", accessACL, acl, 0), w.root.setxattr("d/directory", defaultACL, acl, 0))
	at := func(sec, nsec int64) unix.Timespec { return unix.Timespec{Sec: sec, Nsec: nsec} }
	w.ok(w.root.utimens("d/fifo", at(-100_000_000, 123), at(10_000_000_000, 999_999_999), 0))
	sparse := w.newFile("d/sparse", nil)
	w.put(sparse, pattern(4096), 5<<40)
	w.put(sparse, pattern(8192), 8192)
	w.ok(sparse.truncate(6<<40), sparse.fallocate(punch, 8192, 4096), sparse.close())
	big := pattern(3_000_000)
	f := w.newFile("d/big", big)
	w.ok(f.close())
	for i := range 300 {
		w.ok(w.root.create(fmt.Sprint("d/", i), 0o644))
	}
	for i := range 100 {
		w.ok(w.root.unlink(fmt.Sprint("d/", 3*i)), w.root.rename(fmt.Sprint("d/", 3*i+1), fmt.Sprint("d/moved ", i)))
	}
	unlinked := w.newFile("unlinked", pattern(100_000))
	w.ok(w.root.unlink("unlinked"), unlinked.close())

	type all struct {
		st     unix.Stat_t
		birth  unix.StatxTimestamp
		xattrs string
		target string
	}
	look := func() map[string]all {
		seen := map[string]all{}
		d := w.openDir("d")
		defer d.close()
		for _, e := range w.list(d, 4096) {
			path := "d/" + e.name
			if e.name == ".." {
				continue
			}
			var a all
			var err error
			a.st, err = w.root.lstat(path)
			w.ok(err)
			w.check(e.ino == a.st.Ino, "%s is inode %d in the list, and %d", path, e.ino, a.st.Ino)
			a.st.Dev, a.st.Blocks = 0, 0 // of the mount; delayed allocation
			x, err := w.root.statx(path, unix.AT_SYMLINK_NOFOLLOW)
			w.ok(err)
			a.birth = x.Btime
			list, err := w.root.listxattr(path, 1000)
			w.ok(err)
			for _, name := range listed(list) {
				value, err := w.root.getxattr(path, name, 5000)
				w.ok(err)
				a.xattrs += fmt.Sprintf("%q=%q ", name, value)
			}
			if a.st.Mode&unix.S_IFMT == unix.S_IFLNK {
				a.target, err = w.root.readlink(path)
				w.ok(err)
			}
			seen[e.name] = a
		}
		return seen
	}
	look() // which moves access times
	want := look()
	again := func(when string, away func()) {
		back := w.leave()
		away()
		back()
		got := look()
		for name, a := range want {
			if got[name] != a {
				w.Errorf("%s: %s is\n%+v, was\n%+v", when, name, got[name], a)
			}
		}
		w.check(len(got) == len(want), "%s: %d entries, want %d", when, len(got), len(want))
		w.wantText("d/other name", "contents")
		f, err := w.root.open("d/big", unix.O_RDONLY, 0)
		w.ok(err)
		w.holds(f, big)
		w.ok(f.close())
		sparse, err := w.root.open("d/sparse", unix.O_RDONLY, 0)
		w.ok(err)
		w.wantRanges(sparse, [2]int64{12288, 16384}, [2]int64{5 << 40, 5<<40 + 4096})
		w.ok(sparse.close())
		w.same("d/..", w.ino("."))
		w.want(w.eve.access("d/block device", unix.R_OK), 0)
		w.want(w.eve.access("d/block device", unix.W_OK), unix.EACCES) // the mask
		w.ok(w.root.create("d/directory/f", 0o666))
		w.wantMode("d/directory/f", 0o640)
		w.ok(w.root.unlink("d/directory/f"))
		st, err := w.root.lstat("d/directory")
		w.ok(err)
		d := want["directory"]
		d.st.Mtim, d.st.Ctim, d.st.Atim = st.Mtim, st.Ctim, st.Atim
		want["directory"] = d
		for name, a := range want { // what reading moved on
			st, err := w.root.lstat("d/" + name)
			w.ok(err)
			a.st.Atim = st.Atim
			want[name] = a
		}
	}
	again("mounted again", func() { w.place.remount(w.T) })
	if w.place.rebuild != nil {
		again("rebuilt", func() { w.place.rebuild(w.T) })
	}
	w.wantNumbersUnused(want[`.`].st.Ino)
}

// wantNumbersUnused makes files and sees that each has an inode number of its own.
func (w *world) wantNumbersUnused(dir uint64) {
	w.Helper()
	inos := []uint64{dir}
	for i := range 10 {
		path := fmt.Sprint("number ", i)
		w.ok(w.root.create(path, 0o644))
		ino := w.ino(path)
		w.check(ino != 0 && !slices.Contains(inos, ino), "inode number %d twice", ino)
		inos = append(inos, ino)
	}
}

// testCrash kills the file system: what was synced is there, and what had no name any more is gone and
// takes no room.
func testCrash(w *world) {
	if w.place.crash == nil {
		return
	}
	var before, after unix.Statfs_t
	statfs := func(st *unix.Statfs_t) {
		w.ok(w.root.call("statfs", func() error { return unix.Statfs(".", st) }))
	}
	w.ok(w.root.write("kept", "contents"))
	kept, err := w.root.open("kept", unix.O_RDONLY, 0)
	w.ok(err)
	w.ok(kept.sync())
	statfs(&before)
	f := w.newFile("unlinked", pattern(2_000_000))
	n, err := w.root.open(".", unix.O_TMPFILE|unix.O_RDWR, 0o600)
	w.ok(err)
	w.put(n, pattern(1000), 0)
	replaced := w.newFile("replaced", pattern(1000))
	w.ok(w.root.write("new", "new"), w.root.rename("new", "replaced"), w.root.unlink("unlinked"))
	w.ok(f.sync(), n.sync())
	var open unix.Statfs_t
	statfs(&open)
	w.check(open.Files-open.Ffree == before.Files-before.Ffree+4, "%d inodes, want 4 more than %d", open.Files-open.Ffree, before.Files-before.Ffree)
	back := w.leave()
	w.place.crash(w.T)
	for _, f := range []*file{f, n, replaced, kept} {
		f.close()
	}
	back()
	w.wantKind("unlinked", nothing)
	w.wantText("kept", "contents")
	w.wantText("replaced", "new")
	statfs(&after)
	w.check(after.Files-after.Ffree == before.Files-before.Ffree+1, "after the crash there are %d inodes, want 1 more than %d", after.Files-after.Ffree, before.Files-before.Ffree)
}
