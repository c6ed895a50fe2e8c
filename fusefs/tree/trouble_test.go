package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/media/faulty"
)

// noise is n bytes that nothing makes smaller, the same for each seed.
func noise(seed uint64, n int) []byte {
	p := make([]byte, n)
	r := rand.NewPCG(seed, 1)
	for k := range p {
		p[k] = byte(r.Uint64() >> 32)
	}
	return p
}

// writeFile makes a file with content, and leaves it open.
func (v *volume) writeFile(ctx context.Context, name string, content []byte) (*Handle, error) {
	_, h, err := v.Create(ctx, someone, RootIno, name, 0o644, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	if _, err := h.Write(ctx, content, 0, false); err != nil {
		h.Release()
		return nil, err
	}
	return h, nil
}

// want fails the test unless the file holds content.
func (v *volume) want(ctx context.Context, name string, content []byte) {
	v.t.Helper()
	e, err := v.walk(ctx, name)
	if err != nil {
		v.t.Errorf("%s: %v", name, err)
		return
	}
	h, err := v.Open(ctx, e.Ino, unix.O_RDONLY)
	if err != nil {
		v.t.Errorf("%s: %v", name, err)
		return
	}
	defer h.Release()
	got := make([]byte, len(content)+1)
	if n, err := h.Read(ctx, got, 0); err != nil || !bytes.Equal(got[:n], content) {
		v.t.Errorf("%s: %d bytes, want %d, same %v, %v", name, n, len(content), bytes.Equal(got[:n], content), err)
	}
}

// TestMediumFullForAWhile fills the medium behind the tree's back: syncs and writes
// are ENOSPC, reads and deletes go on, and when there is room again everything that
// was taken in is there, in the tree, in its index and in a new session.
func TestMediumFullForAWhile(t *testing.T) {
	ctx := watched(t, time.Minute)
	v := newVolume(t, 1<<30, nil)
	kept := noise(1, 300_000)
	h, err := v.writeFile(ctx, "kept", kept)
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	if err := v.Sync(ctx); err != nil {
		t.Fatal(err)
	}

	files := make(map[string][]byte)
	for k := range 3 {
		name := fmt.Sprint("taken", k)
		files[name] = noise(uint64(10+k), 200_000)
		if h, err = v.writeFile(ctx, name, files[name]); err != nil {
			t.Fatal(err)
		}
		h.Release()
	}
	v.medium.SetFree(0)
	for range 2 {
		if err := v.Sync(ctx); !sameErr(unix.ENOSPC, err) {
			t.Fatalf("sync on a full medium: %v", err)
		}
	}
	if h, err := v.writeFile(ctx, "refused", noise(2, 100_000)); !sameErr(unix.ENOSPC, err) {
		t.Errorf("write on a full medium: %v", err)
		if err == nil {
			h.Release()
		}
	}
	v.want(ctx, "kept", kept)
	for name, content := range files {
		v.want(ctx, name, content)
	}
	if err := v.Unlink(ctx, RootIno, "kept"); err != nil {
		t.Errorf("unlink on a full medium: %v", err)
	}
	if err := v.Sync(ctx); !sameErr(unix.ENOSPC, err) {
		t.Errorf("sync after a delete: %v", err)
	}
	if err := v.Failed(); err != nil {
		t.Fatalf("a full medium is no failure: %v", err)
	}

	v.medium.SetFree(-1)
	for err = v.Sync(ctx); sameErr(unix.ENOSPC, err); err = v.Sync(ctx) {
	}
	if err != nil {
		t.Fatal(err)
	}
	h, err = v.writeFile(ctx, "after", noise(3, 5000))
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	files["after"] = noise(3, 5000)
	if err := v.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	for v.dirty.Load() > 0 && ctx.Err() == nil { // the deltas of all cuts go
	}
	for range 2 {
		for name, content := range files {
			v.want(ctx, name, content)
			if _, ok, err := v.cfg.Index.Dirent(RootIno, name); !ok || err != nil {
				t.Errorf("the index does not know %s, %v", name, err)
			}
		}
		if _, err := v.walk(ctx, "kept"); !sameErr(unix.ENOENT, err) {
			t.Errorf("what was deleted: %v", err)
		}
		v.end()
		v.revive()
	}
	v.end()
}

// TestFullMediumIsLookedAt leaves the tree alone with a medium that is full for many
// cuts: it finds out by itself when there is room, and takes changes all the time.
func TestFullMediumIsLookedAt(t *testing.T) {
	ctx := watched(t, time.Minute)
	v := newVolume(t, 1<<30, func(v *volume) { v.cfg.CutEvery = time.Millisecond })
	content := noise(1, 300_000)
	h, err := v.writeFile(ctx, "file", content)
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	v.medium.SetFree(0)
	if err := v.Sync(ctx); err != nil && !sameErr(unix.ENOSPC, err) {
		t.Fatal(err)
	}
	for cuts := v.Status().Cuts; v.Status().Cuts < cuts+5 && ctx.Err() == nil; {
		if _, err := v.Setattr(ctx, RootIno, SetAttr{Valid: SetMode, Mode: 0o700}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		if _, err := v.Setattr(ctx, RootIno, SetAttr{Valid: SetMode, Mode: 0o711}, nil); err != nil {
			t.Fatal(err)
		}
		if err := v.Sync(ctx); !sameErr(unix.ENOSPC, err) {
			t.Fatal(err)
		}
	}
	v.medium.SetFree(-1)
	for v.dirty.Load() > 0 && ctx.Err() == nil {
	}
	if _, ok, err := v.cfg.Index.Dirent(RootIno, "file"); !ok || err != nil {
		t.Errorf("the index does not know the file, %v", err)
	}
	v.want(ctx, "file", content)
	v.end()
}

// TestSyncFails lets the medium fail where data may be lost: the tree takes no more
// changes, reads what is stable, and says so at close.
func TestSyncFails(t *testing.T) {
	ctx := watched(t, time.Minute)
	v := newVolume(t, 1<<30, nil)
	kept := noise(1, 300_000)
	h, err := v.writeFile(ctx, "kept", kept)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	lost, err := v.writeFile(ctx, "lost", noise(2, 300_000))
	if err != nil {
		t.Fatal(err)
	}
	// Nothing of the cause may be taken for an answer to the application.
	v.medium.SetRule(faulty.Fail(errors.Join(unix.ENOENT, errors.New("the platter is gone")), faulty.Sync))
	if err := v.Sync(ctx); !sameErr(unix.EIO, err) {
		t.Fatalf("sync: %v", err)
	}
	v.want(ctx, "kept", kept)
	p := make([]byte, 10)
	for what, err := range map[string]error{
		"read":   errOf(lost.Read(ctx, p, 0)),
		"close":  lost.Flush(ctx),
		"lookup": errOf(v.Lookup(ctx, RootIno, "lost")),
		"write":  errOf(h.Write(ctx, p, 0, false)),
		"unlink": v.Unlink(ctx, RootIno, "kept"),
		"rename": v.Rename(ctx, RootIno, "kept", RootIno, "other", 0),
		"sync":   v.Sync(ctx),
	} {
		if !sameErr(unix.EIO, err) {
			t.Errorf("%s: %v, want EIO", what, err)
		}
	}
	h.Release()
	lost.Release()
	v.medium.SetRule(nil)
	v.die(ctx)
	v.revive()
	v.want(ctx, "kept", kept)
	v.end()
}

// TestDamagedReads gives reads of the medium errors that mean something else to an
// application than to whoever asked the medium.
func TestDamagedReads(t *testing.T) {
	ctx := watched(t, time.Minute)
	v := newVolume(t, 1<<30, func(v *volume) {
		v.cfg.Space = func(ctx context.Context) (Space, error) {
			_, err := v.medium.Space(ctx)
			return Space{}, err
		}
	})
	h, err := v.writeFile(ctx, "file", noise(1, 3_000_000))
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	v.end()
	v.revive()
	e, err := v.walk(ctx, "file")
	if err != nil {
		t.Fatal(err)
	}
	if h, err = v.Open(ctx, e.Ino, unix.O_RDWR); err != nil {
		t.Fatal(err)
	}
	for k, errno := range []unix.Errno{unix.ENOENT, unix.EAGAIN, unix.ENOSPC, unix.EINTR} {
		v.medium.SetRule(faulty.Fail(fmt.Errorf("chunk is not here: %w", errno), faulty.Read, faulty.Space))
		if _, err := h.Read(ctx, make([]byte, 4096), int64(k)*700_000); !sameErr(unix.EIO, err) {
			t.Errorf("read where the medium says %v: %v", errno, err)
		}
		if _, err := v.Statfs(ctx); !sameErr(unix.EIO, err) {
			t.Errorf("statfs where the medium says %v: %v", errno, err)
		}
	}
	v.medium.SetRule(nil)
	h.Release()
	v.want(ctx, "file", noise(1, 3_000_000))
	v.end()
}

// TestSlowMedium lets many write and sync to a medium that takes its time.
func TestSlowMedium(t *testing.T) {
	ctx := watched(t, 2*time.Minute)
	v := newVolume(t, 1<<30, func(v *volume) { v.cfg.MaxDirty = 64 * deltaCost })
	v.medium.SetRule(func(ctx context.Context, op faulty.Op, _ string) error {
		if op == faulty.Sync || op == faulty.Append {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		return nil
	})
	var busy sync.WaitGroup
	for g := range 8 {
		busy.Go(func() {
			for k := range 25 {
				h, err := v.writeFile(ctx, fmt.Sprint(g, "-", k), noise(uint64(g*100+k), 40_000*(g%3)+17))
				if err == nil {
					h.Release()
				}
				if err == nil && k%5 == g%5 {
					err = v.Sync(ctx)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	busy.Wait()
	v.medium.SetRule(nil)
	v.end()
	v.revive()
	for g := range 8 {
		for k := range 25 {
			v.want(ctx, fmt.Sprint(g, "-", k), noise(uint64(g*100+k), 40_000*(g%3)+17))
		}
	}
	v.end()
}

// TestOrphansOverACrash keeps unlinked files readable while they are open, and
// leaves nothing of them behind a crash.
func TestOrphansOverACrash(t *testing.T) {
	ctx := watched(t, time.Minute)
	v := newVolume(t, 1<<30, nil)
	content := noise(1, 200_000)
	h, err := v.writeFile(ctx, "file", content)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Link(ctx, h.Ino(), RootIno, "second"); err != nil {
		t.Fatal(err)
	}
	_, tmp, err := v.Tmpfile(ctx, someone, RootIno, 0o600, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.Sync(ctx), v.Unlink(ctx, RootIno, "file"), v.Unlink(ctx, RootIno, "second"), v.Sync(ctx)); err != nil {
		t.Fatal(err)
	}
	for v.dirty.Load() > 0 && ctx.Err() == nil {
	}
	if left, err := v.cfg.Index.Orphans(); err != nil || len(left) != 2 {
		t.Fatalf("unlinked and open: %v, %v", left, err)
	}
	got := make([]byte, len(content))
	if _, err := h.Read(ctx, got, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read of an unlinked file: %v", err)
	}
	ino, tmpIno := h.Ino(), tmp.Ino()
	crashed, err := v.medium.Crash(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	v.die(ctx)
	v.medium = crashed
	v.revive()
	for _, n := range []Ino{ino, tmpIno} {
		if _, err := v.Getattr(ctx, n); !sameErr(unix.ENOENT, err) {
			t.Errorf("inode %d after a crash: %v", n, err)
		}
	}
	v.end()
	v.revive()
	defer v.end()
	if left, err := v.cfg.Index.Orphans(); err != nil || len(left) > 0 {
		t.Errorf("orphans %v are left, %v", left, err)
	}
	if inodes, bytes := v.cfg.Index.Counts(); inodes != 1 || bytes != 0 {
		t.Errorf("%d inodes, %d bytes are left", inodes, bytes)
	}
}

func errOf[T any](_ T, err error) error { return err }
