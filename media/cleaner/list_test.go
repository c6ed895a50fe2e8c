package cleaner_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"coffer/chunkfmt"
	"coffer/media/cleaner"
)

// writeList writes ranges into a file.
func writeList(t require, f *os.File, ranges []chunkfmt.Removed) int64 {
	t.Helper()
	w, err := cleaner.WriteList(f, volume, func(add func(chunkfmt.Removed) error) error {
		for _, r := range ranges {
			if err := add(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w.Size()
}

type require interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// TestLists writes ranges, which may touch and overlap, and asks for them.
func TestLists(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "list"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rapid.Check(t, func(t *rapid.T) {
		in := map[chunkfmt.Seq]bool{}
		var ranges []chunkfmt.Removed
		for range rapid.IntRange(0, 30).Draw(t, "ranges") {
			first := chunkfmt.MakeSeq(rapid.Uint32Range(1, 2).Draw(t, "session"), rapid.Uint64Range(1, 100).Draw(t, "first"))
			last := first + chunkfmt.Seq(rapid.IntRange(0, 8).Draw(t, "more"))
			ranges = append(ranges, chunkfmt.Removed{First: first, Last: last})
			for s := first; s <= last; s++ {
				in[s] = true
			}
		}
		slices.SortFunc(ranges, func(a, b chunkfmt.Removed) int { return int(int64(a.First) - int64(b.First)) })
		size := writeList(t, f, ranges)
		l, err := cleaner.OpenList(f, size, volume)
		if err != nil {
			t.Fatal(err)
		}
		for ordinal := range uint32(3) {
			for n := range uint64(112) {
				seq := chunkfmt.MakeSeq(ordinal, n)
				to := seq + chunkfmt.Seq(rapid.IntRange(0, 5).Draw(t, "length"))
				got := map[chunkfmt.Seq]bool{}
				var before chunkfmt.Seq
				err := l.Removed(seq, to, func(r chunkfmt.Removed) bool {
					if r.First <= before || r.Last < seq || r.First > to {
						t.Fatalf("%v to %v after %v, asked for %v to %v", r.First, r.Last, before, seq, to)
					}
					before = r.Last
					for s := r.First; s <= r.Last; s++ {
						got[s] = true
					}
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
				for s := seq; s <= to; s++ {
					if got[s] != in[s] {
						t.Fatalf("%v is in the list: %v, want %v", s, got[s], in[s])
					}
				}
			}
		}
	})
}

// TestBadLists flips every bit of a list, cuts it everywhere, and shows it to another volume.
func TestBadLists(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "list"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := writeList(t, f, []chunkfmt.Removed{
		{First: chunkfmt.MakeSeq(1, 2), Last: chunkfmt.MakeSeq(1, 5)}, {First: chunkfmt.MakeSeq(1, 9), Last: chunkfmt.MakeSeq(1, 9)},
	})
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	try := func(what string, b []byte, v chunkfmt.VolumeID) {
		t.Helper()
		if _, err := cleaner.OpenList(bytesAt(b), int64(len(b)), v); !errors.Is(err, cleaner.ErrList) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		try("a flipped bit", b, volume)
		b[bit/8] ^= 1 << (bit % 8)
	}
	for n := range b {
		try("cut", b[:n], volume)
	}
	try("longer", append(slices.Clone(b), 0), volume)
	try("another volume", b, chunkfmt.VolumeID{8})
	if _, err := cleaner.WriteList(f, volume, func(add func(chunkfmt.Removed) error) error {
		return errors.Join(add(chunkfmt.Removed{First: 9, Last: 9}), add(chunkfmt.Removed{First: 3, Last: 3}))
	}); err == nil {
		t.Error("ranges that go back are taken")
	}
}

type bytesAt []byte

func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
