package fusefs

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

const (
	raceSize = 64 << 10
	rounds   = 4 // COFFER_CHECKS says otherwise
)

// TestRaces writes a file again and again past the page cache while another process looks at it through an
// open file, through a mapping, or opening it each time. After each pass it must come to see what was written
// last; so must whoever opens the file later, with pages that the kernel may have kept.
func TestRaces(t *testing.T) {
	for _, how := range []string{"read", "map", "open"} {
		t.Run(how, func(t *testing.T) { race(t, how) })
	}
}

func race(t *testing.T, how string) {
	dir, _ := mounted(t)
	path := filepath.Join(dir, "raced")
	if err := os.WriteFile(path, make([]byte, raceSize), 0o644); err != nil {
		t.Fatal(err)
	}
	passes, err := strconv.Atoi(os.Getenv("COFFER_CHECKS"))
	if err != nil {
		passes = rounds
	}
	for round := range passes {
		// The writer comes first, so it is direct; the reader is not.
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		r := startRacer(t, how, path)
		var b byte
		for k := range 16 {
			b = byte(round*16 + k + 1)
			for off := int64(0); off < raceSize; off += 4096 {
				if _, err := w.WriteAt(bytes.Repeat([]byte{b}, 4096), off); err != nil {
					t.Fatal(err)
				}
			}
			if k%4 == 3 {
				r.sees(t, b)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r.sees(t, b)
		r.end(t)
		got, err := os.ReadFile(path)
		if want := bytes.Repeat([]byte{b}, raceSize); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: a later reader sees %d at the start, want %d (%v)", round, got[0], b, err)
		}
	}
}

// gated holds direct writes up before the tree has them, when the kernel has dropped the pages already.
type gated struct {
	fuse.RawFileSystem
	arrived, gate chan struct{}
}

func (g *gated) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	g.arrived <- struct{}{}
	<-g.gate
	return g.RawFileSystem.Writev(cancel, in, data)
}

// TestPageBroughtBack makes the race happen: a reader brings an old page back between the kernel's dropping it
// and the write. (Kernels of late drop pages after a direct write too; TestCacheNotifies is for the others.)
func TestPageBroughtBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		closes bool // the reader closes before the write is done, and opens again
	}{{"reader stays", false}, {"reader leaves", true}} {
		t.Run(c.name, func(t *testing.T) {
			g := &gated{arrived: make(chan struct{}), gate: make(chan struct{})}
			dir, _ := mountedWith(t, Options{wrap: func(fs fuse.RawFileSystem) fuse.RawFileSystem {
				g.RawFileSystem = fs
				return g
			}})
			path := filepath.Join(dir, "f")
			w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			write := func(b byte, meanwhile func()) {
				t.Helper()
				done := make(chan error)
				go func() {
					_, err := w.WriteAt(bytes.Repeat([]byte{b}, 4096), 0)
					done <- err
				}()
				<-g.arrived
				meanwhile()
				g.gate <- struct{}{}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
			var r *os.File
			read := func() ([]byte, error) {
				got := make([]byte, 4096)
				_, err := r.ReadAt(got, 0)
				return got, err
			}
			open := func() {
				if r, err = os.Open(path); err != nil {
					t.Fatal(err)
				}
			}
			write('a', func() {})
			open()
			write('b', func() {
				if got, err := read(); err != nil || got[0] != 'a' {
					t.Errorf("read %q before the write, %v", got[0], err)
				}
				if c.closes {
					r.Close()
				}
			})
			if c.closes {
				open()
			}
			defer r.Close()
			if err := becomes(bytes.Repeat([]byte{'b'}, 4096), read); err != nil {
				t.Error(err)
			}
		})
	}
}

// replacing replaces a file by another of the same name when the kernel has found it already and opens it.
type replacing struct {
	fuse.RawFileSystem
	replace chan func()
}

