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

// TestNameModel does the same to names alone.
func TestNameModel(t *testing.T) {
	kinds := slices.Concat(nameOps, nameOps, []string{"sync", "sync", "settle", "forget", "dump"})
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
		if err := r.against(ctx, newModel(), ops); err != nil {
			rt.Fatal(err)
		}
	})
}

// against does the operations to the tree and to the model, and compares what is to
// be seen at each and at the end.
func (r *rig) against(ctx context.Context, m *model, ops []op) error {
	compare := func(when string) error {
		if want, got := m.dump(true), r.dump("", true); want != got {
			return fmt.Errorf("%s:\n%s", when, diff(want, got))
		}
		return nil
	}
	for k, o := range ops {
		var err error
		switch o.Kind {
		case "sync":
			err = r.Sync(ctx)
		case "snapshot":
			_, _, err = r.Snapshot(ctx, "x")
		case "settle":
			r.settle()
		case "forget":
			r.table.drop()
		case "reopen":
			r.reopen()
			clear(m.open)
		case "dump":
			err = compare(fmt.Sprint("after op ", k))
		default:
			err = step(ctx, r, m, k, o)
		}
		if err != nil {
			return err
		}
	}
	if err := compare("at the end"); err != nil {
		return err
	}
	r.reopen()
	if err := compare("after a remount"); err != nil {
		return err
	}
	stat, err := r.Statfs(ctx)
	if err != nil {
		return err
	}
	r.close()
	inodes, bytes := r.cfg.Index.Counts()
	if inodes != uint64(m.count()) || inodes != stat.Inodes || bytes != stat.Bytes {
		return fmt.Errorf("%d inodes, index has %d of %d bytes, statfs said %+v", m.count(), inodes, bytes, stat)
	}
	if left, err := r.cfg.Index.Orphans(); err != nil || len(left) > 0 {
		return fmt.Errorf("unlinked files %v are left, %v", left, err)
	}
	return nil
}

// settle brings all that was done into the index and evicts what is clean.
func (r *rig) settle() {
	if err := r.Sync(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	if r.log != nil && r.cfg.ApplyEvery < time.Second {
		r.log.settle()
	}
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

// syncUntil takes one cut after the other until over is closed.
func (r *rig) syncUntil(ctx context.Context, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		default:
		}
		if err := r.Sync(ctx); err != nil {
			r.t.Error(err)
			return
		}
	}
}
