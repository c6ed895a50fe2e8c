package dir_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/media"
	"coffer/media/conformance"
	"coffer/media/dir"
)

func open(t *testing.T, path string, o dir.Options) *dir.Medium {
	t.Helper()
	m, err := dir.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return m
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) media.Medium {
		m, err := dir.Open(filepath.Join(t.TempDir(), "new", "store"), dir.Options{Create: true, Handles: 8})
		if err != nil {
			t.Fatal(err)
		}
		return m
	})
}

func TestOpenMissing(t *testing.T) {
	if _, err := dir.Open(filepath.Join(t.TempDir(), "none"), dir.Options{}); !errors.Is(err, media.ErrNotExist) {
		t.Errorf("open: %v, want ErrNotExist", err)
	}
}

// TestHandlesBounded reads many files at once and in turn, and then counts what
// this process holds open beneath the store.
func TestHandlesBounded(t *testing.T) {
	store := t.TempDir()
	m := open(t, store, dir.Options{Handles: 5})
	for round := range 3 {
		for i := range 50 {
			name := fmt.Sprintf("f/%02d", i)
			if round == 0 {
				if err := m.Put(t.Context(), name, []byte{1}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := m.ReadAt(t.Context(), name, make([]byte, 1), 0); err != nil {
				t.Fatal(err)
			}
		}
		if n := openBeneath(t, filepath.Join(store, "f")); n != 5 {
			t.Errorf("round %d: %d files are open, want 5", round, n)
		}
	}
}

func openBeneath(t *testing.T, path string) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		target, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && filepath.Dir(target) == path {
			n++
		}
	}
	return n
}

// TestOtherProcess changes files behind the medium's back, as another process
// with the same store does.
func TestOtherProcess(t *testing.T) {
	store := t.TempDir()
	m := open(t, store, dir.Options{})
	other := open(t, store, dir.Options{})
	read := func() string {
		b, err := media.ReadAll(t.Context(), m, "keys/master.age", 100)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	for _, content := range []string{"first", "second"} {
		if err := other.Put(t.Context(), "keys/master.age", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got := read(); got != content {
			t.Errorf("read %q, want %q", got, content)
		}
	}
	if err := other.Remove(t.Context(), "keys/master.age"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadAt(t.Context(), "keys/master.age", make([]byte, 1), 0); !errors.Is(err, media.ErrNotExist) {
		t.Errorf("read of a removed file: %v, want ErrNotExist", err)
	}
}

// TestPutAfterKill finds the half that a killed process left.
func TestPutAfterKill(t *testing.T) {
	store := t.TempDir()
	m := open(t, store, dir.Options{})
	if err := os.WriteFile(filepath.Join(store, ".a.put"), bytes.Repeat([]byte("half"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Put(t.Context(), "a", []byte("whole")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(store, "a")); err != nil || string(b) != "whole" {
		t.Errorf("put left %q, %v", b, err)
	}
	if list, err := os.ReadDir(store); err != nil || len(list) != 1 {
		t.Errorf("the store holds %v, want one file", list)
	}
}

func TestPrivate(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	m := open(t, store, dir.Options{Create: true})
	if err := m.Put(t.Context(), "d/f", nil); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{"": 0o700, "d": 0o700, "d/f": 0o600} {
		info, err := os.Stat(filepath.Join(store, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %q: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

// TestSymlinkOut has a symbolic link lead out of the store.
func TestSymlinkOut(t *testing.T) {
	store, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(store, "d")); err != nil {
		t.Fatal(err)
	}
	m := open(t, store, dir.Options{})
	if _, err := m.ReadAt(t.Context(), "d/f", make([]byte, 1), 0); err == nil {
		t.Errorf("read a file outside of the store")
	}
	if err := m.Put(t.Context(), "d/f", nil); err == nil {
		t.Errorf("wrote a file outside of the store")
	}
}

// TestShortWrite makes the kernel refuse to grow the file past a limit, in the
// middle of an append, and then lifts the limit.
func TestShortWrite(t *testing.T) {
	m := open(t, t.TempDir(), dir.Options{})
	a, err := m.Create(t.Context(), "limited")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Append(t.Context(), []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100_000, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	off, err := a.Append(t.Context(), make([]byte, 60_000), make([]byte, 60_000))
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EFBIG) || off != 10 || a.Size() != 10 {
		t.Errorf("append past the limit: offset %d, size %d, %v; want 10, 10, EFBIG", off, a.Size(), err)
	}
	if list, err := m.List(t.Context(), ""); err != nil || list[0].Size != 10 {
		t.Errorf("the file was not cut back: %v, %v", list, err)
	}
	if off, err := a.Append(t.Context(), []byte("x")); err != nil || off != 10 {
		t.Errorf("append after a failed one: %d, %v; want 10", off, err)
	}
}
