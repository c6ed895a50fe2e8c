package e2e

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/test/compare"
	"coffer/test/rig"
)

// sourceTree is a tree of real files: a part of the Go distribution, or with COFFER_WHOLE_TREE=1 all of it.
func sourceTree(t *testing.T) string {
	t.Helper()
	root := goRoot(t)
	if os.Getenv("COFFER_WHOLE_TREE") == "1" {
		return root
	}
	return filepath.Join(root, "src", "cmd")
}

func goRoot(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(rig.Output(t, "go", "env", "GOROOT"))
}

// TestTree copies a tree in, and wants it back unchanged: at once, after unmount and mount, after the
// index was lost and made anew, after index and catalog were lost, and on another machine.
func TestTree(t *testing.T) {
	source := sourceTree(t)
	want := rig.ReadTree(t, source)
	p := newPlace(t)
	m := p.mount(t)
	m.Watch(t, 15*time.Minute)
	rig.CopyTree(t, source, m.Path("tree"))
	rig.Same(t, "after the copy", want, rig.ReadTree(t, m.Path("tree")))
	rig.Output(t, "diff", "-r", "--no-dereference", source, m.Path("tree"))
	m.Unmount(t)

	check := func(when string, u *rig.User) {
		t.Helper()
		m := u.Mount(t, p.store, p.mnt)
		rig.Same(t, when, want, rig.ReadTree(t, m.Path("tree")))
		m.Unmount(t)
	}
	check("mounted again", p.User)

	p.DropIndex(t)
	p.Run(t, "rebuild", p.store)
	check("index rebuilt", p.User)

	p.DropIndex(t)
	rig.DropCatalogs(t, p.store)
	p.Run(t, "rebuild", p.store)
	check("index and catalog rebuilt", p.User)

	other := rig.NewUser(t, t.TempDir())
	rig.Must(t, os.MkdirAll(filepath.Dir(other.Identity()), 0o700))
	rig.CopyTree(t, p.Identity(), other.Identity())
	check("on another machine, with the key", other)
}

// TestRepetition stores a tree again and shifted by one KiB, which must take hardly any room.
// It is the whole tree: in a part of it, files are smaller than they are on average, and what describes them
// weighs more.
func TestRepetition(t *testing.T) {
	source := goRoot(t)
	p := newPlace(t)

	// Each step is a mount of its own, so that what it stores is all in the store after it.
	step := func(f func(m *rig.Mount)) int64 {
		before := rig.Stored(t, p.store)
		m := p.mount(t)
		f(m)
		m.Unmount(t)
		return rig.Stored(t, p.store) - before
	}
	first := step(func(m *rig.Mount) { rig.CopyTree(t, source, m.Path("first")) })
	second := step(func(m *rig.Mount) { rig.CopyTree(t, source, m.Path("second")) })
	if second*100 >= first {
		t.Errorf("the second copy took %d bytes, the first %d: not less than 1 %%", second, first)
	}

	plain := filepath.Join(t.TempDir(), "plain.tar")
	writeTar(t, plain, source)
	tarred := step(func(m *rig.Mount) { copyShifted(t, plain, m.Path("plain.tar"), 0) })
	shifted := step(func(m *rig.Mount) { copyShifted(t, plain, m.Path("shifted.tar"), 1<<10) })
	if shifted*20 >= tarred {
		t.Errorf("a tar with 1 KiB inserted took %d bytes, without %d: not less than 5 %%", shifted, tarred)
	}
	t.Logf("stored: first copy %d, second %d, tar %d, shifted tar %d", first, second, tarred, shifted)
}

func writeTar(t *testing.T, path, source string) {
	t.Helper()
	f, err := os.Create(path)
	rig.Must(t, err)
	w := tar.NewWriter(f)
	rig.Must(t, w.AddFS(os.DirFS(source)), w.Close(), f.Close())
}

// copyShifted copies a file behind some bytes of its own kind of data.
func copyShifted(t *testing.T, from, to string, shift int) {
	t.Helper()
	in, err := os.Open(from)
	rig.Must(t, err)
	defer in.Close()
	out, err := os.Create(to)
	rig.Must(t, err)
	_, err = out.WriteString(strings.Repeat("inserted", shift/8))
	rig.Must(t, err)
	_, err = io.Copy(out, in)
	rig.Must(t, err, out.Close())
}

// TestEveryKind stores one of everything a tree can hold, changed in every way, and compares the mount
// with a plain directory to which the same was done.
func TestEveryKind(t *testing.T) {
	p := newPlace(t)
	plain := filepath.Join(t.TempDir(), "plain")
	rig.Must(t, os.Mkdir(plain, 0o755))
	m := p.mount(t)
	m.Watch(t, 5*time.Minute)
	for _, dir := range []string{plain, m.Path()} {
		everyKind(t, dir)
	}
	rig.Same(t, "as written", entries(t, plain), entries(t, m.Path()))
	m.Unmount(t)
	m = p.mount(t)
	rig.Same(t, "mounted again", entries(t, plain), entries(t, m.Path()))
	rig.Output(t, "rsync", "-aHAX", plain+"/", m.Path("rsynced"))
	m.Unmount(t)
	m = p.mount(t)
	rig.Same(t, "rsynced", entries(t, plain), entries(t, m.Path("rsynced")))
	m.Unmount(t)
}

// entries reads a tree without its root, whose attributes are the mount's own.
func entries(t *testing.T, dir string) compare.Tree {
	t.Helper()
	tree := rig.ReadTree(t, dir)
	delete(tree, ".")
	delete(tree, "rsynced")
	return tree
}

