package tree

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var allOps = slices.Concat(nameOps, fileOps, attrOps)

// sameErr says whether two errors are the same errno, or both none.
func sameErr(want, got error) bool {
	var w, g unix.Errno
	if want == nil || got == nil {
		return want == nil && got == nil
	}
	return errors.As(want, &w) && errors.As(got, &g) && w == g
}

// step does one operation to both and compares what is to be seen.
func step(ctx context.Context, r *rig, m *model, k int, o op) error {
	r.clock.Store(int64(k))
	m.now = int64(k)
	want, wantErr := m.apply(o)
	got, gotErr := r.apply(ctx, o)
	if !sameErr(wantErr, gotErr) || want != got {
		return fmt.Errorf("op %d %+v:\nwant %q, %v\ngot  %q, %v", k, o, want, wantErr, got, gotErr)
	}
	return nil
}

// TestModel does random operations, with cuts, applies, cache drops and remounts in
// between, to the tree and to a model.
func TestModel(t *testing.T) {
	ctx := context.Background()
	kinds := slices.Concat(allOps, allOps, []string{"sync", "sync", "sync", "settle", "forget", "snapshot", "reopen", "dump", "dump"})
	testModel(t, ctx, kinds)
}

// TestFileModel does the same to the contents of a few files.
func TestFileModel(t *testing.T) {
	kinds := slices.Concat(fileOps, fileOps, []string{"sync", "sync", "sync", "settle", "forget", "dump"})
	testModel(t, t.Context(), kinds)
}

func testModel(t *testing.T, ctx context.Context, kinds []string) {
	rapid.Check(t, func(rt *rapid.T) {
		ops := genOps("", 0, kinds).Draw(rt, "ops")
		// Cuts reach the index at once, or pile up in memory.
		lazy := rapid.Bool().Draw(rt, "lazy")
		r := newRig(t, func(c *Config) {
			c.MaxClean = 4
			if lazy {
				c.ApplyEvery = time.Hour
			}
		})
		r.log.oddTail = rapid.Bool().Draw(rt, "odd tail")
		m := newModel()
		for k, o := range ops {
			switch o.Kind {
			case "sync":
				if err := r.Sync(ctx); err != nil {
					rt.Fatal(err)
				}
			case "snapshot":
				if err := r.Snapshot(ctx, "x"); err != nil {
					rt.Fatal(err)
				}
			case "settle":
				if !lazy {
					r.settle()
				}
			case "forget":
				r.table.drop()
			case "reopen":
				r.reopen()
				clear(m.open)
			case "dump":
				if want, got := m.dump(true), r.dump("", true); want != got {
					rt.Fatalf("after op %d:\n%s", k, diff(want, got))
				}
			default:
				if err := step(ctx, r, m, k, o); err != nil {
					rt.Fatal(err)
				}
			}
		}
		if want, got := m.dump(true), r.dump("", true); want != got {
			rt.Fatalf("at the end:\n%s", diff(want, got))
		}
		r.reopen()
		if want, got := m.dump(true), r.dump("", true); want != got {
			rt.Fatalf("after a remount:\n%s", diff(want, got))
		}
		r.close()
		if left, err := r.cfg.Index.Orphans(); err != nil || len(left) > 0 {
			rt.Fatalf("unlinked files %v are left, %v", left, err)
		}
	})
}

// settle brings all that was done into the index and evicts what is clean.
func (r *rig) settle() {
	if err := r.Sync(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.log.settle()
	r.table.drop()
}

// TestNumbersAreNeverReused makes a file, lets a cut know of it and its end, and
// makes another one in a later session.
func TestNumbersAreNeverReused(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, func(*Config) {})
	var last Ino
	for range 3 {
		e, h, err := r.Create(ctx, someone, RootIno, "file", 0o600, unix.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if e.Ino <= last {
			t.Fatalf("inode number %d after %d", e.Ino, last)
		}
		last = e.Ino
		h.Release()
		if err := r.Unlink(ctx, RootIno, "file"); err != nil {
			t.Fatal(err)
		}
		if err := r.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		r.reopen()
	}
}
