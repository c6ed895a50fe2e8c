package index

import (
	"os"
	"path/filepath"
	"testing"

	"coffer/chunkfmt"
)

// TestCopy copies an index while it goes on, and finds in each copy one of its states.
func TestCopy(t *testing.T) {
	x := openTemp(t)
	ino := chunkfmt.Ino(2)
	apply(t, x, tree(ino, 500)...)
	defer growing(t, x)()
	for range 20 {
		f, err := os.Create(filepath.Join(t.TempDir(), "copy"))
		noError(t, err)
		noError(t, x.CopyTo(f))
		info, err := f.Stat()
		noError(t, err)
		noError(t, checkFile(f, info.Size()))
		y, err := OpenCopy(f, testID)
		noError(t, err)
		wantCounted(t, "a copy", y)
		if err := y.Apply(nil, y.Head(), nil); err == nil {
			t.Error("a copy can be applied to")
		}
		noError(t, y.Close())
	}
}

// TestPrivate applies the same to an index and to a private copy of it, a file without a name.
func TestPrivate(t *testing.T) {
	x := openTemp(t)
	apply(t, x, tree(2, 500)...)
	f, err := os.CreateTemp(t.TempDir(), "")
	noError(t, err)
	noError(t, os.Remove(f.Name()))
	noError(t, x.CopyTo(f))
	y, err := OpenPrivate(f, testID)
	noError(t, err)
	for n := range 10 {
		for _, one := range []*Index{x, y} {
			apply(t, one, tree(chunkfmt.Ino(1000*(n+1)), 500)...)
		}
	}
	if x.Head() != y.Head() {
		t.Errorf("its head is %v, want %v", y.Head(), x.Head())
	}
	want, _ := x.Counts()
	if got, _ := y.Counts(); got != want || got < 5000 {
		t.Errorf("it has %d inodes, want %d", got, want)
	}
	for ino := range want {
		a, there, err := x.Inode(chunkfmt.Ino(ino))
		noError(t, err)
		b, also, err := y.Inode(chunkfmt.Ino(ino))
		noError(t, err)
		if a != b || there != also {
			t.Fatalf("inode %d is %+v, want %+v", ino, b, a)
		}
	}
	noError(t, y.Close())
	if _, err := f.Stat(); err == nil {
		t.Error("the file was not taken over")
	}
	apply(t, x, tree(100_000, 10)...) // it goes on by itself
}

func inodesTable() table { return inodes }
