package index

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"coffer/chunkfmt"
)

func TestOpenKeepsState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	x, err := Open(path, testID)
	noError(t, err)
	if x.Head() != (Head{}) || x.NextIno() != chunkfmt.RootIno || x.Archive() != 1 {
		t.Fatalf("new index: %+v, next inode %d, archive %d", x.Head(), x.NextIno(), x.Archive())
	}
	head := Head{Session: chunkfmt.SessionID{9}, Ordinal: 3, Seq: chunkfmt.MakeSeq(3, 4), Chain: chunkfmt.Hash{5}}
	next := binary.BigEndian.AppendUint64(nil, 1000)
	noError(t, x.Apply([]Batch{{Records: []chunkfmt.Record{
		recInode(1, dir()), recInode(8, file(100)), recArchive(1), recInode(9, file(11)),
		rec(chunkfmt.RecMeta, chunkfmt.MetaKey(MetaNextIno), next),
		rec(chunkfmt.RecBad, chunkfmt.BadKey(5), []byte("rot")),
	}}}, head, nil))
	for _, again := range []bool{false, true} {
		if again {
			noError(t, x.Close())
			x, err = Open(path, testID)
			noError(t, err)
		}
		n, bytes := x.Counts()
		if x.Head() != head || x.NextIno() != 1000 || x.Archive() != 2 || n != 3 || bytes != 111 {
			t.Fatalf("%+v, next inode %d, archive %d, %d inodes, %d bytes", x.Head(), x.NextIno(), x.Archive(), n, bytes)
		}
		if v, ok, err := x.Meta(MetaNextIno); err != nil || !ok || string(v) != string(next) {
			t.Fatal(v, ok, err)
		}
		if why, is, err := x.Bad(5); err != nil || !is || why != "rot" {
			t.Fatal(why, is, err)
		}
		var all []chunkfmt.Seq
		noError(t, x.BadGroups(func(seq chunkfmt.Seq, why string) bool { all = append(all, seq); return why == "rot" }))
		if !slices.Equal(all, []chunkfmt.Seq{5}) {
			t.Fatal(all)
		}
	}
	noError(t, x.Close())
}

func TestNextInoOfDeleted(t *testing.T) {
	x := openTemp(t)
	apply(t, x, recInode(40, file(1)))
	apply(t, x, del(chunkfmt.RecInode, chunkfmt.InodeKey(40)))
	if n := x.NextIno(); n != 41 {
		t.Fatalf("next inode %d, want 41", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "index")
	x, err := Open(path, testID)
	noError(t, err)
	if _, err := Open(path, testID); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v, want ErrLocked", err)
	}
	noError(t, x.Close())
	for _, id := range []Identity{{Store: testID.Store}, {Volume: testID.Volume}} {
		if _, err := Open(path, id); !errors.Is(err, ErrRebuild) {
			t.Fatalf("other identity: %v, want ErrRebuild", err)
		}
	}
	other := filepath.Join(dir, "text")
	noError(t, os.WriteFile(other, []byte("this is a letter, and no index at all\n"), 0o600))
	if _, err := Open(other, testID); !errors.Is(err, ErrRebuild) {
		t.Fatalf("letter: %v, want ErrRebuild", err)
	}
	for range 2 {
		noError(t, Remove(other))
	}
	x, err = Open(other, testID)
	noError(t, err)
	noError(t, x.Close())
	if err := x.Apply(nil, Head{}, nil); err == nil {
		t.Fatal("a closed index applies")
	}
	if _, _, err := x.Inode(1); err == nil {
		t.Fatal("a closed index answers")
	}
}

