package index

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// sound gives the bytes of a small whole index, of no more pages than it uses, and
// what it answers.
func sound(t testing.TB) (data []byte, answers string) {
	x := openTemp(t)
	for n := range uint64(30) {
		noError(t, x.Apply([]Batch{numbered(n + 1)}, headAt(n+1), locateAll))
	}
	answers = answersOf(t, x)
	return closeAndRead(t, x), answers
}

// closeAndRead gives the bytes of an index's file up to the last page in use.
func closeAndRead(t require, x *Index) []byte {
	path := x.db.Path()
	noError(t, x.Close())
	data, err := os.ReadFile(path)
	noError(t, err)
	pages := max(binary.NativeEndian.Uint64(data[56:]), binary.NativeEndian.Uint64(data[4096+56:]))
	return data[:pages*4096]
}

func answersOf(t require, x *Index) string {
	s := dumpReader(t, &x.Reader, modelUnit) + wholeIndex(t, x)
	for a := uint32(1); a < x.Archive(); a++ {
		s += dumpReader(t, x.At(a), modelUnit)
	}
	return s
}

// openDamaged opens a file of the bytes; it must be refused in the one right way,
// or answer as the sound one.
func openDamaged(t require, dir string, data []byte, answers string) (refused bool) {
	t.Helper()
	path := filepath.Join(dir, "damaged")
	noError(t, os.WriteFile(path, data, 0o600))
	x, err := Open(path, testID)
	if err != nil {
		if !errors.Is(err, ErrRebuild) {
			t.Fatalf("want ErrRebuild, got %v", err)
		}
		return true
	}
	got := answersOf(t, x)
	noError(t, x.Close())
	same(t, "answers", got, answers)
	return false
}

// TestFlippedBytes flips bytes all over the file. Where one is in use, it is found.
func TestFlippedBytes(t *testing.T) {
	data, answers := sound(t)
	dir := t.TempDir()
	if openDamaged(t, dir, data, answers) {
		t.Fatal("the sound file is refused")
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	const tries = 200
	for range tries {
		d := append([]byte(nil), data...)
		for range 1 + r.IntN(3) {
			d[r.IntN(len(d))] ^= byte(1 + r.IntN(255))
		}
		if openDamaged(t, dir, d, answers) {
			refused++
		}
	}
	t.Logf("%d of %d refused", refused, tries)
	if refused == 0 {
		t.Fatal("no damage was found")
	}
	// The heads of pages are dense with what can go wrong.
	for at := 0; at < len(data); at += 4096 {
		for range 2 {
			d := append([]byte(nil), data...)
			d[at+r.IntN(64)] ^= 1 << r.IntN(8)
			openDamaged(t, dir, d, answers)
		}
	}
}

// TestCutOff cuts the file, and replaces pages by others of it.
func TestCutOff(t *testing.T) {
	data, answers := sound(t)
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		if n := 1 + r.IntN(len(data)-1); !openDamaged(t, dir, data[:n], answers) {
			t.Fatalf("file of %d of %d bytes is taken", n, len(data))
		}
		d := append([]byte(nil), data...)
		from, to := r.IntN(len(d)/4096), 2+r.IntN(len(d)/4096-2)
		copy(d[to*4096:(to+1)*4096], data[from*4096:])
		openDamaged(t, dir, d, answers)
	}
}

// TestCutOffWhileOpen takes the file away under an open index: errors, no crash.
func TestCutOffWhileOpen(t *testing.T) {
	x := openTemp(t)
	apply(t, x, tree(2, 3000)...)
	noError(t, os.Truncate(x.db.Path(), 8192))
	if _, _, err := x.Inode(77); !errors.Is(err, ErrRebuild) {
		t.Fatalf("read: %v, want ErrRebuild", err)
	}
	for range 2 {
		if err := x.Apply([]Batch{{Records: tree(5, 10)}}, Head{}, nil); !errors.Is(err, ErrRebuild) {
			t.Fatalf("apply: %v, want ErrRebuild", err)
		}
	}
	noError(t, x.Close())
}

// FuzzOpen opens any bytes as an index.
func FuzzOpen(f *testing.F) {
	x := openTemp(f)
	noError(f, x.Apply([]Batch{numbered(1), numbered(7)}, headAt(7), locateAll))
	f.Add(closeAndRead(f, x))
	f.Add([]byte("not an index"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return // that is a new one
		}
		path := filepath.Join(dir, "fuzzed")
		noError(t, os.WriteFile(path, data, 0o600))
		x, err := Open(path, testID)
		if err != nil {
			if !errors.Is(err, ErrRebuild) {
				t.Fatalf("want ErrRebuild, got %v", err)
			}
			return
		}
		_ = x.Xattrs(1, func(string, []byte) bool { return true })
		_, _, _ = x.Inode(1)
		_ = x.Apply([]Batch{numbered(9)}, headAt(9), nil)
		noError(t, x.Close())
	})
}
