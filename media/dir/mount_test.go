package dir_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/media"
	"coffer/media/conformance"
	"coffer/media/dir"
	"coffer/media/faulty"
)

func TestConformanceOnExt4(t *testing.T) {
	conformance.Run(t, func(t *testing.T) media.Medium {
		d := newDisk(t, 96<<20)
		m, err := dir.Open(d.mount, dir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return m
	})
}

func TestFull(t *testing.T) {
	d := newDisk(t, small)
	m := open(t, d.mount, dir.Options{})
	a, err := m.Create(t.Context(), "v/fills")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	piece := make([]byte, 300_000)
	pieces := 0
	for {
		off, err := a.Append(t.Context(), piece, piece)
		if err == nil {
			pieces++
			continue
		}
		if !errors.Is(err, media.ErrFull) || !errors.Is(err, unix.ENOSPC) || errors.Is(err, media.ErrTorn) {
			t.Fatalf("append to a full medium: %v, want ErrFull", err)
		}
		if want := int64(pieces * 600_000); off != want || a.Size() != want {
			t.Errorf("offset %d, size %d after a failed append; want %d", off, a.Size(), want)
		}
		break
	}
	list, err := m.List(t.Context(), "v/")
	if err != nil || len(list) != 1 || list[0].Size != a.Size() {
		t.Errorf("the file was not cut back to %d: %v, %v", a.Size(), list, err)
	}
	// Up to the last byte, and nothing of a half Put stays.
	for _, err = a.Append(t.Context(), piece[:4096]); err == nil; {
		_, err = a.Append(t.Context(), piece[:4096])
	}
	if !errors.Is(err, media.ErrFull) {
		t.Errorf("append of a page: %v, want ErrFull", err)
	}
	if err := m.Put(t.Context(), "v/put", piece); !errors.Is(err, media.ErrFull) {
		t.Errorf("put to a full medium: %v, want ErrFull", err)
	}
	if err := a.Sync(t.Context()); err != nil {
		t.Errorf("sync on a full medium: %v", err)
	}
	entries, err := os.ReadDir(filepath.Join(d.mount, "v"))
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v; want one file", entries, err)
	}
	space, err := m.Space(t.Context())
	// ext4 gives back some of what it had set aside for its own blocks.
	if err != nil || space.Free > 1<<20 || space.Total < 8<<20 {
		t.Errorf("space: %+v, %v; want next to none of 14 MiB free", space, err)
	}
	// A full medium can be locked and freed, and then taken up again.
	unlock, err := m.Lock(t.Context(), "v/lock", "test")
	if err != nil {
		t.Fatalf("lock on a full medium: %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	b, err := m.Create(t.Context(), "v/next")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := errors.Join(a.Close(), m.Remove(t.Context(), "v/fills")); err != nil {
		t.Fatalf("remove from a full medium: %v", err)
	}
	if _, err := b.Append(t.Context(), piece, piece); err != nil {
		t.Errorf("append after space has returned: %v", err)
	}
}

func TestNoMoreFiles(t *testing.T) {
	d := newDisk(t, small, "-N", "16")
	m := open(t, d.mount, dir.Options{})
	for n := 0; ; n++ {
		err := m.Put(t.Context(), fmt.Sprintf("f%d", n), []byte("x"))
		if err == nil && n < 1000 {
			continue
		}
		if !errors.Is(err, media.ErrFull) {
			t.Errorf("put without an inode left: %v, want ErrFull", err)
		}
		break
	}
	if s, err := m.Space(t.Context()); err != nil || s.FreeFiles != 0 || s.Files == 0 {
		t.Errorf("space: %+v, %v; want no files free", s, err)
	}
	if _, err := m.Create(t.Context(), "one-more"); !errors.Is(err, media.ErrFull) {
		t.Errorf("create without an inode left: %v, want ErrFull", err)
	}
}

func TestReadOnly(t *testing.T) {
	d := newDisk(t, small)
	m := open(t, d.mount, dir.Options{})
	if err := m.Put(t.Context(), "v/kept", []byte("x")); err != nil {
		t.Fatal(err)
	}
	a, err := m.Create(t.Context(), "v/open")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-o", "remount,ro", d.mount)
	_, createErr := m.Create(t.Context(), "v/new")
	_, lockErr := m.Lock(t.Context(), "v/lock", "test")
	for what, err := range map[string]error{
		"create": createErr,
		"lock":   lockErr,
		"put":    m.Put(t.Context(), "v/kept", nil),
		"remove": m.Remove(t.Context(), "v/kept"),
	} {
		if !errors.Is(err, media.ErrReadOnly) {
			t.Errorf("%s: %v, want ErrReadOnly", what, err)
		}
	}
	if b, err := media.ReadAll(t.Context(), m, "v/kept", 10); err != nil || string(b) != "x" {
		t.Errorf("read: %q, %v", b, err)
	}
}

// TestFailedSync takes the disk away. What was appended may be lost then, and
// nothing that looks like a sync may succeed any more.
func TestFailedSync(t *testing.T) {
	d := newDisk(t, small)
	m := open(t, d.mount, dir.Options{})
	a, err := m.Create(t.Context(), "v/failed")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Append(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	d.shutdown(t)
	for range 2 {
		if err := a.Sync(t.Context()); !errors.Is(err, media.ErrTorn) || !errors.Is(err, unix.EIO) {
			t.Errorf("sync: %v, want ErrTorn with EIO", err)
		}
		if _, err := a.Append(t.Context(), []byte("y")); !errors.Is(err, media.ErrTorn) {
			t.Errorf("append after a failed sync: %v, want ErrTorn", err)
		}
	}
	if err := m.Put(t.Context(), "v/put", nil); !errors.Is(err, unix.EIO) {
		t.Errorf("put: %v, want EIO", err)
	}
}

func TestPowerCut(t *testing.T) {
	d := newDisk(t, small)
	store := filepath.Join(d.mount, "new", "store")
	m, err := dir.Open(store, dir.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	conformance.Durability(t, m, func(t *testing.T) media.Medium {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		d.cut(t)
		return open(t, store, dir.Options{})
	})
}

// TestPowerCutWhileWriting syncs after a random number of appends, several
// times, and cuts in the middle. With syncs that lie, the same must show a loss.
func TestPowerCutWhileWriting(t *testing.T) {
	for round := range 4 {
		lie := round == 3
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		d := newDisk(t, small)
		inner, err := dir.Open(d.mount, dir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := faulty.Wrap(inner, nil)
		if lie {
			m.SetRule(faulty.Fail(faulty.ErrDrop, faulty.Sync))
		}
		synced := make(map[string]int64)
		for n := range 10 {
			name := fmt.Sprintf("volumes/%d/%d.chunk", n%3, n)
			a, err := m.Create(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			for range r.IntN(20) {
				if _, err := a.Append(t.Context(), numbered(a.Size(), 1+r.IntN(20_000))); err != nil {
					t.Fatal(err)
				}
				if r.IntN(4) == 0 {
					if err := a.Sync(t.Context()); err != nil {
						t.Fatal(err)
					}
					synced[name] = a.Size()
				}
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		d.cut(t)
		after := open(t, d.mount, dir.Options{})
		lost := 0
		for name, size := range synced {
			got := make([]byte, size)
			if _, err := after.ReadAt(t.Context(), name, got, 0); err != nil || string(got) != string(numbered(0, int(size))) {
				lost++
			}
		}
		if (lost > 0) != lie {
			t.Errorf("seed %d: syncs lie: %v; %d of %d objects lost what was synced", seed, lie, lost, len(synced))
		}
	}
}

// numbered returns bytes of which each depends on its offset, and none is zero.
func numbered(off int64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((off+int64(i))%251) + 1
	}
	return b
}
