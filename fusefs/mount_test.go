package fusefs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
	"coffer/test/inprocess"
)

// mounted mounts a new tree on a new directory for the time of the test.
func mounted(t *testing.T) (dir string, s *Server) {
	t.Helper()
	return mountedWith(t, Options{Source: "test"})
}

func mountedWith(t *testing.T, o Options) (dir string, s *Server) {
	t.Helper()
	return mountedTree(t, newTree(t), o)
}

// mountedTree mounts a tree. All mounts whose files a test opens come from here: see inprocess.Unpolled.
func mountedTree(t *testing.T, tr *tree.Tree, o Options) (dir string, s *Server) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := Mount(t.Context(), dir, tr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { away(t, s) })
	if err := inprocess.Unpolled(dir); err != nil && o.wrap == nil {
		t.Fatal(err)
	}
	return dir, s
}

// away unmounts, and takes the mount away also when somebody holds it.
func away(t *testing.T, s *Server) {
	t.Helper()
	select {
	case <-s.Done():
		return
	default:
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer stop()
	if err := s.Unmount(ctx); err != nil {
		t.Error(err)
		if err := s.Detach(); err != nil {
			t.Error(err)
		}
	}
}

func TestMountAndUnmount(t *testing.T) {
	dir, s := mounted(t)
	m, found, err := findMount(dir)
	if err != nil || !found || m.kind != "fuse.coffer" {
		t.Fatalf("mount table has %+v, %v, %v for %s", m, found, err, dir)
	}
	if os.Getuid() == 0 {
		b, err := os.ReadFile("/sys/class/bdi/" + m.device + "/read_ahead_kb")
		if got := strings.TrimSpace(string(b)); err != nil || got != itoa(defaultReadahead) {
			t.Errorf("readahead is %s KiB, %v; want %d", got, err, defaultReadahead)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(b) != "hello" {
		t.Fatalf("read %q, %v", b, err)
	}
	if err := s.Unmount(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Wait()
	if _, found, _ := findMount(dir); found {
		t.Error("still in the mount table")
	}
}

func TestUnmountBusy(t *testing.T) {
	dir, s := mounted(t)
	f, err := os.Create(filepath.Join(dir, "open"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(t.Context()); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("unmount with an open file: %v, want EBUSY", err)
	}
	if _, err := f.WriteString("still works"); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestUnmountedFromOutside(t *testing.T) {
	dir, s := mounted(t)
	if out, err := exec.Command("fusermount3", "-u", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.Wait()
}

func TestMountPointChecks(t *testing.T) {
	inUse, _ := mounted(t)
	for _, c := range []struct {
		name string
		make func(dir string) (string, error)
		want error
	}{
		{"missing", func(dir string) (string, error) { return filepath.Join(dir, "no"), nil }, ErrNotDirectory},
		{"missing parent", func(dir string) (string, error) { return filepath.Join(dir, "no/no"), nil }, ErrNotDirectory},
		{"file", func(dir string) (string, error) {
			f := filepath.Join(dir, "file")
			return f, os.WriteFile(f, nil, 0o644)
		}, ErrNotDirectory},
		{"not empty", func(dir string) (string, error) {
			return dir, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)
		}, ErrNotEmpty},
		{"mounted", func(string) (string, error) { return inUse, nil }, ErrMounted},
		{"mounted, by another name", func(dir string) (string, error) {
			l := filepath.Join(dir, "link")
			return l, os.Symlink(inUse, l)
		}, ErrMounted},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := c.make(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			s, err := Mount(t.Context(), dir, newTree(t), Options{})
			if err == nil {
				away(t, s)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("Mount = %v, want %v", err, c.want)
			}
		})
	}
}

// TestStaleMount leaves a mount whose server was killed behind: it is reported with the remedy, and
// never stacked upon.
func TestStaleMount(t *testing.T) {
	for _, c := range []struct {
		kind string
		want error
	}{{"fuse." + fsType, ErrStale}, {"fuse.other", ErrStale}} {
		t.Run(c.kind, func(t *testing.T) {
			dir := t.TempDir()
			deadMount(t, dir, c.kind)
			s, err := Mount(t.Context(), dir, newTree(t), Options{})
			if err == nil {
				away(t, s)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("Mount = %v, want %v", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), "fusermount3 -uz") {
				t.Errorf("%q names no remedy", err)
			}
		})
	}
}

// deadMount mounts without a server: opens the device, mounts, and closes it again.
func deadMount(t *testing.T, dir, kind string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root")
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	opts := "fd=" + itoa(fd) + ",rootmode=40000,user_id=0,group_id=0"
	if err := unix.Mount("dead", dir, kind, unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	unix.Close(fd)
}

// TestNothingUnnamedIsLeft removes and replaces files that the kernel knows, some of them open, and unmounts.
func TestNothingUnnamedIsLeft(t *testing.T) {
	tr := newTree(t)
	dir, s := mountedTree(t, tr, Options{Source: "test"})
	var open []*os.File
	for i := range 100 {
		path, other := filepath.Join(dir, itoa(i)), filepath.Join(dir, "other "+itoa(i))
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
		if i%2 == 0 {
			f.Close()
		}
		if i%3 == 0 {
			err = os.Remove(path)
		} else if err = os.WriteFile(other, nil, 0o644); err == nil {
			err = os.Rename(other, path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	for _, f := range open {
		f.Close()
	}
	away(t, s)
	if left := tr.Unnamed(); len(left) > 0 {
		t.Errorf("inodes %v are left without a name", left)
	}
	if st, err := tr.Statfs(t.Context()); err != nil || st.Inodes != 1+66 {
		t.Errorf("%d inodes, %v, want the root and 66 files", st.Inodes, err)
	}
}
