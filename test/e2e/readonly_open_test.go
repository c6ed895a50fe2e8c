package e2e

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

// TestReadOnlyGrowing: who has a file open, or mapped, that is appended to on and on sees each byte of it and no other.
func TestReadOnlyGrowing(t *testing.T) {
	p := newPlace(t)
	m := p.mount(t)
	rig.Must(t, os.WriteFile(m.Path("log"), []byte("a line\n"), 0o644))
	m.Sync(t)
	follows := p.Mount(t, p.store, p.mnt+".follows", "--read-only")
	f, err := os.Open(follows.Path("log"))
	rig.Must(t, err)
	defer f.Close()
	mapped, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	rig.Must(t, err)
	defer unix.Munmap(mapped)
	w, err := os.OpenFile(m.Path("log"), os.O_WRONLY|os.O_APPEND, 0)
	rig.Must(t, err)
	defer w.Close()
	want := "a line\n"
	for range 5 {
		want += "another one\n"
		_, err := w.WriteString("another one\n")
		rig.Must(t, err, w.Sync())
		await(t, "the new length", func() bool {
			info, err := f.Stat()
			rig.Must(t, err)
			return info.Size() == int64(len(want))
		})
		b := make([]byte, 4096)
		if n, _ := f.ReadAt(b, 0); string(b[:n]) != want {
			t.Errorf("it reads %q, want %q", b[:n], want)
		}
		if !bytes.HasPrefix(mapped, []byte(want)) {
			t.Errorf("the mapping has %q, want %q", mapped[:len(want)+5], want)
		}
	}
}

// TestReadOnlyPruned forgets and prunes what a mount of an archive shows, and what one that follows showed: each goes on
// with what is there, and says what is not.
func TestReadOnlyPruned(t *testing.T) {
	p := newPlace(t)
	m := p.mount(t)
	noise := func(seed byte) []byte {
		b := make([]byte, 8<<20)
		rand.NewChaCha8([32]byte{seed}).Read(b)
		return b
	}
	rig.Must(t, os.WriteFile(m.Path("goes"), noise(1), 0o644), os.WriteFile(m.Path("stays"), noise(2), 0o644))
	p.Run(t, "snapshot", p.mnt, "-m", "one")
	m.Unmount(t)
	archive := p.Mount(t, p.store, p.mnt+".archive", "--at", "one", "--cache", "1M")
	follows := p.Mount(t, p.store, p.mnt+".follows", "--read-only", "--cache", "1M")
	m = p.mount(t)
	rig.Must(t, os.Remove(m.Path("goes")))
	p.Run(t, "snapshot", p.mnt, "-m", "two")
	p.Run(t, "forget", p.mnt, "one")
	p.Run(t, "prune", p.mnt)
	for _, ro := range []*rig.Mount{archive, follows} {
		if b, err := os.ReadFile(ro.Path("stays")); err != nil || !bytes.Equal(b, noise(2)) {
			t.Errorf("what is not pruned: %d bytes, %v", len(b), err)
		}
	}
	if b, err := os.ReadFile(archive.Path("goes")); !errors.Is(err, unix.EIO) {
		t.Errorf("what was pruned reads %d bytes, %v", len(b), err)
	}
	await(t, "that it was removed", func() bool { _, err := os.Stat(follows.Path("goes")); return os.IsNotExist(err) })
	await(t, "that it was forgotten", func() bool {
		_, err := os.Stat(follows.Path(".snapshots", "one"))
		return os.IsNotExist(err)
	})
	if log := archive.Log(); !strings.Contains(log, "pruned since") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	m.Unmount(t)
	follows.Unmount(t)
	archive.Unmount(t)
}
