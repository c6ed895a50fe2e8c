package tree

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNameSoughtInVain looks for a name before it is made, with the directory in memory all the time. Once the name
// is in the index only, it is found.
func TestNameSoughtInVain(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, nil)
	p, err := r.table.get(RootIno)
	if err != nil {
		t.Fatal(err)
	}
	defer p.put()
	vain := func(name string) {
		t.Helper()
		if _, err := r.Lookup(ctx, RootIno, name); err != unix.ENOENT {
			t.Fatalf("%s is found, or %v", name, err)
		}
	}
	for range 3 {
		vain("name")
		if _, err := r.Mkdir(ctx, someone, RootIno, "name", 0o700); err != nil {
			t.Fatal(err)
		}
		r.settle()
		if p.dir != nil && p.dir.names["name"] != nil {
			t.Fatal("the index does not have the name yet")
		}
		if _, err := r.Mkdir(ctx, someone, RootIno, "name", 0o700); err != unix.EEXIST {
			t.Fatalf("made twice: %v", err)
		}
		vain("other")
		if _, err := r.Lookup(ctx, RootIno, "name"); err != nil {
			t.Fatal(err)
		}
		if err := r.Rename(ctx, RootIno, "name", RootIno, "other", 0); err != nil {
			t.Fatal(err)
		}
		vain("name")
		r.settle()
		vain("name")
		if _, err := r.Lookup(ctx, RootIno, "other"); err != nil {
			t.Fatal(err)
		}
		if err := r.Rmdir(ctx, RootIno, "other"); err != nil {
			t.Fatal(err)
		}
		r.settle()
		vain("other")
		vain(strings.Repeat("n", NameMax))
	}
	r.close()
}
