package conformance

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"coffer/media"
)

func syncByName(t *testing.T, m media.Medium) {
	s, ok := m.(media.Syncer)
	if !ok {
		return
	}
	mustAppend(t, create(t, m, "left/behind"), []byte("x"))
	if err := s.Sync(t.Context(), "left/behind"); err != nil {
		t.Errorf("sync: %v", err)
	}
	wantError(t, "sync of nothing", s.Sync(t.Context(), "left/nothing"), media.ErrNotExist)
	wantError(t, "sync of no name", s.Sync(t.Context(), "../x"), media.ErrName)
}

func replace(t *testing.T, m media.Medium) {
	r, ok := m.(media.Replacer)
	if !ok {
		return
	}
	long, short := pattern(1, 3<<20+17), pattern(2, 1000)
	old := create(t, m, "v/chunk")
	mustAppend(t, old, short)
	if err := r.Replace(t.Context(), "v/chunk", bytes.NewReader(long)); err != nil {
		t.Fatalf("replace: %v", err)
	}
	wantContent(t, m, "v/chunk", long)
	// What it is replaced by may be made of what it was.
	patched := slices.Clone(long)
	copy(patched[2<<20:], short)
	was := media.Reader(t.Context(), m, "v/chunk")
	err := r.Replace(t.Context(), "v/chunk", io.MultiReader(
		io.NewSectionReader(was, 0, 2<<20), bytes.NewReader(short), io.NewSectionReader(was, 2<<20+1000, 1<<30)))
	if err != nil {
		t.Fatalf("replace: %v", err)
	}
	wantContent(t, m, "v/chunk", patched)
	broken := errors.New("broken")
	err = r.Replace(t.Context(), "v/chunk", io.MultiReader(bytes.NewReader(long[:2<<20]), iotest.ErrReader(broken)))
	wantError(t, "replace by what can't be read", err, broken)
	wantContent(t, m, "v/chunk", patched)
	if err := r.Replace(t.Context(), "v/new/chunk", bytes.NewReader(nil)); err != nil {
		t.Errorf("replace what is not there: %v", err)
	}
	wantNames(t, m, "", "v/chunk", "v/new/chunk")
	wantError(t, "replace of no name", r.Replace(t.Context(), "../x", bytes.NewReader(nil)), media.ErrName)
}

func space(t *testing.T, m media.Medium) {
	s, ok := m.(media.Spacer)
	if !ok {
		return
	}
	got, err := s.Space(t.Context())
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	if err != nil {
		t.Fatalf("space: %v", err)
	}
	if got.Free == 0 || got.Total < got.Free || got.Files < got.FreeFiles {
		t.Errorf("implausible: %+v", got)
	}
}

func locks(t *testing.T, m media.Medium) {
	l, ok := m.(media.Locker)
	if !ok {
		return
	}
	unlock, err := l.Lock(t.Context(), "volumes/aa/writer", "mount /mnt/archive")
	if err != nil {
		t.Fatalf("lock: %v", err)
	}
	_, err = l.Lock(t.Context(), "volumes/aa/writer", "second")
	wantError(t, "second lock", err, media.ErrLocked)
	var locked *media.LockedError
	if !errors.As(err, &locked) || !strings.Contains(locked.Holder, "mount /mnt/archive") {
		t.Errorf("second lock: %v does not name the holder", err)
	}
	other, err := l.Lock(t.Context(), "volumes/bb/writer", "other")
	if err != nil {
		t.Errorf("lock of another name: %v", err)
	} else if err := other(); err != nil {
		t.Errorf("unlock: %v", err)
	}
	wantNames(t, m, "") // a lock is no object
	for range 2 {
		if err := unlock(); err != nil {
			t.Errorf("unlock: %v", err)
		}
	}
	again, err := l.Lock(t.Context(), "volumes/aa/writer", "third")
	if err != nil {
		t.Fatalf("lock after unlock: %v", err)
	}
	// The first holder's unlock must not free the third's lock.
	if err := unlock(); err != nil {
		t.Errorf("late unlock: %v", err)
	}
	_, err = l.Lock(t.Context(), "volumes/aa/writer", "fourth")
	wantError(t, "lock after a late unlock", err, media.ErrLocked)
	if err := again(); err != nil {
		t.Errorf("unlock: %v", err)
	}
	_, err = l.Lock(t.Context(), "../writer", "x")
	wantError(t, "lock of no name", err, media.ErrName)
}

// links gives an object a second name, and takes the first one away.
func links(t *testing.T, m media.Medium) {
	l, ok := m.(media.Linker)
	if !ok {
		return
	}
	mustAppend(t, create(t, m, "volumes/aa/one"), pattern(1, 3<<20))
	mustPut(t, m, "volumes/bb/taken", []byte("x"))
	wantError(t, "link to a name that is taken", l.Link(t.Context(), "volumes/aa/one", "volumes/bb/taken"), media.ErrExist)
	wantError(t, "link of nothing", l.Link(t.Context(), "volumes/aa/none", "volumes/bb/none"), media.ErrNotExist)
	wantError(t, "link to no name", l.Link(t.Context(), "volumes/aa/one", "../x"), media.ErrName)
	if err := l.Link(t.Context(), "volumes/aa/one", "volumes/cc/new"); err != nil {
		t.Fatalf("link: %v", err)
	}
	if err := m.Remove(t.Context(), "volumes/aa/one"); err != nil {
		t.Fatal(err)
	}
	wantContent(t, m, "volumes/bb/taken", []byte("x"))
	wantContent(t, m, "volumes/cc/new", pattern(1, 3<<20))
}
