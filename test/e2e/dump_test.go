package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/test/compare"
	"coffer/test/rig"
)

// dumped has GNU tar extract what a dump writes, and reads it.
func (p place) dumped(t *testing.T, wantCode int, args ...string) (tree compare.Tree, stderr string) {
	t.Helper()
	dir := t.TempDir()
	to := filepath.Join(dir, "to")
	rig.Must(t, os.Mkdir(to, 0o755))
	out, err := os.Create(filepath.Join(dir, "tar"))
	rig.Must(t, err)
	defer out.Close()
	var said bytes.Buffer
	cmd := p.Coffer(append([]string{"dump"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, &said
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != wantCode {
		t.Fatalf("coffer dump %q: %v\n%s", args, err, said.String())
	}
	tar := exec.Command("tar", "-C", to, "--warning=no-timestamp", "--xattrs", "--xattrs-include=*", "--acls", "-xpf", out.Name())
	if out, err := tar.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return rig.ReadTree(t, to), said.String()
}

// TestDump has GNU tar extract one of everything.
func TestDump(t *testing.T) {
	p := newPlace(t)
	m := p.mount(t)
	everyKind(t, m.Path())
	p.Run(t, "snapshot", p.mnt, "-m", "all")
	want := rig.ReadTree(t, m.Path())
	delete(want, "socket")
	rig.Must(t, os.RemoveAll(m.Path("dir")))
	got, stderr := p.dumped(t, 0, p.store, "--at", "all")
	if !strings.Contains(stderr, "1 sockets are left out") {
		t.Errorf("of the socket it says %q", stderr)
	}
	rig.Same(t, "dumped while mounted", want, got)
	m.Unmount(t)
	got, _ = p.dumped(t, 0, p.store+":/dir", "--at", "all")
	part := compare.Tree{}
	for name, e := range want {
		if below, ok := strings.CutPrefix(name, "dir/"); ok || name == "dir" {
			if e.Nlink > 1 { // one of the three is not in it
				e.Nlink, e.First = 2, "below/linked too"
			}
			if !ok {
				below = "."
			}
			part[below] = e
		}
	}
	rig.Same(t, "dumped in part", part, got)
}

// TestDumpDamaged has a large and a small file with a damaged group: neither is in the tar, which is whole.
func TestDumpDamaged(t *testing.T) {
	p := newPlace(t)
	source := filepath.Join(t.TempDir(), "source")
	rig.Must(t, os.Mkdir(source, 0o755))
	for i := range 8 {
		size := 100_000 + 2_000_000*(i%2)
		rig.Must(t, os.WriteFile(filepath.Join(source, fmt.Sprintf("file%d", i)), noise(size+i), 0o644))
	}
	rig.Must(t, os.Link(filepath.Join(source, "file1"), filepath.Join(source, "other name")))
	p.Run(t, "put", source+"/", p.store)
	for _, nth := range []int{2, 9} {
		chunk, e := dataGroup(t, p.store, nth)
		turnBit(t, chunk, e.At+chunkfmt.TagSize+int64(e.Tag.StoredLen()/2), 3)
	}
	want := rig.ReadTree(t, source)
	got, stderr := p.dumped(t, exitNotRestored, p.store)
	lost := 0
	for name, e := range want {
		if _, ok := got[name]; !ok && e.Mode&unix.S_IFMT == unix.S_IFREG {
			if !strings.Contains(stderr, "dump /"+name+":") {
				t.Errorf("%s is missing and not named:\n%s", name, stderr)
			}
			delete(want, name)
			lost++
		}
	}
	if lost < 1 || lost > 5 { // both groups may be of one file
		t.Errorf("two groups were hit, and %d files are lost", lost)
	}
	rig.Same(t, "the rest", want, got)
}
