package fusefs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const (
	raceSize = 64 << 10
	rounds   = 10
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
	for round := range rounds {
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
