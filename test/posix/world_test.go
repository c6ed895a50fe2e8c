package posix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

func TestMain(m *testing.M) {
	unix.Umask(0o022)
	if os.Getenv(lockEnv) != "" {
		os.Exit(m.Run())
	}
	os.Exit(rig.Main(m))
}

// place is a directory that the suite runs on.
type place struct {
	name string
	dir  string
	// remount takes the file system away in order and brings it back; nil where that can't be done.
	remount func(t *testing.T)
	// rebuild does so with nothing left but what is stored; crash ends it at once. Both may be nil.
	rebuild, crash func(t *testing.T)
	// writeback says that the kernel keeps what is written for a while, sizes and times too, and that the
	// file system learns of it then.
	writeback bool
}

// families are the parts of the suite, in the order in which they run.
var families = []struct {
	name string
	run  func(w *world)
}{
	{"paths", testPaths},
	{"chmod", testChmod},
	{"chown", testChown},
	{"link", testLink},
	{"make", testMake},
	{"mkdir", testMkdir},
	{"mknod", testMknod},
	{"symlink", testSymlink},
	{"rename", testRename},
	{"sticky", testSticky},
	{"rmdir", testRmdir},
	{"unlink", testUnlink},
	{"open", testOpen},
	{"truncate", testTruncate},
	{"set-id", testSetID},
	{"utimens", testUtimens},
	{"xattr", testXattr},
	{"acl", testACL},
	{"allocate", testAllocate},
	{"holes", testHoles},
	{"data", testData},
	{"mmap", testMmap},
	{"copy", testCopy},
	{"statfs", testStatfs},
	{"atime", testAtime},
	{"readdir", testReaddir},
	{"many entries", testManyEntries},
	{"locks", testLocks},
	{"access", testAccess},
	{"limits", testLimits},
	{"bad memory", testBadMemory},
	{"races", testRaces},
	{"file handles", testFileHandles},
	{"lasting", testLasting},
	{"crash", testCrash},
}

func TestDirectory(t *testing.T) {
	if dir := os.Getenv("COFFER_POSIX_DIR"); dir != "" {
		t.Run("given", func(t *testing.T) { suite(t, &place{name: "given", dir: dir}) })
		return
	}
	t.Run("ext4", func(t *testing.T) { suite(t, onExt4(t)) })
	t.Run("tmpfs", func(t *testing.T) { suite(t, onTmpfs(t)) })
	t.Run("coffer", func(t *testing.T) { suite(t, onCoffer(t)) })
	t.Run("coffer writeback", func(t *testing.T) { suite(t, onCoffer(t, "--writeback")) })
}

func suite(t *testing.T, p *place) {
	rig.Must(t, os.Chmod(p.dir, 0o755))
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) { f.run(newWorld(t, p)) })
	}
}

func onExt4(t *testing.T) *place {
	disk := rig.NewDisk(t, 4096)
	open(t, disk.Dir)
	return &place{name: "ext4", dir: disk.Dir, remount: func(t *testing.T) {
		rig.Must(t, disk.Unmount(), disk.Mount())
	}}
}

func onTmpfs(t *testing.T) *place {
	dir := rig.PublicDir(t)
	rig.Must(t, unix.Mount("posix", dir, "tmpfs", 0, "size=2g,mode=755"))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return &place{name: "tmpfs", dir: dir}
}

func onCoffer(t *testing.T, flags ...string) *place {
	dir := rig.PublicDir(t)
	user := rig.NewUser(t, filepath.Join(dir, "home"))
	store, mnt := filepath.Join(dir, "store"), filepath.Join(dir, "mnt")
	user.Run(t, "init", store)
	m := user.Mount(t, store, mnt, flags...)
	again := func(end func()) func(*testing.T) {
		return func(*testing.T) { // the mount is to last as long as the test of the place
			end()
			m = user.Mount(t, store, mnt, flags...)
		}
	}
	return &place{
		name: "coffer", dir: mnt, writeback: len(flags) > 0,
		remount: again(func() { m.Unmount(t) }),
		rebuild: again(func() {
			m.Unmount(t)
			user.DropIndex(t)
			rig.DropCatalogs(t, store)
		}),
		crash: again(func() { m.Kill() }),
	}
}

