package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"coffer/chunkfmt"
)

// past is a model with archives that can be forgotten.
type past struct {
	*model
	states map[uint32]string                    // of archives that are kept
	refers map[uint32]map[chunkfmt.Seq]struct{} // the groups of each
	gone   map[chunkfmt.Seq]struct{}            // groups that were removed
	last   uint32                               // archive
}

// referred are the groups of the present.
func (p *past) referred() map[chunkfmt.Seq]struct{} {
	all := map[chunkfmt.Seq]struct{}{}
	for _, cells := range p.cells {
		for _, c := range cells {
			all[c.group] = struct{}{}
		}
	}
	return all
}

// garbage are the groups that nothing refers to, without some archives.
func (p *past) garbage(without ...uint32) (all []chunkfmt.Seq) {
	live := p.referred()
	for n, groups := range p.refers {
		if !slices.Contains(without, n) {
			maps.Copy(live, groups)
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(p.groups)) {
		if _, ok := live[seq]; !ok {
			all = append(all, seq)
		}
	}
	return all
}

func (p *past) forget(n uint32) chunkfmt.Record {
	delete(p.states, n)
	delete(p.refers, n)
	p.sealed = slices.DeleteFunc(p.sealed, func(s uint32) bool { return s == n })
	return del(chunkfmt.RecArchive, chunkfmt.ArchiveKey(n))
}

func garbageOf(t require, x *Index, without ...uint32) *Garbage {
	t.Helper()
	g, err := x.Garbage(context.Background(), 0, without...)
	noError(t, err)
	return g
}

// listed are the groups of a set by all its ways to tell.
func listed(t require, x *Index, g *Garbage) (all []chunkfmt.Seq) {
	t.Helper()
	n := 0
	g.Ranges(3, func(r chunkfmt.Removed, groups int) bool {
		if n += groups; groups > 3 {
			t.Fatalf("%d groups in a range of at most 3", groups)
		}
		noError(t, x.Groups(func(rec chunkfmt.GroupRecord, _ chunkfmt.Location) bool {
			if rec.Seq >= r.First && rec.Seq <= r.Last {
				all = append(all, rec.Seq)
			}
			return true
		}))
		return true
	})
	noError(t, x.Groups(func(rec chunkfmt.GroupRecord, _ chunkfmt.Location) bool {
		if g.Has(rec.Seq) != slices.Contains(all, rec.Seq) {
			t.Fatalf("group %v is in the set: %v, and in its ranges: %v", rec.Seq, g.Has(rec.Seq), !g.Has(rec.Seq))
		}
		return true
	}))
	if n != len(all) || n != g.Len() {
		t.Fatalf("ranges of %d groups have %d, the set %d", n, len(all), g.Len())
	}
	return all
}

func removedRanges(t require, x *Index, first, last chunkfmt.Seq) (all []chunkfmt.Removed) {
	t.Helper()
	noError(t, x.Removed(first, last, func(r chunkfmt.Removed) bool {
		all = append(all, r)
		return true
	}))
	return all
}

// checkRemoved compares what the index says to be removed with the model.
func (p *past) checkRemoved(t require, x *Index) {
	t.Helper()
	in := func(seq chunkfmt.Seq) bool { return len(removedRanges(t, x, seq, seq)) == 1 }
	for seq := range p.gone {
		if !in(seq) {
			t.Fatalf("%v was removed and is not known to be", seq)
		}
	}
	for seq := range p.groups {
		if in(seq) {
			t.Fatalf("%v is there and known to be removed", seq)
		}
	}
	if n := len(removedRanges(t, x, 0, ^chunkfmt.Seq(0))); n > len(p.groups)+2 {
		t.Fatalf("%d ranges of removed groups among %d groups of 2 sessions", n, len(p.groups))
	}
}

// checkSwept wants no version that no archive needs.
func checkSwept(t require, x *Index) {
	t.Helper()
	noError(t, x.view(func(tx *bolt.Tx, _ *section) error {
		kept, err := sealedNumbers(tx)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if table.past == nil {
				continue
			}
			c := tx.Bucket(table.past).Cursor()
			for k, _ := c.First(); k != nil; k, _ = c.Next() {
				if !kept.within(interval(k)) {
					return fmt.Errorf("%s has %x, archives are %v", table.past, k, kept)
				}
			}
		}
		return nil
	}))
}

