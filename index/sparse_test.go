package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"coffer/chunkfmt"
)

// ref is what a file is: a stretch of a group.
type ref struct {
	group          chunkfmt.Seq
	offset, length uint32
}

// blocks is a model of which blocks are needed.
type blocks struct {
	x        *Index
	all      []Batch // that were applied
	seq      chunkfmt.Seq
	ino      chunkfmt.Ino
	archive  uint32
	contents uint64 // of blocks; each has its own

	groups map[chunkfmt.Seq]chunkfmt.GroupRecord
	gone   map[chunkfmt.Seq]bool // the media do not have them
	bad    map[chunkfmt.Seq]bool
	healed map[BlockPlace]BlockPlace
	files  map[chunkfmt.Ino]ref
	past   map[uint32][]ref
}

func newBlocks(x *Index) *blocks {
	return &blocks{
		x: x, seq: chunkfmt.MakeSeq(1, 1), ino: 2, groups: map[chunkfmt.Seq]chunkfmt.GroupRecord{}, gone: map[chunkfmt.Seq]bool{},
		bad: map[chunkfmt.Seq]bool{}, healed: map[BlockPlace]BlockPlace{}, files: map[chunkfmt.Ino]ref{}, past: map[uint32][]ref{},
	}
}

func (m *blocks) apply(t require, r ...chunkfmt.Record) {
	t.Helper()
	if len(r) == 0 {
		return
	}
	b := Batch{Records: r}
	m.all = append(m.all, b)
	noError(t, m.x.Apply([]Batch{b}, Head{Ordinal: 1, Seq: m.seq}, locateAll))
}

// group makes a group of blocks.
func (m *blocks) group(b []chunkfmt.BlockRecord) (chunkfmt.GroupRecord, chunkfmt.Record) {
	g := chunkfmt.GroupRecord{Seq: m.seq, Blocks: b}
	for i := range b {
		g.RawLen += b[i].Length
	}
	m.seq++
	m.groups[g.Seq] = g
	return g, recGroup(g)
}

// write makes a file of a stretch of a group.
func (m *blocks) write(t *rapid.T, g *chunkfmt.GroupRecord, from, to uint32) []chunkfmt.Record {
	off := uint32(rapid.IntRange(int(from), int(to)-1).Draw(t, "from"))
	end := min(to, off+uint32(rapid.IntRange(1, 4).Draw(t, "length")))
	m.ino++
	r := ref{g.Seq, off, end - off}
	m.files[m.ino] = r
	return []chunkfmt.Record{
		recInode(m.ino, file(uint64(r.length))),
		recExtent(m.ino, chunkfmt.Extent{Length: uint64(r.length), Group: r.group, GroupOffset: r.offset}),
	}
}

// refs are all references, but those of some archives.
func (m *blocks) refs(without ...uint32) []ref {
	all := slices.Collect(maps.Values(m.files))
	for n, refs := range m.past {
		if !slices.Contains(without, n) {
			all = append(all, refs...)
		}
	}
	return all
}

// starts are where the blocks of a stretch begin.
func (m *blocks) starts(r ref) (all []uint32) {
	at := uint32(0)
	for _, b := range m.groups[r.group].Blocks {
		if at < r.offset+r.length && at+b.Length > r.offset {
			all = append(all, at)
		}
		at += b.Length
	}
	return all
}

// live are the blocks that something refers to.
func (m *blocks) live(without ...uint32) map[BlockPlace]bool {
	live := map[BlockPlace]bool{}
	for _, r := range m.refs(without...) {
		for _, off := range m.starts(r) {
			p, ok := BlockPlace{r.group, off}, true
			for ; ok; p, ok = m.healed[p] {
				live[p] = true
			}
		}
	}
	return live
}

// sparse are the groups in the set, with their live blocks.
func (m *blocks) sparse(without ...uint32) string {
	live, text := m.live(without...), ""
	for _, seq := range slices.Sorted(maps.Keys(m.groups)) {
		var at, n uint32
		one := ""
		for _, b := range m.groups[seq].Blocks {
			if live[BlockPlace{seq, at}] {
				one += fmt.Sprint(" ", at, "+", b.Length)
				n += b.Length
			}
			at += b.Length
		}
		if n > 0 && 2*n < at && !m.gone[seq] && !m.bad[seq] {
			text += fmt.Sprint(seq, one, "\n")
		}
	}
	return text
}

func sparseText(t require, s *Sparse) (text string) {
	t.Helper()
	n := 0
	s.Each(func(g SparseGroup) bool {
		text += g.Seq.String()
		for _, b := range g.Live {
			text += fmt.Sprint(" ", b.Offset, "+", b.Length)
		}
		text += "\n"
		if n++; !s.Has(g.Seq) {
			t.Fatalf("%v is in the set, and not", g.Seq)
		}
		return true
	})
	if n != s.Len() {
		t.Fatalf("%d groups are in a set of %d", n, s.Len())
	}
	return text
}

