package tree

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// list gives the names of the root directory as it lists them.
func (r *rig) list() (names []string, cookies []uint64) {
	r.t.Helper()
	err := r.ReadDir(context.Background(), RootIno, 0, func(name string, d Dirent, _ func() (Attr, error)) bool {
		names = append(names, name)
		cookies = append(cookies, d.Cookie)
		return true
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return names, cookies
}

// TestRenameToRemovedName gives an entry a name that was removed in the same epoch:
// it is a new entry behind all others, not one in the place of the old.
func TestRenameToRemovedName(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, func(c *Config) { c.ApplyEvery = time.Hour })
	for _, name := range []string{"x", "y", "z"} {
		if _, err := r.Mknod(ctx, someone, RootIno, name, 0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Unlink(ctx, RootIno, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Mknod(ctx, someone, RootIno, "x", 0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Mknod(ctx, someone, RootIno, "w", 0o644, 0); err != nil {
		t.Fatal(err)
	}
	if err := r.Unlink(ctx, RootIno, "x"); err != nil {
		t.Fatal(err)
	}
	if err := r.Rename(ctx, RootIno, "y", RootIno, "x", 0); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{"memory", "index"} {
		names, cookies := r.list()
		if !slices.Equal(names, []string{"z", "w", "x"}) || !slices.IsSorted(cookies) {
			t.Errorf("in %s: %v %v", where, names, cookies)
		}
		r.reopen()
	}
	r.close()
}

// TestListingIsTheDirectory changes a small directory at random, while cuts move it
// to the index at any moment, and lists it after each change.
func TestListingIsTheDirectory(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, nil)
	over := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { r.syncUntil(ctx, over) })
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	names := []string{"a", "b", "c", "d"}
	there := make(map[string]bool)
	for k := range 5000 {
		a, b := names[random.IntN(4)], names[random.IntN(4)]
		var err error
		what := random.IntN(5)
		switch what {
		case 0, 1:
			if _, err = r.Mknod(ctx, someone, RootIno, a, 0o644, 0); err == nil {
				there[a] = true
			}
		case 2:
			if err = r.Unlink(ctx, RootIno, a); err == nil {
				delete(there, a)
			}
		case 3:
			if err = r.Rename(ctx, RootIno, a, RootIno, b, 0); err == nil && a != b {
				delete(there, a)
				there[b] = true
			}
		case 4:
			err = r.Rename(ctx, RootIno, a, RootIno, b, unix.RENAME_EXCHANGE)
		}
		got, cookies := r.list()
		slices.Sort(got)
		if want := slices.Sorted(maps.Keys(there)); !slices.Equal(got, want) || !slices.IsSorted(cookies) {
			t.Fatal(fmt.Sprint("change ", k, " ", what, a, b, " ", err, ": ", got, " at ", cookies, ", want ", want))
		}
	}
	close(over)
	beside.Wait()
	r.close()
}