func (r *replacing) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	select {
	case replace := <-r.replace:
		replace()
	default:
	}
	return r.RawFileSystem.Open(cancel, in, out)
}

// TestReplacedWhileOpened: there is a file of that name at all times, so it can be opened at all times.
func TestReplacedWhileOpened(t *testing.T) {
	tr := newTree(t)
	r := &replacing{replace: make(chan func(), 1)}
	dir, _ := mountedTree(t, tr, Options{wrap: func(fs fuse.RawFileSystem) fuse.RawFileSystem {
		r.RawFileSystem = fs
		return r
	}})
	name := filepath.Join(dir, "name")
	for _, content := range []string{"old", "new"} {
		if err := os.WriteFile(filepath.Join(dir, content), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "old"), name); err != nil {
		t.Fatal(err)
	}
	r.replace <- func() {
		if err := tr.Rename(t.Context(), tree.RootIno, "new", tree.RootIno, "name", 0); err != nil {
			t.Error(err)
		}
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "old" && string(got) != "new" {
		t.Errorf("read %q, %v", got, err)
	}
}

// TestUpdateBesideDirectWriter writes through a cached O_RDWR handle and a direct one in turn.
func TestUpdateBesideDirectWriter(t *testing.T) {
	dir, _ := mounted(t)
	path := filepath.Join(dir, "f")
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	u, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for i := range byte(50) {
		for _, step := range []struct {
			f *os.File
			b byte
		}{{w, 2*i + 1}, {u, 2*i + 2}} {
			want := bytes.Repeat([]byte{step.b}, 10000)
			if _, err := step.f.WriteAt(want, 100); err != nil {
				t.Fatal(err)
			}
			err := becomes(want, func() ([]byte, error) {
				got := make([]byte, len(want))
				_, err := u.ReadAt(got, 100)
				return got, err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestChangedPastTheMount changes the tree under the kernel's feet, as `coffer put` does, and says so.
func TestChangedPastTheMount(t *testing.T) {
	tr := newTree(t)
	dir, s := mountedTree(t, tr, Options{})
	ctx := t.Context()
	path := filepath.Join(dir, "f")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("before it is there: %v", err)
	}
	e, h, err := tr.Create(ctx, tree.Caller{}, tree.RootIno, "f", 0o644, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	if _, err := h.Write(ctx, []byte("old"), 0, false); err != nil {
		t.Fatal(err)
	}
	s.EntryChanged(tree.RootIno, "f")
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, want := range []string{"old", "newer"} {
		if _, err := h.Write(ctx, []byte(want), 0, false); err != nil {
			t.Fatal(err)
		}
		s.InodeChanged(e.Ino)
		got := make([]byte, 10)
		n, _ := r.ReadAt(got, 0)
		if fi, err := r.Stat(); err != nil || string(got[:n]) != want || fi.Size() != int64(len(want)) {
			t.Errorf("reads %q, want %q; %v", got[:n], want, err)
		}
	}
	if err := tr.Unlink(ctx, tree.RootIno, "f"); err != nil {
		t.Fatal(err)
	}
	s.EntryChanged(tree.RootIno, "f")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after it is gone: %v", err)
	}
	// What is open in the kernel stays; what it never knew of goes at once.
	if st, err := r.Stat(); err != nil || st.Size() != int64(len("newer")) {
		t.Errorf("what is open still: %v", err)
	}
	g, hg, err := tr.Create(ctx, tree.Caller{}, tree.RootIno, "g", 0o644, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	hg.Release()
	if err := tr.Unlink(ctx, tree.RootIno, "g"); err != nil {
		t.Fatal(err)
	}
	s.EntryChanged(tree.RootIno, "g")
	if left := tr.Unnamed(); slices.Contains(left, g.Ino) || !slices.Contains(left, e.Ino) {
		t.Errorf("inodes %v are kept without a name, not %d but %d should be", left, g.Ino, e.Ino)
	}
}
