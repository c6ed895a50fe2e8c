package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/test/compare"
	"coffer/test/rig"
)

// await waits until something is so.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// awaitTree waits until a tree is as it is wanted.
func awaitTree(t *testing.T, what string, want compare.Tree, dir string) {
	t.Helper()
	await(t, what, func() bool { return len(compare.Diff(want, rig.ReadTree(t, dir))) == 0 })
}

// programs has what copies, compares and searches work in a tree that is mounted.
func programs(t *testing.T, source, dir string) {
	t.Helper()
	rig.Output(t, "diff", "-r", "--no-dereference", source, dir)
	if out := rig.Output(t, "rsync", "-aHAXnic", source+"/", dir+"/"); out != "" {
		t.Errorf("rsync would change\n%s", out)
	}
	found := rig.Output(t, "find", dir, "-name", "*.go", "-size", "+0", "-printf", "%P %s %m %T@\n")
	if want := rig.Output(t, "find", source, "-name", "*.go", "-size", "+0", "-printf", "%P %s %m %T@\n"); lines(found) != lines(want) {
		t.Errorf("find finds\n%s\nwant\n%s", found, want)
	}
	copied := filepath.Join(t.TempDir(), "copied")
	rig.Output(t, "cp", "-a", dir, copied)
	rig.Same(t, "copied by cp -a", rig.ReadTree(t, source), rig.ReadTree(t, copied))
}

