package index

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"coffer/chunkfmt"
)

func recHealed(damaged chunkfmt.Seq, h chunkfmt.Healed) chunkfmt.Record {
	return rec(chunkfmt.RecHealed, chunkfmt.HealedKey(damaged, h.Offset), h.Append(nil))
}

func wantHealed(t *testing.T, x *Index, seq chunkfmt.Seq, want ...chunkfmt.Healed) {
	t.Helper()
	got, err := x.Healed(seq)
	noError(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("group %v is healed by %v, want %v", seq, got, want)
	}
	all := 0
	noError(t, x.HealedBlocks(func(damaged chunkfmt.Seq, h chunkfmt.Healed) bool {
		if damaged == seq {
			all++
		}
		return true
	}))
	if all != len(want) {
		t.Errorf("group %v has %d healed blocks in the list of all, want %d", seq, all, len(want))
	}
}

func TestHealed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	x, err := Open(path, testID)
	noError(t, err)
	defer func() { noError(t, x.Close()) }()
	one := chunkfmt.Healed{Offset: 0, Length: 10, Group: 20, GroupOffset: 5}
	two := chunkfmt.Healed{Offset: 10, Length: 7, Group: 21}
	wantHealed(t, x, 9)
	apply(t, x, rec(chunkfmt.RecBad, chunkfmt.BadKey(9), nil), recHealed(9, two), recHealed(9, one), recHealed(10, one), recHealed(8, two))
	wantHealed(t, x, 9, one, two)
	noError(t, x.Close())
	x, err = Open(path, testID)
	noError(t, err)
	wantHealed(t, x, 9, one, two)

	// A later place of a block replaces the earlier.
	two.Group = 22
	apply(t, x, recHealed(9, two))
	wantHealed(t, x, 9, one, two)

	// What the groups that heal are healed from is needed too, whatever leads back.
	apply(t, x, recHealed(22, chunkfmt.Healed{Length: 7, Group: 30}), recHealed(30, chunkfmt.Healed{Length: 7, Group: 9}))
	var needs []chunkfmt.Seq
	noError(t, x.Needs(9, func(seq chunkfmt.Seq) bool { needs = append(needs, seq); return true }))
	if !slices.Equal(needs, []chunkfmt.Seq{20, 22, 30}) {
		t.Errorf("group 9 needs %v", needs)
	}

	// That it is whole again ends it, but not what is said afterwards.
	apply(t, x, del(chunkfmt.RecBad, chunkfmt.BadKey(9)), rec(chunkfmt.RecBad, chunkfmt.BadKey(9), nil), recHealed(9, two))
	wantHealed(t, x, 9, two)
	wantHealed(t, x, 10, one)
	apply(t, x, recHealed(9, one), del(chunkfmt.RecBad, chunkfmt.BadKey(9)))
	wantHealed(t, x, 9)
	wantHealed(t, x, 8, chunkfmt.Healed{Offset: 10, Length: 7, Group: 21})

	// So does the end of the group.
	apply(t, x, recGroup(chunkfmt.GroupRecord{Seq: 10, RawLen: 1, Blocks: []chunkfmt.BlockRecord{{Length: 1}}}), rec(chunkfmt.RecBad, chunkfmt.BadKey(10), nil))
	apply(t, x, del(chunkfmt.RecGroup, chunkfmt.GroupKey(10)))
	wantHealed(t, x, 10)
	if _, is, err := x.Bad(10); is || err != nil {
		t.Errorf("a group that is gone is bad still (%v)", err)
	}
}

// TestHealedOfMoved: where the blocks of a group are that was moved is said for good, also if it is called damaged, and
// whole again, by who had not learnt of it yet.
func TestHealedOfMoved(t *testing.T) {
	group := func(seq chunkfmt.Seq) chunkfmt.Record {
		return recGroup(chunkfmt.GroupRecord{Seq: seq, RawLen: 3, Blocks: []chunkfmt.BlockRecord{{Length: 1}, {Length: 2}}})
	}
	was := chunkfmt.Healed{Length: 1, Group: 20}
	now := chunkfmt.Healed{Offset: 1, Length: 2, Group: 21}
	moved := chunkfmt.Removed{First: 9, Last: 9}
	all := []chunkfmt.Record{
		group(8), group(9), group(10), rec(chunkfmt.RecBad, chunkfmt.BadKey(9), nil), recHealed(9, was),
		del(chunkfmt.RecBad, chunkfmt.BadKey(9)), // what was said before it was moved goes
		recHealed(9, now), rec(chunkfmt.RecMoved, chunkfmt.RemovedKey(9), moved.Append(nil)),
		rec(chunkfmt.RecBad, chunkfmt.BadKey(9), nil), del(chunkfmt.RecBad, chunkfmt.BadKey(9)),
	}
	for n := range len(all) { // applied in two commits
		x, err := Open(filepath.Join(t.TempDir(), "index"), testID)
		noError(t, err)
		apply(t, x, all[:n]...)
		apply(t, x, all[n:]...)
		wantHealed(t, x, 9, now)
		for _, seq := range []chunkfmt.Seq{8, 10} { // beside it
			apply(t, x, rec(chunkfmt.RecBad, chunkfmt.BadKey(seq), nil), recHealed(seq, was))
			apply(t, x, del(chunkfmt.RecBad, chunkfmt.BadKey(seq)))
			wantHealed(t, x, seq)
		}
		noError(t, x.Close())
	}
}

// TestUses overwrites parts of files over many archives and compares what is said of each group with what each
// archive's extents say.
func TestUses(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	x, err := Open(filepath.Join(t.TempDir(), "index"), testID)
	noError(t, err)
	defer func() { noError(t, x.Close()) }()
	const files, groups, archives = 5, 12, 20
	for n := range uint32(archives) {
		var records []chunkfmt.Record
		for range rng.IntN(4) {
			ino := chunkfmt.Ino(2 + rng.IntN(files))
			switch rng.IntN(6) {
			case 0:
				records = append(records, del(chunkfmt.RecInode, chunkfmt.InodeKey(ino)))
			default:
				e := chunkfmt.Extent{Offset: uint64(rng.IntN(400)) << 18, Length: 1 << 18, Group: chunkfmt.Seq(1 + rng.IntN(groups))}
				records = append(records, recInode(ino, file(1<<30)), recExtent(ino, e))
			}
		}
		apply(t, x, append(records, recArchive(n+1))...)
	}
	all := func(r *Reader) (uses []string) {
		for ino := chunkfmt.Ino(2); ino < 2+files; ino++ {
			noError(t, r.Extents(ino, 0, 1<<62, func(e chunkfmt.Extent) bool {
				uses = append(uses, fmt.Sprint(ino, e.Group))
				return true
			}))
		}
		slices.Sort(uses)
		return slices.Compact(uses)
	}
	for at := uint32(1); at <= archives+1; at++ {
		if at > archives {
			at = Present
		}
		var told []string
		for g := chunkfmt.Seq(1); g <= groups; g++ {
			noError(t, x.Uses(func(s chunkfmt.Seq) bool { return s == g }, func(u Use) bool {
				if u.From <= at && (at < u.To || u.To == Present) {
					told = append(told, fmt.Sprint(u.Ino, u.Group))
				}
				return true
			}))
		}
		slices.Sort(told)
		if want := all(x.At(at)); !slices.Equal(slices.Compact(told), want) {
			t.Errorf("archive %d: told %v, want %v", at, told, want)
		}
		if at == Present {
			break
		}
	}
}