// TestForgetModel forgets archives and removes groups at random between random changes, sweeps
// now and then, and wants of all that is left what the model says, also of an index that is made
// anew from the same batches.
func TestForgetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, done := openRapid(t)
		defer done()
		p := &past{
			model: newModel(), states: map[uint32]string{}, refers: map[uint32]map[chunkfmt.Seq]struct{}{},
			gone: map[chunkfmt.Seq]struct{}{},
		}
		seq := chunkfmt.MakeSeq(1, 1)
		var all []Batch
		apply := func(r ...chunkfmt.Record) {
			if len(r) == 0 {
				return
			}
			b := Batch{Records: r}
			all = append(all, b)
			noError(t, x.Apply([]Batch{b}, Head{Ordinal: 1, Seq: seq}, locateAll))
		}
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0, 1, 2:
				var r []chunkfmt.Record
				for range rapid.IntRange(0, 12).Draw(t, "records") {
					one := drawRecord(t, p.model, &seq)
					p.changed = p.changed || one.Kind <= chunkfmt.RecExtent
					r = append(r, one)
				}
				apply(r...)
			case 3:
				p.last++
				p.sealed, p.changed = append(p.sealed, p.last), false
				p.states[p.last], p.refers[p.last] = p.dump(), p.referred()
				apply(recArchive(p.last))
			case 4:
				var r []chunkfmt.Record
				for _, n := range slices.Clone(p.sealed) {
					if rapid.Bool().Draw(t, "forget") {
						r = append(r, p.forget(n))
					}
				}
				apply(r...)
			case 5:
				noError(t, x.Sweep(context.Background()))
				checkSwept(t, x)
			case 6:
				g := garbageOf(t, x)
				if want, got := p.garbage(), listed(t, x, g); !slices.Equal(got, want) {
					t.Fatalf("nothing refers to %v, want %v", got, want)
				}
				var r []chunkfmt.Record
				g.Ranges(1+len(p.groups), func(rem chunkfmt.Removed, _ int) bool {
					if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
						return true
					}
					r = append(r, rec(chunkfmt.RecRemoved, chunkfmt.RemovedKey(rem.First), rem.Append(nil)))
					for s := rem.First; s <= rem.Last; s++ {
						delete(p.groups, s)
						p.gone[s] = struct{}{}
					}
					return true
				})
				apply(r...)
				p.checkRemoved(t, x)
			case 7:
				if rapid.Bool().Draw(t, "session") && seq.Ordinal() == 1 {
					seq = chunkfmt.MakeSeq(2, 1)
				}
				var without []uint32
				for _, n := range p.sealed {
					if rapid.Bool().Draw(t, "without") {
						without = append(without, n)
					}
				}
				if want, got := p.garbage(without...), listed(t, x, garbageOf(t, x, without...)); !slices.Equal(got, want) {
					t.Fatalf("without archives %v nothing refers to %v, want %v", without, got, want)
				}
			}
		}
		y, done := openRapid(t)
		defer done()
		for len(all) > 0 {
			n := rapid.IntRange(1, len(all)).Draw(t, "together")
			noError(t, y.Apply(all[:n], Head{Ordinal: 1, Seq: seq}, locateAll))
			all = all[n:]
		}
		noError(t, x.Sweep(context.Background()))
		checkSwept(t, x)
		for what, x := range map[string]*Index{"step by step": x, "rebuilt": y} {
			same(t, what, dumpReader(t, &x.Reader, modelUnit), p.dump())
			same(t, what, wholeIndex(t, x), p.whole())
			p.checkRemoved(t, x)
			for n, want := range p.states {
				same(t, fmt.Sprint(what, ", archive ", n), dumpReader(t, x.At(n), modelUnit), want)
			}
		}
		rx, ry := removedRanges(t, x, 0, ^chunkfmt.Seq(0)), removedRanges(t, y, 0, ^chunkfmt.Seq(0))
		if !slices.Equal(rx, ry) {
			t.Fatalf("removed are %v, in the rebuilt index %v", rx, ry)
		}
	})
}

