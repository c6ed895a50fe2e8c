package tree

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// archives lists what the index has, by time.
func (v *volume) archives() (all []chunkfmt.ArchiveRecord) {
	v.t.Helper()
	err := v.source.Index().Archives(0, func(a chunkfmt.ArchiveRecord) bool {
		all = append(all, a)
		return true
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return all
}

func (v *volume) snapshot(label string, wantMade bool) chunkfmt.ArchiveRecord {
	v.t.Helper()
	a, made, err := v.Snapshot(v.t.Context(), label)
	if err != nil {
		v.t.Fatal(err)
	}
	if made != wantMade {
		v.t.Fatalf("snapshot %q made one: %v, want %v", label, made, wantMade)
	}
	return a
}

func (v *volume) mkdir(name string) {
	v.t.Helper()
	if _, err := v.Mkdir(v.t.Context(), someone, RootIno, name, 0o755); err != nil {
		v.t.Fatal(err)
	}
}

// TestSnapshot seals archives with and without changes and labels, several in one
// second and after the clock went back, and over an end of the session.
func TestSnapshot(t *testing.T) {
	v := newVolume(t, 64<<20, func(v *volume) { v.cfg.Relatime = true })
	v.clock.Store(1000)
	first := v.snapshot("", true) // the root directory
	v.snapshot("", false)
	v.mkdir("a")
	second := v.snapshot("", true)
	v.snapshot("", false)
	third := v.snapshot("labelled", true)
	v.clock.Store(900)
	v.mkdir("b")
	fourth := v.snapshot("", true)
	v.clock.Store(1000)
	fifth := v.snapshot("again", true)
	for k, want := range map[*chunkfmt.ArchiveRecord]int64{
		&first: 1000e9, &second: 1000e9 + 1, &third: 1000e9 + 2, &fourth: 900e9, &fifth: 1000e9 + 3,
	} {
		if k.Time != want {
			t.Errorf("archive %d is of %d, want %d", k.Number, k.Time, want)
		}
	}
	if n := len(v.archives()); n != 5 || fifth.Number != 5 || fifth.Label != "again" || fifth.Files != 3 {
		t.Errorf("%d archives, the last is %+v", n, fifth)
	}
	// Listing moves access times, which is no reason for an archive.
	v.clock.Store(1001)
	v.Accessed(RootIno)
	if a, err := v.Getattr(t.Context(), RootIno); err != nil || a.Atime.Sec != 1001 {
		t.Errorf("the access time is %v, %v", a.Atime, err)
	}
	v.snapshot("", false)

	// What a session left unsealed is sealed in the next.
	v.mkdir("c")
	v.end()
	v.below()
	v.start()
	v.snapshot("", true)
	v.end()
	v.below()
	v.start()
	v.snapshot("", false)
	v.end()
}

// TestSnapshotsName is the one name in the root that is not the tree's.
func TestSnapshotsName(t *testing.T) {
	v := newVolume(t, 64<<20, nil)
	ctx := t.Context()
	v.mkdir("dir")
	dir, err := v.Lookup(ctx, RootIno, "dir")
	if err != nil {
		t.Fatal(err)
	}
	file, h, err := v.Create(ctx, someone, RootIno, "file", 0o644, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	_, mkdir := v.Mkdir(ctx, someone, RootIno, Snapshots, 0o755)
	_, _, create := v.Create(ctx, someone, RootIno, Snapshots, 0o644, unix.O_RDWR)
	_, link := v.Link(ctx, file.Ino, RootIno, Snapshots)
	for what, err := range map[string]error{
		"mkdir": mkdir, "create": create, "link": link,
		"rename to":   v.Rename(ctx, RootIno, "file", RootIno, Snapshots, 0),
		"rename from": v.Rename(ctx, RootIno, Snapshots, RootIno, "x", 0),
		"unlink":      v.Unlink(ctx, RootIno, Snapshots),
		"rmdir":       v.Rmdir(ctx, RootIno, Snapshots),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v, want EROFS", what, err)
		}
	}
	if _, err := v.Mkdir(ctx, someone, dir.Ino, Snapshots, 0o755); err != nil {
		t.Errorf("below the root it is a name like others: %v", err)
	}
	v.end()
}

// TestArchiveEvery seals unasked, and only after changes.
func TestArchiveEvery(t *testing.T) {
	v := newVolume(t, 64<<20, func(v *volume) { v.cfg.ArchiveEvery = time.Millisecond })
	ctx := watched(t, time.Minute)
	for n, name := range []string{"", "a", "b"} {
		if name != "" {
			v.mkdir(name)
		}
		for len(v.archives()) <= n {
			if err := ctx.Err(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // nobody tells of archives that nobody asked for
		}
	}
	v.snapshot("", false)
	if n := len(v.archives()); n != 3 {
		t.Errorf("%d archives after three changes", n)
	}
	v.end()
}