// open lets everybody through to a directory below a test's own.
func open(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		rig.Must(t, os.Chmod(dir, 0o755))
	}
}

// world is what a case is given: an empty directory that is everybody's working directory, and everybody.
type world struct {
	*testing.T
	place *place
	dir   string // 0755, root's

	root, ann, bob, sue, eve *caller
	all                      []*caller
}

func newWorld(t *testing.T, p *place) *world {
	t.Helper()
	w := &world{T: t, place: p}
	for _, who := range []**caller{&w.root, &w.ann, &w.bob, &w.sue, &w.eve} {
		c := identities[len(w.all)]
		rig.Must(t, c.start())
		t.Cleanup(c.stop)
		*who = &c
		w.all = append(w.all, &c)
	}
	w.enter()
	return w
}

// enter makes the empty directory.
func (w *world) enter() {
	w.Helper()
	dir, err := os.MkdirTemp(w.place.dir, "case-")
	rig.Must(w.T, err, os.Chmod(dir, 0o755))
	w.dir = dir
	for _, c := range w.all {
		w.ok(c.call("chdir", func() error { return unix.Chdir(dir) }))
	}
	w.Cleanup(func() {
		if w.Failed() && os.Getenv("COFFER_KEEP") != "" {
			return
		}
		for _, c := range w.all {
			c.call("chdir", func() error { return unix.Chdir("/") })
		}
		if err := os.RemoveAll(dir); err != nil {
			w.Errorf("remove what the case left: %v", err)
		}
	})
}

// leave takes everybody out of the file system, so that it can be unmounted, and gives the way back.
func (w *world) leave() (back func()) {
	w.Helper()
	for _, c := range w.all {
		w.ok(c.call("chdir", func() error { return unix.Chdir("/") }))
	}
	return func() {
		w.Helper()
		for _, c := range w.all {
			w.ok(c.call("chdir", func() error { return unix.Chdir(w.dir) }))
		}
	}
}

// run is a case of its own: the same callers in an empty directory.
func (w *world) run(name string, f func(w *world)) bool {
	return w.T.Run(name, func(t *testing.T) {
		sub := *w
		sub.T = t
		sub.enter()
		// The callers go back where they were, which the outer case expects.
		defer w.back()
		f(&sub)
	})
}

func (w *world) back() {
	for _, c := range w.all {
		c.call("chdir", func() error { return unix.Chdir(w.dir) })
	}
}

// path is a path in the case's directory for those who have another working directory.
func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// ok ends the case if any call failed.
func (w *world) ok(errs ...error) {
	w.Helper()
	for _, err := range errs {
		if err != nil {
			w.Fatal(err)
		}
	}
}

// want says which errors, 0 for none, a call may have.
func (w *world) want(err error, allowed ...unix.Errno) {
	w.Helper()
	if got := errnoOf(err); !slices.Contains(allowed, got) {
		w.Errorf("%s, want %s", describe(err), names(allowed))
	}
}

func describe(err error) string {
	var f *failure
	if !errors.As(err, &f) {
		return "success"
	}
	return fmt.Sprintf("%s: %s", f.what, unix.ErrnoName(errnoOf(f.err)))
}

func names(errnos []unix.Errno) string {
	var text []byte
	for i, e := range errnos {
		if i > 0 {
			text = append(text, " or "...)
		}
		if e == 0 {
			text = append(text, "success"...)
		} else {
			text = append(text, unix.ErrnoName(e)...)
		}
	}
	return string(text)
}

// check fails the case without ending it.
func (w *world) check(ok bool, format string, args ...any) {
	w.Helper()
	if !ok {
		w.Errorf(format, args...)
	}
}