// TestForgottenReader: a reader of an archive that is forgotten says so, and not that there was nothing.
func TestForgottenReader(t *testing.T) {
	x := openTemp(t)
	group := chunkfmt.MakeSeq(1, 1)
	apply(t, x, recInode(1, dir()), recInode(5, file(9)), recExtent(5, chunkfmt.Extent{Length: 9, Group: group}),
		recDirent(1, "name", chunkfmt.Dirent{Ino: 5, Type: unix.DT_REG, Cookie: 3}),
		rec(chunkfmt.RecXattr, chunkfmt.XattrKey(5, "user.a"), []byte("v")), sealed(1, 1, ""))
	apply(t, x, del(chunkfmt.RecInode, chunkfmt.InodeKey(5)), del(chunkfmt.RecDirent, chunkfmt.DirentKey(1, "name")))
	apply(t, x, sealed(2, 2, ""))
	reads := func(r *Reader) map[string]error {
		_, _, inode := r.Inode(5)
		_, _, dirent := r.Dirent(1, "name")
		_, _, xattr := r.Xattr(5, "user.a")
		return map[string]error{
			"inode": inode, "dirent": dirent, "xattr": xattr,
			"xattrs":  r.Xattrs(5, func(string, []byte) bool { return true }),
			"readdir": r.ReadDir(1, 0, 0, func(string, chunkfmt.Dirent) bool { return true }),
			"parents": r.Parents(5, func(chunkfmt.Ino, string) bool { return true }),
			"extents": r.Extents(5, 0, 9, func(chunkfmt.Extent) bool { return true }),
		}
	}
	for what, err := range reads(x.At(1)) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	apply(t, x, del(chunkfmt.RecArchive, chunkfmt.ArchiveKey(1)))
	for range 2 {
		for what, err := range reads(x.At(1)) {
			if !errors.Is(err, ErrForgotten) {
				t.Errorf("%s of an archive that was forgotten: %v", what, err)
			}
		}
		noError(t, x.Sweep(t.Context()))
	}
	for _, n := range []uint32{2, 3, 100} {
		for what, err := range reads(x.At(n)) {
			if err != nil {
				t.Errorf("archive %d, %s: %v", n, what, err)
			}
		}
	}
}

