package tree

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

type setting struct{ name, value string }

func (s setting) Encode(w stage.RecordSink) error {
	return put(w, chunkfmt.RecMeta, chunkfmt.MetaKey(s.name), []byte(s.value))
}

// TestJournal journals records that are not the tree's, with changes under way and without.
func TestJournal(t *testing.T) {
	v := newVolume(t, 64<<20, nil)
	check := func(want string) {
		t.Helper()
		got, ok, err := v.source.Index().Meta("a")
		if err != nil || !ok || string(got) != want {
			t.Errorf("setting is %q, %v, %v; want %q", got, ok, err, want)
		}
	}
	for _, value := range []string{"1", "2", "2"} {
		if err := v.Journal(t.Context(), setting{"a", value}); err != nil {
			t.Fatal(err)
		}
		check(value)
	}
	v.mkdir("a")
	if err := v.Journal(t.Context(), setting{"a", "3"}); err != nil {
		t.Fatal(err)
	}
	check("3")
	if _, ok, err := v.source.Index().Dirent(RootIno, "a"); err != nil || !ok {
		t.Errorf("what was done before is not in the index: %v, %v", ok, err)
	}
	v.die(t.Context())
	v.revive()
	check("3")
	v.end()
	if err := v.Journal(t.Context(), setting{"a", "4"}); !errors.Is(err, unix.EIO) {
		t.Errorf("after the end: %v", err)
	}
}
