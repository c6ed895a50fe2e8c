package museum

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

var freeze = flag.String("freeze", "", "add a store of today's format, of this `name`, instead of testing")

func TestMain(m *testing.M) {
	unix.Umask(0o022)
	flag.Parse()
	os.Exit(rig.Main(m))
}

// TestFrozen mounts each frozen store, compares all of its archives and the tree, reads it without a mount, checks every
// byte, and goes on writing.
func TestFrozen(t *testing.T) {
	if *freeze != "" {
		freezeNow(t, filepath.Join("testdata", *freeze))
		return
	}
	frozen, err := os.ReadDir("testdata")
	rig.Must(t, err)
	if len(frozen) == 0 {
		t.Fatal("the museum is empty")
	}
	for _, f := range frozen {
		t.Run(f.Name(), func(t *testing.T) { visit(t, filepath.Join("testdata", f.Name())) })
	}
}

func visit(t *testing.T, frozen string) {
	dir := t.TempDir()
	store, mnt := filepath.Join(dir, "store"), filepath.Join(dir, "mnt")
	rig.CopyTree(t, filepath.Join(frozen, "store"), store)
	u := rig.NewUser(t, filepath.Join(dir, "home"))
	rig.Must(t, os.MkdirAll(filepath.Dir(u.Identity()), 0o700))
	identity, err := os.ReadFile(filepath.Join(frozen, "identity"))
	rig.Must(t, err, os.WriteFile(u.Identity(), identity, 0o600))

	m := u.Mount(t, store, mnt)
	plain := filepath.Join(dir, "plain")
	rig.Must(t, os.Mkdir(plain, 0o755))
	for i, s := range states {
		rig.Must(t, build(plain, i))
		rig.Same(t, s.label, rig.ReadTree(t, plain), rig.ReadTree(t, m.Path(".snapshots", s.label, "tree")))
		to := filepath.Join(dir, s.label)
		u.Run(t, "restore", store+":/tree", "--at", s.label, "--to", to)
		rig.Same(t, s.label+", restored", rig.ReadTree(t, plain), rig.ReadTree(t, to))
	}
	rig.Same(t, "today", rig.ReadTree(t, plain), rig.ReadTree(t, m.Path("tree")))
	if _, err := os.Stat(m.Path("kept")); err == nil { // older ones have none
		for k := range few {
			got, err := os.ReadFile(m.Path("kept", strconv.Itoa(k)))
			if err != nil || !bytes.Equal(got, noise(byte(k), fewBytes)) {
				t.Errorf("file %d of those that a prune kept: %d bytes, %v", k, len(got), err)
			}
		}
	}
	rig.Must(t, os.WriteFile(m.Path("tree", "more"), []byte("and goes on"), 0o644))
	m.Unmount(t)
	m = u.Mount(t, store, mnt)
	if b, err := os.ReadFile(m.Path("tree", "more")); err != nil || string(b) != "and goes on" {
		t.Errorf("what was written to the old store: %q, %v", b, err)
	}
	m.Unmount(t)
	u.Run(t, "scrub", store)
}

// many small files, which share a group, are written; a few are kept, and what they need is moved by a prune.
const many, few, fewBytes = 60, 4, 9000

// freezeNow makes a store with all that the format has: archives, one of them forgotten and pruned, and checkpoints.
func freezeNow(t *testing.T, to string) {
	dir := t.TempDir()
	store, mnt := filepath.Join(dir, "store"), filepath.Join(dir, "mnt")
	u := rig.NewUser(t, filepath.Join(dir, "home"))
	u.Run(t, "init", store)
	m := u.Mount(t, store, mnt, "--checkpoint-after", "1KiB")
	rig.Must(t, os.Mkdir(m.Path("tree"), 0o755), os.Mkdir(m.Path("kept"), 0o755))
	for k := range many {
		rig.Must(t, os.WriteFile(m.Path("kept", strconv.Itoa(k)), noise(byte(k), fewBytes), 0o644))
	}
	u.Run(t, "snapshot", mnt, "-m", "forgotten")
	for k := few; k < many; k++ {
		rig.Must(t, os.Remove(m.Path("kept", strconv.Itoa(k))))
	}
	m.Unmount(t)
	m = u.Mount(t, store, mnt, "--checkpoint-after", "1KiB")
	u.Run(t, "forget", mnt, "forgotten")
	t.Log(u.Run(t, "prune", mnt))
	for i, s := range states {
		rig.Must(t, build(m.Path("tree"), i))
		u.Run(t, "snapshot", mnt, "-m", s.label)
	}
	m.Unmount(t)
	identity, err := os.ReadFile(u.Identity())
	rig.Must(t, err, os.MkdirAll(to, 0o755), os.WriteFile(filepath.Join(to, "identity"), identity, 0o644))
	rig.CopyTree(t, store, filepath.Join(to, "store"))
}
