package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"coffer/media"
)

func put(t *testing.T, m media.Medium) {
	mustPut(t, m, "keys/copy/master.age", []byte("first"))
	wantContent(t, m, "keys/copy/master.age", []byte("first"))
	mustPut(t, m, "keys/copy/master.age", []byte("the second, longer"))
	wantContent(t, m, "keys/copy/master.age", []byte("the second, longer"))
	mustPut(t, m, "keys/copy/master.age", []byte("3rd"))
	wantContent(t, m, "keys/copy/master.age", []byte("3rd"))
	wantNames(t, m, "", "keys/copy/master.age")
}

// putRacing has several replace one object while others read it: each read shows
// one of the contents whole.
func putRacing(t *testing.T, m media.Medium) {
	const size = 10_000
	mustPut(t, m, "raced", make([]byte, size))
	var g errgroup.Group
	for writer := range 4 {
		g.Go(func() error {
			for range 20 {
				data := make([]byte, size)
				for i := range data {
					data[i] = byte(writer)
				}
				if err := m.Put(t.Context(), "raced", data); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for range 2 {
		g.Go(func() error {
			p := make([]byte, size)
			for range 100 {
				n, err := m.ReadAt(t.Context(), "raced", p, 0)
				if err != nil {
					return fmt.Errorf("after %d bytes: %w", n, err)
				}
				if want := strings.Repeat(string(p[:1]), size); string(p) != want {
					return errors.New("a read shows parts of two contents")
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, m, "", "raced")
}

func list(t *testing.T, m media.Medium) {
	for i, name := range []string{"b/2.chunk", "b/1.chunk", "a", "b-c", "bb/1/2/3", "c"} {
		mustPut(t, m, name, make([]byte, i))
	}
	mustAppend(t, create(t, m, "b/3.chunk"), []byte("12345"))
	wantNames(t, m, "", "a", "b-c", "b/1.chunk", "b/2.chunk", "b/3.chunk", "bb/1/2/3", "c")
	wantNames(t, m, "b", "b-c", "b/1.chunk", "b/2.chunk", "b/3.chunk", "bb/1/2/3")
	wantNames(t, m, "b/", "b/1.chunk", "b/2.chunk", "b/3.chunk")
	wantNames(t, m, "b/2", "b/2.chunk")
	wantNames(t, m, "bb/1/2/", "bb/1/2/3")
	wantNames(t, m, "d")
	wantNames(t, m, "d/e/f")
	got, err := m.List(t.Context(), "b/")
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for i, want := range []int64{1, 0, 5} {
		if i >= len(got) || got[i].Size != want {
			t.Fatalf("sizes in %v: entry %d should have %d", got, i, want)
		}
	}
}

func wantNames(t *testing.T, m media.Medium, prefix string, want ...string) {
	t.Helper()
	got, err := m.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	var names []string
	for _, info := range got {
		names = append(names, info.Name)
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("list %q: got %v, want %v", prefix, names, want)
	}
}

func remove(t *testing.T, m media.Medium) {
	mustPut(t, m, "v/gone", []byte("x"))
	mustPut(t, m, "v/stays", []byte("y"))
	wantContent(t, m, "v/gone", []byte("x")) // also opens whatever is cached
	if err := m.Remove(t.Context(), "v/gone"); err != nil {
		t.Fatalf("remove: %v", err)
	}
	_, err := m.ReadAt(t.Context(), "v/gone", make([]byte, 1), 0)
	wantError(t, "read what was removed", err, media.ErrNotExist)
	wantError(t, "remove what was removed", m.Remove(t.Context(), "v/gone"), media.ErrNotExist)
	wantNames(t, m, "v/", "v/stays")
	mustAppend(t, create(t, m, "v/gone"), []byte("again"))
	wantContent(t, m, "v/gone", []byte("again"))
}

func removeWhileAppending(t *testing.T, m media.Medium) {
	a := create(t, m, "dying")
	mustAppend(t, a, []byte("x"))
	if err := m.Remove(t.Context(), "dying"); err != nil {
		t.Fatalf("remove: %v", err)
	}
	if off := mustAppend(t, a, []byte("y")); off != 1 {
		t.Errorf("append to a removed object is at %d, want 1", off)
	}
	wantNames(t, m, "")
}

func names(t *testing.T, m media.Medium) {
	long := strings.Repeat("n", 200)
	for _, name := range []string{
		"a", "A", "a b", "a..b", "ü", "deep/er/than/most/names/go", long, "x/" + long, "tab\tnew\nline", "star*", `back\slash`, "x.",
	} {
		mustPut(t, m, name, []byte(name))
	}
	for _, name := range []string{"a", "A", long, `back\slash`, "tab\tnew\nline"} {
		wantContent(t, m, name, []byte(name))
	}
	for _, name := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", ".hidden", "a/.hidden", "nul\x00", long + "n", strings.Repeat("a/", 600) + "a",
	} {
		_, err := m.Create(t.Context(), name)
		wantError(t, fmt.Sprintf("create %.30q", name), err, media.ErrName)
		wantError(t, fmt.Sprintf("put %.30q", name), m.Put(t.Context(), name, nil), media.ErrName)
		wantError(t, fmt.Sprintf("remove %.30q", name), m.Remove(t.Context(), name), media.ErrName)
		_, err = m.ReadAt(t.Context(), name, nil, 0)
		wantError(t, fmt.Sprintf("read %.30q", name), err, media.ErrName)
	}
}

func cancelled(t *testing.T, m media.Medium) {
	a := create(t, m, "cancelled")
	mustAppend(t, a, []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := a.Append(ctx, []byte("y"))
	wantError(t, "append", err, context.Canceled)
	wantError(t, "sync", a.Sync(ctx), context.Canceled)
	_, err = m.Create(ctx, "new")
	wantError(t, "create", err, context.Canceled)
	wantError(t, "put", m.Put(ctx, "new", nil), context.Canceled)
	wantError(t, "remove", m.Remove(ctx, "cancelled"), context.Canceled)
	_, err = m.ReadAt(ctx, "cancelled", make([]byte, 1), 0)
	wantError(t, "read", err, context.Canceled)
	_, err = m.List(ctx, "")
	wantError(t, "list", err, context.Canceled)
	// Nothing was done, and nothing was spoiled.
	wantNames(t, m, "", "cancelled")
	mustAppend(t, a, []byte("z"))
	if err := a.Sync(t.Context()); err != nil {
		t.Errorf("sync after a cancelled one: %v", err)
	}
	wantContent(t, m, "cancelled", []byte("xz"))
}