// lines sorts lines.
func lines(s string) string {
	all := strings.Split(s, "\n")
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// changes tries to change a mount in every way, and wants EROFS.
func changes(t *testing.T, dir, file string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	_, opened := os.OpenFile(at(file), os.O_RDWR, 0)
	for what, err := range map[string]error{
		"create": os.WriteFile(at("new"), nil, 0o644), "mkdir": os.Mkdir(at("new"), 0o755), "open": opened,
		"remove": os.Remove(at(file)), "truncate": os.Truncate(at(file), 0), "chmod": os.Chmod(at(file), 0o700),
		"chown": os.Chown(at(file), 1, 1), "rename": os.Rename(at(file), at("other")),
		"symlink": os.Symlink("x", at("new")),
		"link":    os.Link(at(file), at("new")), "setxattr": unix.Setxattr(at(file), "user.x", nil, 0),
		"utimes": os.Chtimes(at(file), time.Now(), time.Now()), "mknod": unix.Mkfifo(at("new"), 0o644),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestReadOnlyMounts mounts one volume for writing, to follow it, and an archive of it, all at a time.
func TestReadOnlyMounts(t *testing.T) {
	p := newPlace(t)
	m := p.mount(t)
	tree := filepath.Join(goRoot(t), "src", "net", "http")
	rig.CopyTree(t, tree, m.Path("tree"))
	everyKind(t, m.Path("tree"))
	p.Run(t, "snapshot", p.mnt, "-m", "one")
	one := rig.ReadTree(t, m.Path("tree"))

	follows := p.Mount(t, p.store, p.mnt+".follows", "--read-only")
	archive := p.Mount(t, p.store, p.mnt+".archive", "--at", "one")
	byTime := p.Mount(t, p.store, p.mnt+".time", "--at", filepath.Base(strings.TrimSpace(rig.Output(t, "readlink", m.Path(".snapshots", "one")))))
	for _, ro := range []*rig.Mount{follows, archive, byTime} {
		programs(t, tree+"/internal", ro.Path("tree", "internal"))
		rig.Same(t, "read-only", one, rig.ReadTree(t, ro.Path("tree")))
		changes(t, ro.Path("tree"), "client.go")
		// Also if the kernel is told to let changes through.
		rig.Must(t, unix.Mount("", ro.Dir, "", unix.MS_REMOUNT, ""))
		changes(t, ro.Path("tree"), "client.go")
		if out := rig.Output(t, "find", ro.Dir, "-name", ".snapshots"); out != "" {
			t.Errorf("find sees %s", out)
		}
	}
	changes(t, follows.Path(".snapshots", "one", "tree"), "client.go")
	if _, err := os.Lstat(archive.Path(".snapshots")); !os.IsNotExist(err) {
		t.Errorf("an archive has archives: %v", err)
	}
	byTime.Unmount(t)
	beside := p.Mount(t, p.store, p.mnt+".beside", "--read-only")
	status := p.Run(t, "status")
	for _, want := range []string{follows.Dir, archive.Dir, "read-only, as of", "read-only, archive one"} {
		if !strings.Contains(status, want) {
			t.Errorf("the status does not say %q:\n%s", want, status)
		}
	}
	p.wantExit(t, 29, "read-only", "snapshot", follows.Dir)
	p.wantExit(t, 29, "read-only", "prune", archive.Dir)
	p.Run(t, "sync", follows.Dir)
	if out := p.Run(t, "snapshots", follows.Dir); !strings.Contains(out, "one") {
		t.Errorf("its archives are %s", out)
	}

	// What changes is seen, also what somebody has open.
	read := func(m *rig.Mount, name string) string {
		b, err := os.ReadFile(m.Path("tree", name))
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	gone, err := os.Open(follows.Path("tree", "server.go"))
	rig.Must(t, err)
	changed, err := os.Open(follows.Path("tree", "client.go"))
	rig.Must(t, err)
	before := read(follows, "client.go")
	rig.Must(t, os.WriteFile(m.Path("tree", "client.go"), []byte("changed"), 0o644),
		os.Remove(m.Path("tree", "server.go")), os.RemoveAll(m.Path("tree", "internal")),
		os.WriteFile(m.Path("tree", "new"), []byte("new"), 0o644))
	p.Run(t, "snapshot", p.mnt, "-m", "two")
	await(t, "the new archive", func() bool {
		_, err := os.Stat(follows.Path(".snapshots", "two"))
		return err == nil
	})
	two := rig.ReadTree(t, m.Path("tree"))
	awaitTree(t, "what has changed", two, follows.Path("tree"))
	awaitTree(t, "what has changed, in another mount", two, beside.Path("tree"))
	beside.Unmount(t)
	rig.Same(t, "an earlier archive", one, rig.ReadTree(t, follows.Path(".snapshots", "one", "tree")))
	rig.Same(t, "a new archive", two, rig.ReadTree(t, follows.Path(".snapshots", "two", "tree")))
	rig.Same(t, "the archive that is mounted", one, rig.ReadTree(t, archive.Path("tree")))
	b := make([]byte, 100)
	if n, err := changed.ReadAt(b, 0); string(b[:n]) != "changed" && string(b[:n]) != before[:n] {
		t.Errorf("what was open reads %q, %v", b[:n], err)
	}
	if n, err := gone.ReadAt(b, 0); err == nil && bytes.Equal(b[:n], make([]byte, n)) {
		t.Errorf("what was open and is removed reads %d zeros", n)
	}
	rig.Must(t, changed.Close(), gone.Close())

	// One that is in use stays; the others go, and the one that writes may come and go, or crash.
	cwd, err := os.Open(archive.Path("tree"))
	rig.Must(t, err)
	p.wantExit(t, 21, "in use", "umount", archive.Dir)
	rig.Must(t, cwd.Close())
	archive.Unmount(t)
	m.Unmount(t)
	rig.Same(t, "without the one that writes", two, rig.ReadTree(t, follows.Path("tree")))
	m = p.mount(t)
	rig.Must(t, os.WriteFile(m.Path("tree", "third"), []byte("3"), 0o644))
	m.Sync(t)
	await(t, "what another session wrote", func() bool { return read(follows, "third") == "3" })
	rig.Must(t, os.WriteFile(m.Path("tree", "fourth"), []byte("4"), 0o644))
	m.Kill()
	p.Run(t, "put", filepath.Join(tree, "doc.go"), p.store+":/tree")
	await(t, "what was put after a crash", func() bool { return !strings.HasPrefix(read(follows, "doc.go"), "open") })
	m = p.mount(t)
	awaitTree(t, "what came after a crash", rig.ReadTree(t, m.Path("tree")), follows.Path("tree"))
	m.Unmount(t)
	follows.Unmount(t)
	if log := follows.Log(); log != "" {
		t.Errorf("nothing was wrong, and its log says:\n%s", log)
	}
}

// TestReadOnlyNew follows a volume that nothing was ever stored in.
func TestReadOnlyNew(t *testing.T) {
	p := newPlace(t)
	ro := p.Mount(t, p.store, p.mnt+".follows", "--read-only")
	if names, err := os.ReadDir(ro.Dir); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
	m := p.mount(t)
	rig.Must(t, os.WriteFile(m.Path("first"), []byte("1"), 0o644))
	m.Unmount(t)
	await(t, "the first file", func() bool {
		b, err := os.ReadFile(ro.Path("first"))
		return err == nil && string(b) == "1"
	})
	ro.Unmount(t)
	p.wantExit(t, 2, "archive", "mount", p.store, p.mnt, "--at", "nonesuch")
	p.wantExit(t, 2, "names no archive", "mount", p.store, p.mnt, "--at", "")
	p.wantExit(t, 2, "for a mount that writes", "mount", p.store, p.mnt, "--read-only", "--writeback")
}