// move gives the records that move groups of a set, all to one group.
func (m *blocks) move(t *rapid.T, s *Sparse) (records []chunkfmt.Record) {
	var kept []chunkfmt.BlockRecord
	to, at := m.seq, uint32(0)
	s.Each(func(g SparseGroup) bool {
		if rapid.IntRange(0, 4).Draw(t, "move") == 0 {
			return true
		}
		for _, b := range g.Live {
			off := uint32(0)
			for _, old := range m.groups[g.Seq].Blocks {
				if off == b.Offset {
					kept = append(kept, old)
				}
				off += old.Length
			}
			for _, name := range b.Names {
				m.healed[name] = BlockPlace{to, at}
				h := chunkfmt.Healed{Offset: name.Offset, Length: b.Length, Group: to, GroupOffset: at}
				records = append(records, rec(chunkfmt.RecHealed, chunkfmt.HealedKey(name.Group, name.Offset), h.Append(nil)))
			}
			at += b.Length
		}
		m.gone[g.Seq] = true
		r := chunkfmt.Removed{First: g.Seq, Last: g.Seq}
		records = append(records, rec(chunkfmt.RecMoved, chunkfmt.RemovedKey(g.Seq), r.Append(nil)))
		return true
	})
	if len(kept) > 0 {
		_, r := m.group(kept)
		records = append(records, r)
	}
	return records
}

// remove removes what nothing refers to.
func (m *blocks) remove(t require) (records []chunkfmt.Record) {
	garbageOf(t, m.x).Ranges(3, func(r chunkfmt.Removed, _ int) bool {
		records = append(records, rec(chunkfmt.RecRemoved, chunkfmt.RemovedKey(r.First), r.Append(nil)))
		for s := r.First; s <= r.Last; s++ {
			delete(m.groups, s)
			delete(m.bad, s)
			m.gone[s] = true
			maps.DeleteFunc(m.healed, func(p, _ BlockPlace) bool { return p.Group == s })
		}
		return true
	})
	return records
}

// check reads all that is referred to, as far as an index can tell, in at most so many steps.
func (m *blocks) check(t require, x *Index, most int) {
	t.Helper()
	for _, r := range m.refs() {
		for _, off := range m.starts(r) {
			steps, want := 0, chunkfmt.BlockRecord{}
			for p := (BlockPlace{r.group, off}); ; steps++ {
				rec, _, ok, err := x.Group(p.Group)
				noError(t, err)
				at, there := uint32(0), chunkfmt.BlockRecord{}
				for _, b := range rec.Blocks {
					if at == p.Offset {
						there = b
					}
					at += b.Length
				}
				if steps == 0 {
					want = there
				}
				if !ok || there != want || there.Length == 0 {
					t.Fatalf("%+v leads to %+v, where there is another block (%v)", r, p, ok)
				}
				healed, err := x.Healed(p.Group)
				noError(t, err)
				i := slices.IndexFunc(healed, func(h chunkfmt.Healed) bool { return h.Offset == p.Offset })
				if i >= 0 {
					p = BlockPlace{healed[i].Group, healed[i].GroupOffset}
					continue
				}
				if gone, err := x.Gone(p.Group); err != nil || gone {
					t.Fatalf("%+v leads to %+v, which is gone: %v", r, p, err)
				}
				break
			}
			if steps > most {
				t.Fatalf("%+v is read over %d others", r, steps)
			}
		}
	}
}

