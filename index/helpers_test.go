package index

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"coffer/chunkfmt"
)

var testID = Identity{Store: chunkfmt.StoreID{1}, Volume: chunkfmt.VolumeID{2}}

func openTemp(t testing.TB) *Index {
	t.Helper()
	x, err := Open(filepath.Join(t.TempDir(), "index"), testID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

// openRapid opens an empty index that does not sync, for many short checks.
func openRapid(t *rapid.T) (x *Index, done func()) {
	dir, err := os.MkdirTemp("", "index")
	noError(t, err)
	x, err = Open(filepath.Join(dir, "index"), testID)
	noError(t, err)
	x.db.NoSync, x.db.NoGrowSync = true, true
	return x, func() {
		noError(t, x.Close())
		noError(t, os.RemoveAll(dir))
	}
}

func rec(kind chunkfmt.RecordKind, key, value []byte) chunkfmt.Record {
	return chunkfmt.Record{Op: chunkfmt.OpPut, Kind: kind, Key: key, Value: value}
}

func del(kind chunkfmt.RecordKind, key []byte) chunkfmt.Record {
	return chunkfmt.Record{Op: chunkfmt.OpDelete, Kind: kind, Key: key}
}

func recInode(ino chunkfmt.Ino, i chunkfmt.Inode) chunkfmt.Record {
	return rec(chunkfmt.RecInode, chunkfmt.InodeKey(ino), i.Append(nil))
}

func recDirent(parent chunkfmt.Ino, name string, d chunkfmt.Dirent) chunkfmt.Record {
	return rec(chunkfmt.RecDirent, chunkfmt.DirentKey(parent, name), d.Append(nil))
}

func recExtent(ino chunkfmt.Ino, e chunkfmt.Extent) chunkfmt.Record {
	return rec(chunkfmt.RecExtent, chunkfmt.ExtentKey(ino, e.Offset), e.Append(nil))
}

func recGroup(g chunkfmt.GroupRecord) chunkfmt.Record {
	return rec(chunkfmt.RecGroup, chunkfmt.GroupKey(g.Seq), g.Append(nil))
}

func recArchive(n uint32) chunkfmt.Record {
	a := chunkfmt.ArchiveRecord{Number: n, Label: fmt.Sprint("archive ", n)}
	return rec(chunkfmt.RecArchive, chunkfmt.ArchiveKey(n), a.Append(nil))
}

func file(size uint64) chunkfmt.Inode {
	return chunkfmt.Inode{Attr: chunkfmt.Attr{Mode: unix.S_IFREG | 0o644, Nlink: 1, Size: size}}
}

func dir() chunkfmt.Inode {
	return chunkfmt.Inode{Attr: chunkfmt.Attr{Mode: unix.S_IFDIR | 0o755, Nlink: 2}}
}

func apply(t testing.TB, x *Index, records ...chunkfmt.Record) {
	t.Helper()
	h := x.Head()
	h.Ordinal, h.Seq = 1, h.Seq+1
	if err := x.Apply([]Batch{{Records: records}}, h, nil); err != nil {
		t.Fatal(err)
	}
}

// fingerprint makes the n-th of a series of good fingerprints.
func fingerprint(n uint64) (f chunkfmt.Fingerprint) {
	binary.BigEndian.PutUint64(f[:], n*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(f[8:], n)
	return f
}

// tree makes the records of a new tree of n files, 20 in a directory, with inode
// numbers from first on.
func tree(first chunkfmt.Ino, n int) []chunkfmt.Record {
	var r []chunkfmt.Record
	ino, seq := first, chunkfmt.MakeSeq(1, uint64(first)*10)
	var at chunkfmt.Ino
	for i := range n {
		if i%20 == 0 {
			at = ino
			ino++
			r = append(r, recInode(at, dir()),
				recDirent(1, fmt.Sprintf("directory-%d", at), chunkfmt.Dirent{Ino: at, Type: unix.DT_DIR, Cookie: uint64(at) + 3}))
		}
		if i%8 == 0 {
			seq++
			g := chunkfmt.GroupRecord{Seq: seq}
			for b := range 8 {
				g.Blocks = append(g.Blocks, chunkfmt.BlockRecord{Fingerprint: fingerprint(uint64(seq)<<8 | uint64(b)), Length: 9000})
				g.RawLen += 9000
			}
			r = append(r, recGroup(g))
		}
		r = append(r, recInode(ino, file(9000)),
			recDirent(at, fmt.Sprintf("some-file-name-%d.go", i), chunkfmt.Dirent{Ino: ino, Type: unix.DT_REG, Cookie: uint64(i%20) + 3}),
			recExtent(ino, chunkfmt.Extent{Length: 9000, Group: seq, GroupOffset: uint32(i%8) * 9000}))
		ino++
	}
	return r
}

// growing applies trees of 500 files, one after the other, until the function that it gives is called.
func growing(t *testing.T, x *Index) (end func()) {
	var applying sync.WaitGroup
	stop := make(chan struct{})
	applying.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
				apply(t, x, tree(chunkfmt.Ino(1000*n), 500)...)
			}
		}
	})
	return func() {
		close(stop)
		applying.Wait()
	}
}

// wantCounted wants an index to have as many inodes as it says, and no fewer than one tree.
func wantCounted(t *testing.T, what string, x *Index) {
	t.Helper()
	inodes, _ := x.Counts()
	var counted uint64
	noError(t, x.each(inodesTable(), func(_, _ []byte, _ *section) (bool, error) {
		counted++
		return true, nil
	}))
	if counted != inodes || counted < 500 {
		t.Errorf("%s says that it has %d inodes, and has %d", what, inodes, counted)
	}
}
