package conformance

import (
	"errors"
	"strings"
	"testing"

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