// checkKnown compares the groups that may be referred to.
func (m *blocks) checkKnown(t require, x *Index) {
	t.Helper()
	var got, want []chunkfmt.Seq
	noError(t, x.Known(0, func(g chunkfmt.GroupRecord, _ chunkfmt.Location) bool {
		got = append(got, g.Seq)
		return true
	}))
	for _, seq := range slices.Sorted(maps.Keys(m.groups)) {
		if gone, err := x.Gone(seq); err != nil || gone != m.gone[seq] {
			t.Fatalf("%v is gone: %v, %v", seq, gone, err)
		}
		if !m.gone[seq] {
			want = append(want, seq)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("known are %v, want %v", got, want)
	}
}

// step changes something.
func (m *blocks) step(t *rapid.T) {
	switch rapid.IntRange(0, 8).Draw(t, "step") {
	case 0, 1, 2:
		var b []chunkfmt.BlockRecord
		for range rapid.IntRange(1, 8).Draw(t, "blocks") {
			m.contents++
			b = append(b, chunkfmt.BlockRecord{
				Fingerprint: fingerprint(m.contents), Length: uint32(rapid.IntRange(1, 4).Draw(t, "length")),
			})
		}
		g, r := m.group(b)
		records := []chunkfmt.Record{r}
		for range rapid.IntRange(0, 8).Draw(t, "files") {
			records = append(records, m.write(t, &g, 0, g.RawLen)...)
		}
		m.apply(t, records...)
	case 3:
		var records []chunkfmt.Record
		for _, ino := range slices.Sorted(maps.Keys(m.files)) {
			if rapid.IntRange(0, 2).Draw(t, "unlink") == 0 {
				delete(m.files, ino)
				records = append(records, del(chunkfmt.RecInode, chunkfmt.InodeKey(ino)))
			}
		}
		m.apply(t, records...)
	case 4:
		m.archive++
		m.past[m.archive] = slices.Collect(maps.Values(m.files))
		m.apply(t, recArchive(m.archive))
	case 5:
		for _, n := range slices.Sorted(maps.Keys(m.past)) {
			if rapid.Bool().Draw(t, "forget") {
				delete(m.past, n)
				m.apply(t, del(chunkfmt.RecArchive, chunkfmt.ArchiveKey(n)))
			}
		}
		if rapid.Bool().Draw(t, "sweep") {
			noError(t, m.x.Sweep(context.Background()))
		}
	case 6: // whoever copies a file may refer to a group that was moved
		if inos := slices.Sorted(maps.Keys(m.files)); len(inos) > 0 {
			r := m.files[rapid.SampledFrom(inos).Draw(t, "copy")]
			g := m.groups[r.group]
			m.apply(t, m.write(t, &g, r.offset, r.offset+r.length)...)
		}
	case 7:
		m.apply(t, m.remove(t)...)
	case 8:
		if seqs := slices.Sorted(maps.Keys(m.groups)); len(seqs) > 0 {
			if seq := rapid.SampledFrom(seqs).Draw(t, "bad"); !m.gone[seq] && rapid.Bool().Draw(t, "is") {
				m.bad[seq] = true
				m.apply(t, rec(chunkfmt.RecBad, chunkfmt.BadKey(seq), []byte("rot")))
			}
		}
	}
}

// TestSparseModel moves the blocks of groups of which little is needed, at random between random changes, and wants of
// the set what the model says, and every block to be found that something refers to, over no more than one other group,
// also by an index that is made anew from the same batches.
func TestSparseModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, done := openRapid(t)
		defer done()
		m := newBlocks(x)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "pack") > 0 {
				m.step(t)
				continue
			}
			var without []uint32
			for n := range m.archive {
				if rapid.IntRange(0, 3).Draw(t, "without") == 0 {
					without = append(without, n+1)
				}
			}
			s, err := x.Sparse(context.Background(), 0, without...)
			noError(t, err)
			same(t, fmt.Sprint("little is needed, without ", without), sparseText(t, s), m.sparse(without...))
			s, err = x.Sparse(context.Background(), 0)
			noError(t, err)
			for range rapid.IntRange(0, 2).Draw(t, "meanwhile") {
				m.step(t)
			}
			now, err := x.StillSparse(context.Background(), s)
			noError(t, err)
			now.Each(func(g SparseGroup) bool {
				if !s.Has(g.Seq) {
					t.Fatalf("%v is in the set only when it is looked at again", g.Seq)
				}
				return true
			})
			m.apply(t, m.move(t, now)...)
			m.check(t, x, 1)
		}
		m.check(t, x, 1)
		m.checkKnown(t, x)
		y, done := openRapid(t)
		defer done()
		for all := m.all; len(all) > 0; {
			n := rapid.IntRange(1, len(all)).Draw(t, "together")
			noError(t, y.Apply(all[:n], Head{Ordinal: 1, Seq: m.seq}, locateAll))
			all = all[n:]
		}
		m.check(t, y, 1)
		m.checkKnown(t, y)
		if rx, ry := removedRanges(t, x, 0, ^chunkfmt.Seq(0)), removedRanges(t, y, 0, ^chunkfmt.Seq(0)); !slices.Equal(rx, ry) {
			t.Fatalf("gone are %v, in the rebuilt index %v", rx, ry)
		}
	})
}

// TestSparseInSteps looks at a few groups at a time: what of others is not looked at counts as needed.
func TestSparseInSteps(t *testing.T) {
	defer func(groups, blocks int) { sparseGroups, sparseBlocks = groups, blocks }(sparseGroups, sparseBlocks)
	sparseGroups, sparseBlocks = 2, 7
	rapid.Check(t, func(t *rapid.T) {
		x, done := openRapid(t)
		defer done()
		m := newBlocks(x)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "step") {
				m.step(t)
				continue
			}
			steps := 0
			for after, more := chunkfmt.Seq(0), true; more; steps++ {
				s, err := x.Sparse(context.Background(), after)
				noError(t, err)
				last := after
				if after, more = s.After(); more && after <= last {
					t.Fatalf("after %v comes %v", last, after)
				}
				m.apply(t, m.move(t, s)...)
			}
			if steps < len(m.groups)/8 {
				t.Fatalf("%d steps for %d groups", steps, len(m.groups))
			}
			m.check(t, x, 1)
		}
		m.checkKnown(t, x)
	})
}

// TestSparseEnds: a search ends with its context.
func TestSparseEnds(t *testing.T) {
	x := openTemp(t)
	g := chunkfmt.GroupRecord{Seq: chunkfmt.MakeSeq(1, 1), RawLen: 2, Blocks: []chunkfmt.BlockRecord{{Length: 1}, {Length: 1}}}
	apply(t, x, recGroup(g), recInode(2, file(1)), recExtent(2, chunkfmt.Extent{Length: 1, Group: g.Seq}))
	s, err := x.Sparse(t.Context(), 0)
	noError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Sparse(ended, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
	if _, err := x.StillSparse(ended, s); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}