// TestApplyRefuses checks that a record that makes no sense changes nothing.
func TestApplyRefuses(t *testing.T) {
	x := openTemp(t)
	apply(t, x, recInode(1, dir()))
	before := dumpReader(t, &x.Reader, modelUnit) + wholeIndex(t, x)
	for what, r := range map[string]chunkfmt.Record{
		"kind":              rec(99, []byte("12345678"), nil),
		"operation":         {Op: 7, Kind: chunkfmt.RecInode, Key: chunkfmt.InodeKey(2)},
		"inode key":         rec(chunkfmt.RecInode, []byte("short"), nil),
		"inode zero":        recInode(0, file(1)),
		"inode value":       rec(chunkfmt.RecInode, chunkfmt.InodeKey(2), []byte("x")),
		"dirent key":        rec(chunkfmt.RecDirent, chunkfmt.InodeKey(2), nil),
		"dirent value":      rec(chunkfmt.RecDirent, chunkfmt.DirentKey(2, "a"), nil),
		"extent deleted":    del(chunkfmt.RecExtent, chunkfmt.ExtentKey(2, 0)),
		"extent value":      rec(chunkfmt.RecExtent, chunkfmt.ExtentKey(2, 0), nil),
		"extent over end":   recExtent(2, chunkfmt.Extent{Offset: endOfFile - 1, Length: 9, Group: 1}),
		"extent key":        rec(chunkfmt.RecExtent, chunkfmt.InodeKey(2), nil),
		"group value":       rec(chunkfmt.RecGroup, chunkfmt.GroupKey(2), nil),
		"group key":         rec(chunkfmt.RecGroup, nil, nil),
		"archive value":     rec(chunkfmt.RecArchive, chunkfmt.ArchiveKey(2), nil),
		"archive key":       rec(chunkfmt.RecArchive, nil, nil),
		"archive too large": recArchive(Present - 1),
		"meta key":          rec(chunkfmt.RecMeta, nil, nil),
		"next inode":        rec(chunkfmt.RecMeta, chunkfmt.MetaKey(MetaNextIno), []byte("x")),
	} {
		b := []Batch{{Records: []chunkfmt.Record{recInode(5, file(5)), r}}}
		if err := x.Apply(b, headAt(9), nil); !errors.Is(err, chunkfmt.ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", what, err)
		}
		same(t, what, dumpReader(t, &x.Reader, modelUnit)+wholeIndex(t, x), before)
	}
	apply(t, x, recInode(5, file(5)))
}

// TestSpare looks for what the kernel says is mapped of an index that is read all over, and of one that is spared.
func TestSpare(t *testing.T) {
	x := openTemp(t)
	const files = 50_000
	apply(t, x, tree(2, files)...)
	random := rand.New(rand.NewPCG(1, 2))
	read := func(n int) {
		for range n {
			ino := 2 + chunkfmt.Ino(random.IntN(files))
			if _, ok, err := x.Inode(ino); err != nil || !ok {
				t.Fatalf("inode %d: %v, %v", ino, ok, err)
			}
		}
	}
	read(1000)
	before := mapped(t, x.db.Path())
	x.Spare()
	for range 20 {
		read(100)
		// What few reads touch is what was read since, and the pages above.
		if after := mapped(t, x.db.Path()); after*2 > before {
			t.Fatalf("%d KiB are mapped of the index, %d were", after, before)
		}
	}
	apply(t, x, tree(2+files, files)...)
	if after := mapped(t, x.db.Path()); after*10 > before {
		t.Errorf("%d KiB are mapped of the index after changes, %d were", after, before)
	}
	read(1000)
}

// mapped is how many KiB of a file are in the memory of this process.
func mapped(t *testing.T, path string) (kib int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	noError(t, err)
	of := false
	for line := range strings.Lines(string(maps)) {
		switch fields := strings.Fields(line); {
		case !strings.HasSuffix(fields[0], ":"):
			of = fields[len(fields)-1] == path
		case of && fields[0] == "Rss:":
			n, err := strconv.Atoi(fields[1])
			noError(t, err)
			kib += n
		}
	}
	return kib
}

// TestReadDuringApply reads a file from many goroutines while it is replaced again
// and again: each sees one whole version.
func TestReadDuringApply(t *testing.T) {
	x := openTemp(t)
	x.db.NoSync = true
	x.Spare()
	version := func(n uint64) []chunkfmt.Record {
		return []chunkfmt.Record{
			recInode(2, file(n)),
			recExtent(2, chunkfmt.Extent{Length: 100, Group: chunkfmt.Seq(n)}),
			recExtent(2, chunkfmt.Extent{Offset: segmentSize, Length: 100, Group: chunkfmt.Seq(n)}),
		}
	}
	apply(t, x, version(1)...)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for last := uint64(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				var seen []chunkfmt.Seq
				if err := x.Extents(2, 0, endOfFile, func(e chunkfmt.Extent) bool {
					seen = append(seen, e.Group)
					return true
				}); err != nil || len(seen) != 2 || seen[0] != seen[1] || uint64(seen[0]) < last {
					t.Errorf("after version %d: %v, %v", last, seen, err)
					return
				}
				last = uint64(seen[0])
			}
		})
	}
	for n := uint64(2); n < 300; n++ {
		apply(t, x, version(n)...)
	}
	close(stop)
	readers.Wait()
}

// TestCallerPanics checks that a panic of a callback is the caller's own.
func TestCallerPanics(t *testing.T) {
	x := openTemp(t)
	apply(t, x, recDirent(1, "a", chunkfmt.Dirent{Ino: 2, Cookie: 3}))
	defer func() {
		if r := recover(); r != "mine" {
			t.Fatalf("recovered %v", r)
		}
	}()
	_ = x.ReadDir(1, 0, 0, func(string, chunkfmt.Dirent) bool { panic("mine") })
}