func everyKind(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, off int64, p string) {
		f, err := os.OpenFile(at(name), os.O_CREATE|os.O_WRONLY, 0o644)
		rig.Must(t, err)
		_, err = f.WriteAt([]byte(p), off)
		rig.Must(t, err, f.Close())
	}
	write("empty", 0, "")
	write("small", 0, "small")
	write("large", 0, strings.Repeat("0123456789abcdef", 300_000))
	write("large", 1_234_567, "overwritten in the middle")
	write("hole", 9<<20, "behind a hole")
	write("shrunk", 0, strings.Repeat("s", 700_000))
	write("grown", 0, strings.Repeat("g", 100))
	write("name with ü, blank and \n newline", 0, "x")
	write(strings.Repeat("n", 255), 0, "longest name")
	rig.Must(t,
		os.Truncate(at("shrunk"), 100_001),
		os.Truncate(at("grown"), 5_000_000),
		os.MkdirAll(at("dir/below/further"), 0o750),
		os.Rename(at("small"), at("dir/below/small")),
		os.Link(at("large"), at("dir/linked")),
		os.Link(at("large"), at("dir/below/linked too")),
		os.Symlink("nowhere/at all", at("symlink")),
		os.Symlink(strings.Repeat("l", 4000), at("long symlink")),
		unix.Mkfifo(at("fifo"), 0o622),
		unix.Mknod(at("char"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
		unix.Mknod(at("block"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 300))),
		unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0),
		os.Lchown(at("empty"), 1234, 70_000),
		os.Lchown(at("symlink"), 99, 98),
		unix.Chmod(at("grown"), 0o4751),
		unix.Chmod(at("dir"), 0o1777),
		unix.Setxattr(at("hole"), "user.colour", []byte("blue"), 0),
		unix.Setxattr(at("hole"), "user.binary", []byte{0, 1, 2, 255}, 0),
		unix.Setxattr(at("dir"), "user.empty", nil, 0),
		unix.Setxattr(at("hole"), "trusted.of-root", []byte("t"), 0),
	)
	rig.Output(t, "setfacl", "-m", "u:1234:rw,g:4321:r", at("hole"))
	rig.Output(t, "setfacl", "-d", "-m", "u:1234:rwx", at("dir/below"))
	unlinkedOpen(t, dir)
	for i, name := range []string{"empty", "large", "hole", "fifo", "char", "symlink", "grown", "shrunk", "long symlink",
		"block", "socket", "dir/below/small", "name with ü, blank and \n newline", strings.Repeat("n", 255), "dir/below/further", "dir/below", "dir"} {
		stamp := unix.Timespec{Sec: int64(-5 + i*100_000_000), Nsec: int64(i * 12_345_678)}
		rig.Must(t, unix.UtimesNanoAt(unix.AT_FDCWD, at(name), []unix.Timespec{stamp, stamp}, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// unlinkedOpen uses a file that has lost its name, which must leave nothing behind.
func unlinkedOpen(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "unlinked"))
	rig.Must(t, err, os.Remove(f.Name()))
	_, err = f.WriteAt([]byte("still here"), 100_000)
	rig.Must(t, err)
	p := make([]byte, 10)
	_, err = f.ReadAt(p, 100_000)
	rig.Must(t, err)
	if string(p) != "still here" {
		t.Errorf("an unlinked file reads %q", p)
	}
	rig.Must(t, f.Close())
}

// TestPut stores a tree without the mount, twice, and once more while the volume is mounted.
func TestPut(t *testing.T) {
	source := sourceTree(t)
	want := rig.ReadTree(t, source)
	p := newPlace(t)
	p.Run(t, "put", source+"/", p.store+":/tree")
	stored := rig.Stored(t, p.store)
	p.Run(t, "put", source+"/", p.store+":/tree")
	if more := rig.Stored(t, p.store) - stored; more*100 >= stored {
		t.Errorf("to put an unchanged tree again took %d bytes after %d", more, stored)
	}
	m := p.mount(t)
	rig.Same(t, "put", want, rig.ReadTree(t, m.Path("tree")))
	p.Run(t, "put", source+"/", p.store+":/while mounted")
	rig.Same(t, "put while mounted", want, rig.ReadTree(t, m.Path("while mounted")))
	m.Unmount(t)

	// Mirroring removes what the source has no more, and excludes are excluded.
	small := t.TempDir()
	for _, name := range []string{"keep.txt", "drop.txt", "scratch.tmp"} {
		rig.Must(t, os.WriteFile(filepath.Join(small, name), []byte(name), 0o644))
	}
	p.Run(t, "put", "--exclude", "*.tmp", small+"/", p.store+":/small")
	rig.Must(t, os.Remove(filepath.Join(small, "drop.txt")))
	p.Run(t, "put", "--exclude", "*.tmp", small+"/", p.store+":/small")
	m = p.mount(t)
	for name, there := range map[string]bool{"keep.txt": true, "drop.txt": true, "scratch.tmp": false} {
		if _, err := os.Lstat(m.Path("small", name)); (err == nil) != there {
			t.Errorf("%s is in the volume: %v, want %v", name, err == nil, there)
		}
	}
	m.Unmount(t)
	p.Run(t, "put", "--delete", "--exclude", "*.tmp", small+"/", p.store+":/small")
	m = p.mount(t)
	if _, err := os.Lstat(m.Path("small", "drop.txt")); !os.IsNotExist(err) {
		t.Errorf("--delete left what the source does not have: %v", err)
	}
	m.Unmount(t)
}