// TestStill: a group that something refers to again is in the set no more.
func TestStill(t *testing.T) {
	x := openTemp(t)
	group := func(seq chunkfmt.Seq) chunkfmt.Record {
		return recGroup(chunkfmt.GroupRecord{Seq: seq, RawLen: 5, Blocks: []chunkfmt.BlockRecord{{Length: 5}}})
	}
	a, live, c, b := chunkfmt.MakeSeq(1, 2), chunkfmt.MakeSeq(1, 3), chunkfmt.MakeSeq(1, 4), chunkfmt.MakeSeq(1, 70_000)
	apply(t, x, group(a), group(b), group(c), group(live), recInode(2, file(5)), recInode(3, file(5)),
		recExtent(3, chunkfmt.Extent{Length: 5, Group: live}))
	g := garbageOf(t, x)
	apply(t, x, recExtent(2, chunkfmt.Extent{Length: 5, Group: b}))
	now, err := x.Still(t.Context(), g)
	noError(t, err)
	if all := listed(t, x, now); !slices.Equal(all, []chunkfmt.Seq{a, c}) {
		t.Errorf("ranges hold %v", all)
	}
	if g.Len() != 3 || now.Len() != 2 || !now.Has(a) || now.Has(b) || !now.Has(c) || !g.Has(b) {
		t.Errorf("%d groups, then %d: %v %v %v", g.Len(), now.Len(), now.Has(a), now.Has(b), now.Has(c))
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Still(gone, now); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
	if _, err := x.Garbage(gone, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

// TestHealedGarbage: a group that a damaged one is read from is kept as long as that is, also over others that went bad
// since; and what is said of a removed group goes with it.
func TestHealedGarbage(t *testing.T) {
	x := openTemp(t)
	var seqs []chunkfmt.Seq
	records := []chunkfmt.Record{recInode(2, file(5))}
	for n := range uint64(5) {
		seq := chunkfmt.MakeSeq(1, 10-n) // each is read from the one before it
		seqs = append(seqs, seq)
		records = append(records, recGroup(chunkfmt.GroupRecord{Seq: seq, RawLen: 5, Blocks: []chunkfmt.BlockRecord{{Length: 5}}}))
	}
	for i, seq := range seqs[:3] {
		h := chunkfmt.Healed{Length: 5, Group: seqs[i+1]}
		records = append(records, rec(chunkfmt.RecBad, chunkfmt.BadKey(seq), []byte("rot")),
			rec(chunkfmt.RecHealed, chunkfmt.HealedKey(seq, 0), h.Append(nil)))
	}
	apply(t, x, append(records, recExtent(2, chunkfmt.Extent{Length: 5, Group: seqs[0]}))...)
	if all := listed(t, x, garbageOf(t, x)); !slices.Equal(all, seqs[4:]) {
		t.Errorf("while it is referred to, nothing refers to %v", all)
	}
	apply(t, x, del(chunkfmt.RecInode, chunkfmt.InodeKey(2)))
	if n := garbageOf(t, x).Len(); n != 5 {
		t.Errorf("nothing refers to %d groups, want all 5", n)
	}
	r := chunkfmt.Removed{First: seqs[2], Last: seqs[0]}
	apply(t, x, rec(chunkfmt.RecRemoved, chunkfmt.RemovedKey(r.First), r.Append(nil)))
	late := chunkfmt.Healed{Length: 5, Group: seqs[4]}
	apply(t, x, rec(chunkfmt.RecHealed, chunkfmt.HealedKey(seqs[0]+1, 0), late.Append(nil))) // of a group that is gone
	if n := garbageOf(t, x).Len(); n != 2 {
		t.Errorf("nothing refers to %d groups, want the 2 that are left", n)
	}
	for _, seq := range seqs[:3] {
		blocks, err := x.Healed(seq)
		noError(t, err)
		_, bad, err := x.Bad(seq)
		noError(t, err)
		if len(blocks) > 0 || bad {
			t.Errorf("removed group %v: healed %v, bad %v", seq, blocks, bad)
		}
	}
}

// TestGarbageInSteps looks for groups that are few and far between, a few words at a time.
func TestGarbageInSteps(t *testing.T) {
	defer func(words int) { garbageWords = words }(garbageWords)
	garbageWords = 7
	x := openTemp(t)
	var want, got []chunkfmt.Seq
	var r []chunkfmt.Record
	for i := range uint64(400) {
		seq := chunkfmt.MakeSeq(uint32(1+i/150), 1+i*i%5000*uint64(1+i%3*50))
		if slices.Contains(want, seq) {
			continue
		}
		want = append(want, seq)
		r = append(r, recGroup(chunkfmt.GroupRecord{Seq: seq, RawLen: 5, Blocks: []chunkfmt.BlockRecord{{Length: 5}}}))
	}
	apply(t, x, r...)
	steps, after, more := 0, chunkfmt.Seq(0), true
	for ; more; steps++ {
		g, err := x.Garbage(t.Context(), after)
		noError(t, err)
		got = append(got, listed(t, x, g)...)
		after, more = g.After()
	}
	slices.Sort(want)
	if !slices.Equal(got, want) || steps < 10 {
		t.Errorf("in %d steps %d groups, want %d", steps, len(got), len(want))
	}
}

// TestSweepEnds: a sweep that was ended is followed by one that is not.
func TestSweepEnds(t *testing.T) {
	x := openTemp(t)
	for n := range uint32(3) {
		apply(t, x, recInode(5, file(uint64(n))), sealed(n+1, int64(n), ""))
	}
	apply(t, x, del(chunkfmt.RecArchive, chunkfmt.ArchiveKey(1)))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.Sweep(ended); !errors.Is(err, context.Canceled) {
		t.Fatalf("a sweep that was ended: %v", err)
	}
	noError(t, x.Sweep(t.Context()))
	checkSwept(t, x)
	for n, want := range map[uint32]uint64{2: 1, 3: 2} {
		if i, ok, err := x.At(n).Inode(5); err != nil || !ok || i.Size != want {
			t.Errorf("archive %d has size %v, %v, %v", n, i.Size, ok, err)
		}
	}
}

// TestClean: the index remembers that there is something to clean until that was done for all
// that it knows.
func TestClean(t *testing.T) {
	x := openTemp(t)
	r := chunkfmt.Removed{First: chunkfmt.MakeSeq(1, 3), Last: chunkfmt.MakeSeq(1, 5)}
	put := rec(chunkfmt.RecRemoved, chunkfmt.RemovedKey(r.First), r.Append(nil))
	if x.Unclean() {
		t.Error("a new index has something to clean")
	}
	apply(t, x, put)
	head := x.Head()
	apply(t, x, put)
	noError(t, x.Cleaned(head))
	if !x.Unclean() {
		t.Error("what was removed since is taken for cleaned")
	}
	noError(t, x.Cleaned(x.Head()))
	if x.Unclean() {
		t.Error("there is still something to clean")
	}
	if err := x.Apply([]Batch{{Records: []chunkfmt.Record{del(chunkfmt.RecRemoved, put.Key)}}}, head, nil); !errors.Is(err, chunkfmt.ErrDamaged) {
		t.Errorf("what was removed comes back: %v", err)
	}
}
