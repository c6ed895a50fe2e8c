package posix

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// pathOp is a call with a path.
type pathOp struct {
	name    string
	on      kind // what must be at the path
	follows bool // a symbolic link at the end of it
	names   bool // needs to write the directory: makes, moves or removes the name
	changes bool // the file system
	do      func(w *world, c *caller, path string) error
}

var pathOps = []pathOp{
	{"access", regular, true, false, false, func(_ *world, c *caller, path string) error { return c.access(path, unix.F_OK) }},
	{"chdir", directory, true, false, false, func(w *world, c *caller, path string) error {
		err := c.chdir(path)
		if err == nil {
			err = c.chdir(w.dir)
		}
		return err
	}},
	{"chmod", regular, true, false, true, func(_ *world, c *caller, path string) error { return c.chmod(path, 0o600) }},
	{"chown", regular, true, false, true, func(_ *world, c *caller, path string) error { return c.chown(path, c.uid, c.gid) }},
	{"lchown", regular, false, false, true, func(_ *world, c *caller, path string) error { return c.lchown(path, c.uid, c.gid) }},
	{"link from", regular, false, false, true, func(w *world, c *caller, path string) error { return c.link(path, w.spare()) }},
	{"link to", nothing, false, true, true, func(w *world, c *caller, path string) error {
		return c.link(w.spareOf(regular, c), path)
	}},
	{"stat", regular, true, false, false, func(_ *world, c *caller, path string) error { _, err := c.stat(path); return err }},
	{"lstat", regular, false, false, false, func(_ *world, c *caller, path string) error { _, err := c.lstat(path); return err }},
	{"statx", regular, true, false, false, func(_ *world, c *caller, path string) error { _, err := c.statx(path, 0); return err }},
	{"statfs", regular, true, false, false, func(_ *world, c *caller, path string) error {
		return c.call("statfs "+short(path), func() error { return unix.Statfs(path, new(unix.Statfs_t)) })
	}},
	{"mkdir", nothing, false, true, true, func(_ *world, c *caller, path string) error { return c.mkdir(path, 0o755) }},
	{"mkfifo", nothing, false, true, true, func(_ *world, c *caller, path string) error { return c.mkfifo(path, 0o644) }},
	{"mknod file", nothing, false, true, true, func(_ *world, c *caller, path string) error {
		return c.mknod(path, unix.S_IFREG|0o644, 0)
	}},
	{"mknod socket", nothing, false, true, true, func(_ *world, c *caller, path string) error {
		return c.mknod(path, unix.S_IFSOCK|0o644, 0)
	}},
	{"symlink", nothing, false, true, true, func(_ *world, c *caller, path string) error { return c.symlink("x", path) }},
	{"open create", nothing, false, true, true, func(_ *world, c *caller, path string) error { return c.create(path, 0o644) }},
	{"open read", regular, true, false, false, func(_ *world, c *caller, path string) error { return c.opens(path, unix.O_RDONLY, 0) }},
	{"open write", regular, true, false, true, func(_ *world, c *caller, path string) error { return c.opens(path, unix.O_WRONLY, 0) }},
	{"open truncate", regular, true, false, true, func(_ *world, c *caller, path string) error {
		return c.opens(path, unix.O_RDWR|unix.O_TRUNC, 0)
	}},
	{"open directory", directory, true, false, false, func(_ *world, c *caller, path string) error {
		return c.opens(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	}},
	{"open path", regular, true, false, false, func(_ *world, c *caller, path string) error { return c.opens(path, unix.O_PATH, 0) }},
	{"open nameless", directory, true, false, true, func(_ *world, c *caller, path string) error {
		return c.opens(path, unix.O_TMPFILE|unix.O_RDWR, 0o644)
	}},
	{"readlink", symlink, false, false, false, func(_ *world, c *caller, path string) error { _, err := c.readlink(path); return err }},
	{"rename from", regular, false, true, true, func(w *world, c *caller, path string) error { return c.rename(path, w.spare()) }},
	{"rename to", nothing, false, true, true, func(w *world, c *caller, path string) error {
		return c.rename(w.spareOf(regular, c), path)
	}},
	{"rename onto", regular, false, true, true, func(w *world, c *caller, path string) error {
		return c.rename(w.spareOf(regular, c), path)
	}},
	{"rename directory", directory, false, true, true, func(w *world, c *caller, path string) error {
		return c.rename(path, w.spare())
	}},
	{"rename noreplace", nothing, false, true, true, func(w *world, c *caller, path string) error {
		return c.rename2(w.spareOf(regular, c), path, unix.RENAME_NOREPLACE)
	}},
	{"rename exchange", regular, false, true, true, func(w *world, c *caller, path string) error {
		return c.rename2(w.spareOf(regular, c), path, unix.RENAME_EXCHANGE)
	}},
	{"rmdir", directory, false, true, true, func(_ *world, c *caller, path string) error { return c.rmdir(path) }},
	{"truncate", regular, true, false, true, func(_ *world, c *caller, path string) error { return c.truncate(path, 1) }},
	{"unlink", regular, false, true, true, func(_ *world, c *caller, path string) error { return c.unlink(path) }},
	{"utimensat", regular, true, false, true, func(_ *world, c *caller, path string) error {
		return c.utimens(path, unix.Timespec{Sec: 1}, unix.Timespec{Sec: 2}, 0)
	}},
	{"setxattr", regular, false, false, true, func(_ *world, c *caller, path string) error {
		return c.setxattr(path, "user.name", []byte("value"), 0)
	}},
	{"listxattr", regular, false, false, false, func(_ *world, c *caller, path string) error {
		_, err := c.listxattr(path, 1000)
		return err
	}},
}

// testPaths is what every call with a path has in common.
func testPaths(w *world) {
	for _, op := range pathOps {
		w.run(op.name, func(w *world) {
			op.testNames(w)
			op.testPrefix(w)
			op.testLoops(w)
			op.testSearch(w)
			if op.names {
				op.testWritable(w)
			}
			if op.names && op.on == nothing {
				op.testExists(w)
			}
			if op.changes {
				op.testReadOnly(w)
			}
		})
	}
}

// works does the operation on a path where it must succeed.
func (op *pathOp) works(w *world, c *caller, path string) {
	w.Helper()
	w.make(op.on, path, c)
	w.want(op.do(w, c, path), 0)
}

// testNames goes up to the longest names and paths, and beyond.
func (op *pathOp) testNames(w *world) {
	const nameMax, pathMax = 255, 4096
	long := strings.Repeat("n", nameMax)
	w.ok(w.root.mkdir("names", 0o755))
	op.works(w, w.root, "names/"+long)
	w.want(op.do(w, w.root, "names/"+long+"x"), unix.ENAMETOOLONG)
	w.ok(w.root.mkdir(long, 0o755))
	op.works(w, w.root, long+"/x")
	w.want(op.do(w, w.root, long+"x/x"), unix.ENAMETOOLONG)
	for _, name := range []string{"\x01\x7f\xff\xfe", "\n\t ", "*?[]\\\"'", "ünï©ødé", "..." + " "} {
		op.works(w, w.root, "names/"+name)
	}
	// A path has its terminating NUL within pathMax.
	dots := strings.Repeat("./", (pathMax-2)/2)
	op.works(w, w.root, dots+"p"[:pathMax-1-len(dots)])
	w.want(op.do(w, w.root, dots+"pp"), unix.ENAMETOOLONG)
	deep := strings.Repeat(strings.Repeat("d", 255)+"/", 15)
	for at := deep[:256]; ; at = deep[:len(at)+256] {
		w.ok(w.root.mkdir(at, 0o755))
		if len(at) == len(deep) {
			break
		}
	}
	op.works(w, w.root, deep+strings.Repeat("e", 255))
	w.want(op.do(w, w.root, deep+strings.Repeat("e", 254)+"/x"), unix.ENAMETOOLONG)
}

// testPrefix has something at the wrong place within the path, or nothing.
func (op *pathOp) testPrefix(w *world) {
	w.ok(w.root.mkdir("prefix", 0o755), w.root.symlink("file", "prefix/to file"))
	for _, k := range files {
		path := "prefix/" + string(k)
		w.make(k, path, w.root)
		want := unix.ENOTDIR
		if k == symlink {
			want = unix.ENOENT
		}
		w.want(op.do(w, w.root, path+"/x"), want)
		w.want(op.do(w, w.root, path+"/x/y"), want)
	}
	w.want(op.do(w, w.root, "prefix/to file/x"), unix.ENOTDIR)
	w.want(op.do(w, w.root, "prefix/missing/x"), unix.ENOENT)
	w.want(op.do(w, w.root, "prefix/missing/x/y"), unix.ENOENT)
	w.want(op.do(w, w.root, ""), unix.ENOENT)
	if op.on != nothing && op.name != "rename onto" {
		w.want(op.do(w, w.root, "prefix/missing"), unix.ENOENT)
	}
	if op.follows {
		w.want(op.do(w, w.root, "prefix/"+string(symlink)), unix.ENOENT)
	}
	if op.on == regular && op.name != "open truncate" {
		w.make(regular, "prefix/slash", w.root)
		w.want(op.do(w, w.root, "prefix/slash/"), unix.ENOTDIR)
	}
}

func (op *pathOp) testLoops(w *world) {
	w.ok(w.root.mkdir("loops", 0o755), w.root.symlink("b", "loops/a"), w.root.symlink("a", "loops/b"))
	w.want(op.do(w, w.root, "loops/a/x"), unix.ELOOP)
	if op.follows {
		w.want(op.do(w, w.root, "loops/a"), unix.ELOOP)
	}
	const most = 40 // links that Linux follows in one path
	w.ok(w.root.mkdir("loops/0", 0o755))
	for k := range most + 1 {
		w.ok(w.root.symlink(fmt.Sprint(k), fmt.Sprintf("loops/%d", k+1)))
	}
	op.works(w, w.root, fmt.Sprintf("loops/%d/x", most))
	w.want(op.do(w, w.root, fmt.Sprintf("loops/%d/y", most+1)), unix.ELOOP)
	if op.follows {
		w.make(op.on, "loops/target", w.root)
		w.ok(w.root.symlink("target", "loops/link"), w.root.symlink(w.path("loops/target"), "loops/absolute"))
		w.want(op.do(w, w.root, "loops/link"), 0)
		w.want(op.do(w, w.root, "loops/absolute"), 0)
	}
}

// classes are the callers to whom a directory of ann's applies which bits of its mode: those of the owner,
// of the group (the caller's own or a supplementary one), of others.
func (w *world) classes() map[*caller]uint32 {
	return map[*caller]uint32{w.ann: 0o700, w.bob: 0o070, w.sue: 0o070, w.eve: 0o007}
}

// testSearch lets each class through a directory, or everybody else.
func (op *pathOp) testSearch(w *world) {
	w.ok(w.root.mkdir("search", 0o755))
	dir := func(name string, mode uint32) string {
		w.ok(w.root.mkdir("search/"+name, mode), w.root.chown("search/"+name, w.ann.uid, w.ann.gid))
		return "search/" + name
	}
	for c, class := range w.classes() {
		allowed := dir(c.name+" may", class)
		op.works(w, c, allowed+"/x")
		refused := dir(c.name+" may not", 0o777&^(class&0o111))
		w.make(op.on, refused+"/x", c)
		w.want(op.do(w, c, refused+"/x"), unix.EACCES)
		// Not the last directory of the path, but one before.
		w.ok(w.root.mkdir(refused+"/y", 0o777))
		w.make(op.on, refused+"/y/x", c)
		w.want(op.do(w, c, refused+"/y/x"), unix.EACCES)
		// No permissions keep root out.
		op.works(w, w.root, dir(c.name+" none", 0)+"/x")
	}
}

// testWritable lets each class write a directory, or everybody else.
func (op *pathOp) testWritable(w *world) {
	w.ok(w.root.mkdir("writable", 0o755))
	for c, class := range w.classes() {
		refused := "writable/not " + c.name
		w.ok(w.root.mkdir(refused, 0o777&^(class&0o222)), w.root.chown(refused, w.ann.uid, w.ann.gid))
		w.make(op.on, refused+"/x", c)
		before, err := w.root.lstat(refused)
		w.ok(err)
		w.want(op.do(w, c, refused+"/x"), unix.EACCES)
		after, err := w.root.lstat(refused)
		w.ok(err)
		w.check(before.Mtim == after.Mtim && before.Ctim == after.Ctim, "%s: a refused %s changed the times of the directory", c.name, op.name)
	}
}

// testExists has what can be in the way.
func (op *pathOp) testExists(w *world) {
	if strings.HasPrefix(op.name, "rename to") {
		return // replaces
	}
	w.ok(w.root.mkdir("exists", 0o755))
	for _, k := range kinds {
		path := "exists/" + string(k)
		w.make(k, path, w.root)
		before := w.ino(path)
		w.want(op.do(w, w.root, path), unix.EEXIST)
		w.same(path, before)
	}
	for _, path := range []string{".", "..", "exists/.", "exists/.."} {
		w.want(op.do(w, w.root, path), unix.EEXIST, unix.EBUSY)
	}
	w.want(op.do(w, w.root, "/"), unix.EEXIST, unix.EBUSY, unix.EXDEV)
}

// testReadOnly goes through a mount of the same directory that is read-only.
func (op *pathOp) testReadOnly(w *world) {
	w.ok(w.root.mkdir("rw", 0o777), w.root.mkdir("ro", 0o777))
	w.make(op.on, "rw/x", w.root)
	ro := w.path("ro")
	w.ok(unix.Mount(w.path("rw"), ro, "", unix.MS_BIND, ""))
	defer unix.Unmount(ro, unix.MNT_DETACH)
	w.ok(unix.Mount("", ro, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	switch op.name {
	case "link from", "link to", "rename from", "rename to", "rename onto", "rename directory", "rename noreplace", "rename exchange":
		// The other path is on another mount, which may be found first.
		w.want(op.do(w, w.root, "ro/x"), unix.EXDEV, unix.EROFS)
	default:
		w.want(op.do(w, w.root, "ro/x"), unix.EROFS)
	}
}
