package conformance

import (
	"bytes"
	"errors"
	"testing"

	"coffer/media"
)

// Durability tests what must outlive a loss of power, and is called apart from
// Run because not every test can cut it. Cut is called once: it cuts the power
// under m, closes it, and returns the medium as it is found afterwards, which
// the caller of Durability closes. The medium given is empty.
func Durability(t *testing.T, m media.Medium, cut func(t *testing.T) media.Medium) {
	stable := pattern(1, 50_000)
	more := pattern(2, 50_000)
	a := create(t, m, "v/new/synced")
	mustAppend(t, a, stable)
	if err := a.Sync(t.Context()); err != nil {
		t.Fatalf("sync: %v", err)
	}
	mustAppend(t, a, more)
	unsynced := create(t, m, "v/unsynced")
	mustAppend(t, unsynced, stable)
	mustPut(t, m, "v/other/put", stable)
	mustPut(t, m, "v/replaced", more)
	mustPut(t, m, "v/replaced", stable)
	mustPut(t, m, "v/removed", stable)
	if err := m.Remove(t.Context(), "v/removed"); err != nil {
		t.Fatalf("remove: %v", err)
	}
	if s, ok := m.(media.Syncer); ok {
		b := create(t, m, "v/by/name")
		mustAppend(t, b, stable)
		if err := b.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		if err := s.Sync(t.Context(), "v/by/name"); err != nil {
			t.Fatalf("sync by name: %v", err)
		}
	}
	replacer, replaces := m.(media.Replacer)
	if replaces {
		mustPut(t, m, "v/chunk", more)
		if err := replacer.Replace(t.Context(), "v/chunk", bytes.NewReader(stable)); err != nil {
			t.Fatalf("replace: %v", err)
		}
	}
	// A file system that has files open cannot be mounted anew.
	if err := errors.Join(a.Close(), unsynced.Close()); err != nil {
		t.Fatalf("close: %v", err)
	}
	after := cut(t)
	wantPrefix(t, after, "v/new/synced", stable)
	wantContent(t, after, "v/other/put", stable)
	wantContent(t, after, "v/replaced", stable)
	if replaces {
		wantContent(t, after, "v/chunk", stable)
	}
	_, err := after.ReadAt(t.Context(), "v/removed", make([]byte, 1), 0)
	wantError(t, "read what was removed before the power went", err, media.ErrNotExist)
	if _, ok := m.(media.Syncer); ok {
		wantContent(t, after, "v/by/name", stable)
	}
	// What was not synced may be anything, but never longer than it was.
	list, err := after.List(t.Context(), "v/")
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for _, info := range list {
		if info.Size > 100_000 {
			t.Errorf("%s has grown to %d bytes", info.Name, info.Size)
		}
	}
}

func wantPrefix(t *testing.T, m media.Medium, name string, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := m.ReadAt(t.Context(), name, got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes (%v), %d as they were synced, want %d", name, n, err, common(got, want), len(want))
	}
}
