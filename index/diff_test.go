package index

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// TestDiff applies the same random batches one by one, and in a few large steps: the two indexes say the same. Any one
// record more or less is told.
func TestDiff(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	open := func(name string) *Index {
		x, err := Open(filepath.Join(t.TempDir(), name), testID)
		noError(t, err)
		t.Cleanup(func() { noError(t, x.Close()) })
		x.db.NoSync = true
		return x
	}
	const rounds = 60
	var batches []Batch
	var archives []uint32
	for n := range rounds {
		var records []chunkfmt.Record
		for range 1 + rng.IntN(6) {
			ino := chunkfmt.Ino(2 + rng.IntN(9))
			name := fmt.Sprint("name", 3+rng.IntN(5))
			switch rng.IntN(9) {
			case 0:
				records = append(records, del(chunkfmt.RecInode, chunkfmt.InodeKey(ino)))
			case 1:
				cookie := uint64(3 + rng.IntN(5)) // no two names have one
				records = append(records, recDirent(1, fmt.Sprint("name", cookie), chunkfmt.Dirent{Ino: ino, Type: unix.DT_REG, Cookie: cookie}))
			case 2:
				records = append(records, del(chunkfmt.RecDirent, chunkfmt.DirentKey(1, name)))
			case 3:
				records = append(records, recInode(ino, file(uint64(n))), rec(chunkfmt.RecXattr, chunkfmt.XattrKey(ino, "user.x"), []byte(name)))
			case 4:
				records = append(records, recGroup(chunkfmt.GroupRecord{Seq: chunkfmt.Seq(ino), RawLen: 1, Blocks: []chunkfmt.BlockRecord{{Length: 1}}}))
			case 5:
				records = append(records, recHealed(chunkfmt.Seq(ino), chunkfmt.Healed{Length: 1, Group: chunkfmt.Seq(n + 1)}))
			default:
				e := chunkfmt.Extent{
					Offset: uint64(rng.IntN(2000)) * 4096, Length: uint64(1+rng.IntN(60)) * 4096,
					Group: chunkfmt.Seq(rng.IntN(50)), GroupOffset: 0,
				}
				records = append(records, recInode(ino, file(1<<30)), recExtent(ino, e))
			}
		}
		if rng.IntN(4) == 0 {
			archives = append(archives, uint32(len(archives)+1))
			records = append(records, recArchive(archives[len(archives)-1]))
		}
		batches = append(batches, Batch{Records: records})
	}
	a, b := open("a"), open("b")
	head := func(n int) Head { return Head{Ordinal: 1, Seq: chunkfmt.Seq(n)} }
	for i := range batches {
		noError(t, a.Apply(batches[i:i+1], head(i+1), nil))
	}
	for i := 0; i < len(batches); {
		n := min(len(batches), i+1+rng.IntN(30))
		noError(t, b.Apply(batches[i:n], head(n), locateAll))
		i = n
	}
	diff := func() (all []string) {
		noError(t, Diff(a, b, archives, func(what string) bool {
			all = append(all, what)
			return len(all) < 10
		}))
		return all
	}
	for _, what := range diff() {
		t.Errorf("applied in other steps: %s", what)
	}
	for i, r := range []chunkfmt.Record{
		recInode(3, file(12345)), recDirent(1, "other", chunkfmt.Dirent{Ino: 3, Type: unix.DT_REG, Cookie: 99}),
		recExtent(4, chunkfmt.Extent{Offset: 5 << 30, Length: 1, Group: 7}), rec(chunkfmt.RecBad, chunkfmt.BadKey(77), nil),
		recGroup(chunkfmt.GroupRecord{Seq: 1000, RawLen: 1, Blocks: []chunkfmt.BlockRecord{{Length: 1}}}), recArchive(1000),
	} {
		noError(t, a.Apply([]Batch{{Records: []chunkfmt.Record{r}}}, head(rounds+i+1), nil))
		noError(t, b.Apply(nil, head(rounds+i+1), nil))
		if len(diff()) == 0 {
			t.Errorf("a record of kind %v in one index only is not told", r.Kind)
		}
		noError(t, b.Apply([]Batch{{Records: []chunkfmt.Record{r}}}, head(rounds+i+1), nil))
		for _, what := range diff() {
			t.Errorf("after a record of kind %v in both: %s", r.Kind, what)
		}
	}
}
