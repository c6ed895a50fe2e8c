package mover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
	"coffer/pipeline/channel"
	"coffer/pipeline/stage"
)

// smalls are small files of random bytes, by inode, which share groups.
type smalls map[chunkfmt.Ino][]byte

func newSmalls(seed uint64, first chunkfmt.Ino, n int) smalls {
	rng := rand.NewChaCha8([32]byte{byte(seed)})
	all := smalls{}
	for i := range n {
		data := make([]byte, 3000+i)
		rng.Read(data)
		all[first+chunkfmt.Ino(i)] = data
	}
	return all
}

func (s smalls) inos() (all []chunkfmt.Ino) {
	for ino := range s {
		all = append(all, ino)
	}
	slices.Sort(all)
	return all
}

// write writes small files.
func (w *writing) write(files smalls) {
	w.t.Helper()
	blocks := map[chunkfmt.Ino]*stage.Run{}
	for _, ino := range files.inos() {
		var stream stage.Stream
		slot, err := w.s.Collector().Begin(w.t.Context(), &stream, 0, len(files[ino]))
		if err != nil {
			w.t.Fatal(err)
		}
		blocks[ino] = slot.Write(files[ino])[0].Run
		slot.Release()
		w.s.Collector().Finish(&stream)
	}
	w.journalled = func(s stage.RecordSink) (err error) {
		for _, ino := range files.inos() {
			n := len(files[ino])
			err = errors.Join(err, s.Add(chunkfmt.Record{Op: chunkfmt.OpPut, Kind: chunkfmt.RecInode, Key: chunkfmt.InodeKey(ino), Value: inodeOf(n)}))
			blocks[ino].Blocks(0, int64(n), func(_ int64, b *stage.Block) {
				group, off, _, _ := b.Place()
				e := chunkfmt.Extent{Length: uint64(n), Group: group, GroupOffset: off}
				err = errors.Join(err, s.Add(chunkfmt.Record{
					Op: chunkfmt.OpPut, Kind: chunkfmt.RecExtent, Key: chunkfmt.ExtentKey(ino, 0), Value: e.Append(nil),
				}))
			})
		}
		return err
	}
	w.cut(stage.MarkCut, "", "", nil)
	w.journalled = nil
}

// thin unlinks all but every nth of the files, and gives those that went.
func (w *writing) thin(files smalls, nth int) (gone smalls) {
	w.t.Helper()
	gone = smalls{}
	for i, ino := range files.inos() {
		if i%nth != 0 {
			gone[ino] = files[ino]
			w.extra = append(w.extra, chunkfmt.Record{Op: chunkfmt.OpDelete, Kind: chunkfmt.RecInode, Key: chunkfmt.InodeKey(ino)})
			delete(files, ino)
		}
	}
	w.cut(stage.MarkCut, "", "", nil)
	w.extra = nil
	return gone
}

// indexed is an index with what reads what it names.
type indexed interface {
	Extents(ino chunkfmt.Ino, from, to uint64, f func(chunkfmt.Extent) bool) error
}

// wantSmalls reads all files, and gives their groups.
func wantSmalls(t *testing.T, x indexed, groups *stage.Groups, files smalls) (seqs []chunkfmt.Seq) {
	t.Helper()
	for _, ino := range files.inos() {
		var e chunkfmt.Extent
		if err := x.Extents(ino, 0, 1, func(at chunkfmt.Extent) bool { e = at; return false }); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(files[ino])/2) // its second half
		off := len(files[ino]) - len(got)
		if err := groups.ReadAt(t.Context(), e.Group, got, e.GroupOffset+uint32(off)); err != nil || !bytes.Equal(got, files[ino][off:]) {
			t.Errorf("file %d in %+v: other bytes, or %v", ino, e, err)
		}
		if !slices.Contains(seqs, e.Group) {
			seqs = append(seqs, e.Group)
		}
	}
	return seqs
}

func (w *writing) wantSmalls(files ...smalls) (seqs []chunkfmt.Seq) {
	w.t.Helper()
	for _, f := range files {
		seqs = append(seqs, wantSmalls(w.t, w.s.index, w.s.groups, f)...)
	}
	return seqs
}

// heirs are the groups that hold blocks of others.
func (w *writing) heirs(seqs []chunkfmt.Seq) (all []chunkfmt.Seq) {
	w.t.Helper()
	for _, seq := range seqs {
		blocks, err := w.s.index.Healed(seq)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, b := range blocks {
			if !slices.Contains(all, b.Group) {
				all = append(all, b.Group)
			}
		}
	}
	return all
}

func (w *writing) prune(moved int) Pruned {
	w.t.Helper()
	p, err := w.s.Prune(w.t.Context(), w)
	if err != nil {
		w.t.Fatal(err)
	}
	if p.Moved != moved {
		w.t.Errorf("%d groups are moved, want %d", p.Moved, moved)
	}
	return p
}

// TestRepack moves what is needed of groups of which little is. Whoever has an index reads it, also one from before; it
// is moved again when little of that is needed; and nothing that went is found by who writes it again.
func TestRepack(t *testing.T) {
	p := newPlace(t)
	small := func(p place) Options {
		o := p.options(t)
		o.ChunkBytes = 400 << 10
		return o
	}
	open := func() *writing {
		s, err := OpenSource(t.Context(), starter{}, small(p))
		if err != nil {
			t.Fatal(err)
		}
		return &writing{t: t, s: s}
	}
	reader := func(follow bool) *Reader {
		o := small(place{store: p.store, state: t.TempDir()})
		o.Follow = follow
		r, err := OpenReader(t.Context(), o, "")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a, b := newSmalls(1, 2, 80), newSmalls(2, 200, 80)
	w := open()
	w.write(a)
	w.end()
	w = open()
	w.write(b)
	goneA, goneB := w.thin(a, 4), w.thin(b, 5)
	w.end()
	early, following := reader(false), reader(true)
	w = open()
	plan, err := w.s.PlanPrune(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := stored(t, w.s.o.Medium, "volumes/")
	pruned := w.prune(2)
	back := before - stored(t, w.s.o.Medium, "volumes/")
	if plan.Moved != 2 || plan.Removed != 0 || back < 250_000 || back*10 < plan.Bytes*9 || back*9 > plan.Bytes*10 ||
		pruned.Bytes*10 < back*9 || pruned.Bytes*9 > back*10 {
		t.Errorf("planned %+v, did %+v, and %d bytes came back", plan, pruned, back)
	}
	seqs := w.wantSmalls(a, b)
	heirs := w.heirs(seqs)
	if len(seqs) != 2 || len(heirs) != 1 {
		t.Errorf("files are in %v, which are read from %v", seqs, heirs)
	}
	for _, seq := range seqs {
		if err := w.s.groups.Whole(t.Context(), seq); !errors.Is(err, media.ErrNoTag) {
			t.Errorf("group %v is there yet: %v", seq, err)
		}
	}
	wantSmalls(t, following.index, following.groups, a)
	wantSmalls(t, early.index, early.groups, b)

	// What went is stored again, and what was moved is not.
	n := len(w.groups())
	again := smalls{}
	for _, ino := range a.inos() {
		again[ino+1000] = a[ino]
	}
	w.write(again)
	if m := len(w.groups()); m != n {
		t.Errorf("%d groups more", m-n)
	}
	if got := w.wantSmalls(again); !slices.Equal(got, heirs) {
		t.Errorf("copies of what was moved are in %v, want %v", got, heirs)
	}
	w.write(goneA)
	w.wantSmalls(goneA)
	w.thin(again, 100)
	w.end()
	w = open()
	w.write(goneB)
	w.wantSmalls(goneB)
	w.thin(goneA, 1000)
	w.thin(goneB, 1000)
	w.end()

	// Once more.
	w = open()
	w.thin(a, 5)
	w.thin(b, 8)
	w.prune(3) // with those of goneA and goneB
	w.wantSmalls(a, b, again, goneA, goneB)
	if err := w.s.groups.Whole(t.Context(), heirs[0]); !errors.Is(err, media.ErrNoTag) {
		t.Errorf("group %v, to which files were moved first, is there yet: %v", heirs[0], err)
	}
	wantSmalls(t, early.index, early.groups, a)
	wantSmalls(t, following.index, following.groups, b)
	w.end()
	if err := errors.Join(early.Close(), following.Close()); err != nil {
		t.Error(err)
	}

	log := newLines()
	o := small(p.copyOf(t))
	o.Log = log.logger()
	s, err := OpenSource(t.Context(), starter{}, o)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := &writing{t: t, s: s}
	elsewhere.wantSmalls(a, b, again, goneA, goneB)
	if said := log.all(); strings.Contains(said, "missing") {
		t.Errorf("a rebuild of what was moved says:\n%s", said)
	}
	for _, files := range []smalls{a, b, again, goneA, goneB} {
		elsewhere.thin(files, 1000)
		elsewhere.extra = records{{Op: chunkfmt.OpDelete, Kind: chunkfmt.RecInode, Key: chunkfmt.InodeKey(files.inos()[0])}}
		elsewhere.cut(stage.MarkCut, "", "", nil)
		elsewhere.extra = nil
	}
	elsewhere.prune(0)
	if left := elsewhere.groups(); len(left) > 0 {
		t.Errorf("groups %v are left of nothing", left)
	}
	elsewhere.end()
}

// TestRepackUnsure: if it is not known whether a batch counts that says what was moved, nobody refers to what was not.
func TestRepackUnsure(t *testing.T) {
	for _, lost := range []error{errors.New("the answer is lost"), fmt.Errorf("no room for the answer: %w", media.ErrFull)} {
		testRepackUnsure(t, lost)
	}
}

func testRepackUnsure(t *testing.T, lost error) {
	t.Helper()
	p := newPlace(t)
	w := p.mustOpen(t)
	a := newSmalls(1, 2, 40)
	w.write(a)
	gone := w.thin(a, 4)
	for n, moved := 1, 0; ; n++ {
		tree := &forgetful{writing: w, calls: n, err: lost}
		pruned, err := w.s.Prune(t.Context(), tree)
		moved += pruned.Moved
		if err == nil {
			if n < 3 || moved > 1 {
				t.Errorf("%d batches, %d groups moved", n, moved)
			}
			break
		}
		if !errors.Is(err, lost) {
			t.Fatal(err)
		}
		w.wantSmalls(a)
		again := maps.Clone(gone)
		w.write(again) // of which nothing is to be found in what was moved
		w.wantSmalls(again, a)
		w.thin(again, 1000)
	}
	w.prune(0)
	w.wantSmalls(a)
	w.end()
	w = p.copyOf(t).mustOpen(t)
	w.wantSmalls(a)
	w.end()
}

// forgetful is a tree that says of one batch that it has failed.
type forgetful struct {
	*writing
	calls int // until then
	err   error
}

func (f *forgetful) Journal(ctx context.Context, b stage.BatchSource) error {
	err := f.writing.Journal(ctx, b)
	if r, ok := b.(removedRanges); ok && len(r) == 0 {
		return err // after a prune that was ended
	}
	if f.calls--; f.calls == 0 {
		return f.err
	}
	return err
}

// TestRepackBesideWriter writes what was unlinked again between any two batches of a prune.
func TestRepackBesideWriter(t *testing.T) {
	p := newPlace(t)
	w := p.openIn(t, 10<<10) // so that what goes is taken off the medium at once
	var all []smalls
	for at := 1; ; at++ {
		first := chunkfmt.Ino(10_000 * at)
		a, dead := newSmalls(uint64(at), first, 12), newSmalls(uint64(100+at), first+1000, 5)
		w.write(dead)
		w.write(a)
		again := w.thin(a, 4)
		for ino, data := range w.thin(dead, len(dead)+1) {
			again[ino] = data
		}
		for _, ino := range dead.inos() { // the one that is left
			again[ino] = dead[ino]
			w.unlink(ino)
		}
		tree := &meddled{writing: w, calls: at, meddle: func() { w.write(again) }}
		if _, err := w.s.Prune(t.Context(), tree); err != nil {
			t.Fatal(err)
		}
		if tree.calls > 0 {
			if at != 7 {
				t.Errorf("a prune of %d batches", at-1)
			}
			break
		}
		w.wantSmalls(append(all, a, again)...)
		w.prune(0)
		w.wantSmalls(append(all, a, again)...)
		all = append(all, a, again)
	}
	w.end()
	w = p.mustOpen(t) // in which nothing is cached
	w.wantSmalls(all...)
	w.end()
}

// meddled is a tree on which something is done before one of its batches.
type meddled struct {
	*writing
	calls  int // until then
	meddle func()
}

func (m *meddled) Journal(ctx context.Context, b stage.BatchSource) error {
	if m.calls--; m.calls == 0 {
		m.meddle()
	}
	return m.writing.Journal(ctx, b)
}

// TestRepackOnFullMedium: what can't be moved stays, and the rest is pruned.
func TestRepackOnFullMedium(t *testing.T) {
	p := newPlace(t)
	o := p.options(t)
	full := &full{Medium: o.Medium}
	o.Medium = full
	open := func() *writing {
		s, err := OpenSource(t.Context(), starter{}, o)
		if err != nil {
			t.Fatal(err)
		}
		return &writing{t: t, s: s}
	}
	a := newSmalls(1, 2, 40)
	w := open()
	w.write(a)
	dead := w.file(500, 200_000)
	w.thin(a, 4)
	w.unlink(500)
	w.end()
	full.is = true
	w = open()
	if pruned := w.prune(0); pruned.Removed != 1 || pruned.Bytes < 190_000 {
		t.Errorf("on a full medium: %+v", pruned)
	}
	w.wantPruned(w.wantSmalls(a), []chunkfmt.Seq{dead})
	full.is = false
	w.end()
	w = open()
	w.prune(1)
	w.wantSmalls(a)
	w.end()
}

// full is a medium that has no room for data.
type full struct {
	media.Medium
	is bool
}

func (f *full) Space(context.Context) (media.Space, error) {
	if f.is {
		return media.Space{Total: 1 << 40}, nil
	}
	return media.Space{Total: 1 << 40, Free: 1 << 40}, nil
}

// TestRepackDamaged: a group that is damaged stays where it is.
func TestRepackDamaged(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	a, b := newSmalls(1, 2, 40), newSmalls(2, 200, 40)
	w.write(a)
	w.end()
	w = p.mustOpen(t)
	w.write(b)
	w.thin(a, 4)
	w.thin(b, 4)
	seqs := w.wantSmalls(a)
	w.end()
	flipFirst(t, p, seqs[0])
	log := newLines()
	o := p.options(t)
	o.Log = log.logger()
	s, err := OpenSource(t.Context(), starter{}, o)
	if err != nil {
		t.Fatal(err)
	}
	w = &writing{t: t, s: s}
	w.prune(1)
	if !strings.Contains(log.all(), "it is damaged") {
		t.Errorf("of a damaged group it is said:\n%s", log.all())
	}
	w.wantSmalls(b)
	if n, err := w.s.Index().Gone(seqs[0]); n || err != nil {
		t.Errorf("it is given up: %v, %v", n, err)
	}
	w.end()
}

// flipFirst damages the payload of a group.
func flipFirst(t *testing.T, p place, seq chunkfmt.Seq) {
	t.Helper()
	for _, name := range files(t, p.store) {
		if _, _, ok := media.ParseChunkName(name); !ok {
			continue
		}
		path := filepath.Join(p.store, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tags, err := chunkfmt.ReadFooter(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for at, tag := range chunkfmt.Places(tags) {
			if tag.Seq == seq {
				b[at+chunkfmt.TagSize+50] ^= 4
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepackHeirDamaged: what a group was moved to is damaged before the cleaner has taken the group away. It is stored
// again before that happens.
func TestRepackHeirDamaged(t *testing.T) {
	p := newPlace(t)
	w := p.openIn(t, 64<<20)
	a := newSmalls(1, 2, 40)
	w.write(a)
	ballast := newSmalls(3, 1000, 600)
	w.write(ballast)
	w.thin(a, 4)
	w.end()
	w = p.openIn(t, 64<<20) // whose chunk is another one
	w.prune(1)
	seqs := w.wantSmalls(a)
	heirs := w.heirs(seqs)
	if err := w.s.groups.Whole(t.Context(), seqs[0]); err != nil || len(heirs) != 1 {
		t.Fatalf("the group is gone already, %v; it was moved to %v", err, heirs)
	}
	w.end()
	flipFirst(t, p, heirs[0])
	w = p.openIn(t, 64<<20)
	w.extra = bad(heirs...)
	w.cut(stage.MarkCut, "", "", nil)
	w.extra = nil
	w.wantSmalls(a) // where it was
	w.thin(ballast, 1000)
	w.prune(1)
	if err := w.s.groups.Whole(t.Context(), seqs[0]); !errors.Is(err, media.ErrNoTag) {
		t.Errorf("the group is there yet: %v", err)
	}
	w.wantSmalls(a)
	n := len(w.groups())
	w.prune(0)
	if m := len(w.groups()); m > n {
		t.Errorf("another prune has stored %d groups", m-n)
	}
	w.end()
	w = p.copyOf(t).mustOpen(t)
	w.wantSmalls(a)
	w.end()
}

// TestRepackUnsettled ends a prune whose last batch is not in the index yet when the next one begins. Nothing of what it
// moves is found meanwhile.
func TestRepackUnsettled(t *testing.T) {
	p := newPlace(t)
	o := p.options(t)
	o.DedupBytes = 1 // so that a hit brings in the groups beside it
	s, err := OpenSource(t.Context(), starter{}, o)
	if err != nil {
		t.Fatal(err)
	}
	w := &writing{t: t, s: s}
	w.write(newSmalls(1, 1000, 900))
	if s.table.Stats().SampleBits == 0 {
		t.Fatal("the table has all blocks")
	}
	files := newSmalls(2, 2, 200)
	w.write(files)
	groups := w.wantSmalls(files)
	if len(groups) < 3 || groups[1] != groups[0]+1 {
		t.Fatalf("files are in %v", groups)
	}
	gone := smalls{}
	left := 0
	for _, ino := range files.inos() {
		if g := w.wantSmalls(smalls{ino: files[ino]}); g[0] == groups[1] {
			if left++; left > 1 {
				gone[ino] = files[ino]
				delete(files, ino)
				w.unlink(ino)
			}
		}
	}
	dead := w.file(500, 200_000)
	late := &late{writing: w, ends: 2, first: func() { w.unlink(500) }, look: func() {
		for _, known := range []bool{true, false} {
			for _, data := range map[bool]smalls{true: files, false: gone}[known] {
				at, ok, err := s.table.Lookup(s.keys.Sum(data), uint32(len(data)))
				if err != nil || ok && !known {
					t.Errorf("what was not moved is found at %+v, %v", at, err)
				}
			}
		}
	}}
	if _, err := s.Prune(t.Context(), late); !errors.Is(err, errEnded) {
		t.Fatal(err)
	}
	if pruned, err := s.Prune(t.Context(), late); err != nil || pruned.Removed != 1 || pruned.Moved > 0 {
		t.Errorf("the next prune: %+v, %v", pruned, err)
	}
	w.wantPruned(w.wantSmalls(files), []chunkfmt.Seq{dead})
	w.end()
}

var errEnded = errors.New("ended")

// late is a tree one of whose batches gets into the index with the one after it only.
type late struct {
	*writing
	ends    int // batches until then; it is said to have failed
	pending *index.Batch
	first   func() // is called before the first batch
	look    func() // is called when a batch after that one is stable, and not in the index
}

func (l *late) Journal(ctx context.Context, b stage.BatchSource) error {
	if l.first != nil {
		l.first()
		l.first = nil
	}
	slot, err := l.s.Collector().Prepare(ctx)
	if err != nil {
		return err
	}
	var journal stage.Journal
	acked := make(chan error, 1)
	slot.Cut(stage.Marker{
		Kind: stage.MarkCut, Batch: b,
		Journalled: func(j stage.Journal) { journal = j },
		Acked:      func(err error) { acked <- err },
	})
	slot.Release()
	if err := <-acked; err != nil {
		return err
	}
	whole := index.Batch{Header: journal.Batches[0].Header}
	for _, part := range journal.Batches {
		whole.Records = append(whole.Records, part.Records...)
	}
	if l.ends <= 0 {
		l.look()
	}
	if l.ends--; l.ends == 0 {
		l.pending = &whole
		return errEnded
	}
	batches := []index.Batch{whole}
	if l.pending != nil {
		batches = []index.Batch{*l.pending, whole}
		l.pending = nil
	}
	if err := l.s.Index().Apply(batches, index.Head(journal.Head), l.s.Flight().Location); err != nil {
		return err
	}
	l.s.Flight().Forget(journal.Head.Seq)
	return nil
}

var _ indexed = (*index.Index)(nil)

// TestServerRepacks: a server takes off its medium what a client has moved, as much as was planned, and whoever reads it
// over the network with an older view finds where it is. Of an append-only client it goes when that was approved of.
func TestServerRepacks(t *testing.T) {
	t.Parallel()
	for _, appendOnly := range []bool{false, true} {
		f := newFarRig(t, channel.Rights{AppendOnly: appendOnly})
		a := newSmalls(1, 2, 80)
		w := f.open()
		w.write(a)
		w.end()
		w = f.open()
		w.thin(a, 4)
		w.end()
		reader := func(follow bool) *Reader {
			o := f.g.far(t, f.doors, t.TempDir(), nil)
			o.Follow = follow
			r, err := OpenReader(t.Context(), o, "")
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		early, following := reader(false), reader(true)
		w = f.open()
		before := f.stored()
		plan, err := w.s.PlanPrune(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pruned := w.prune(1)
		seqs := w.wantSmalls(a)
		if appendOnly {
			if err := w.s.groups.Whole(t.Context(), seqs[0]); err != nil || pruned.Until.IsZero() {
				t.Errorf("before it was approved of: %+v, %v", pruned, err)
			}
			if n, err := f.to.o.Removals.Approve(f.g.volume); n != 1 || err != nil {
				t.Fatalf("%d lists are approved of, %v", n, err)
			}
			f.setNow(f.time().Add(2 * time.Hour))
			f.settled()
		}
		back := before - f.stored()
		if plan.Moved != 1 || back < 150_000 || back*10 < plan.Bytes*9 || back*9 > plan.Bytes*10 {
			t.Errorf("planned %+v, did %+v, and %d bytes came back", plan, pruned, back)
		}
		if err := w.s.groups.Whole(t.Context(), seqs[0]); !errors.Is(err, media.ErrNoTag) {
			t.Errorf("group %v is there yet: %v", seqs[0], err)
		}
		w.wantSmalls(a)
		wantSmalls(t, early.index, early.groups, a)
		wantSmalls(t, following.index, following.groups, a)
		if err := errors.Join(early.Close(), following.Close()); err != nil {
			t.Error(err)
		}
		w.end()
		f.state = t.TempDir()
		w = f.open() // another machine
		w.wantSmalls(a)
		w.end()
	}
}

// TestRepackCheckpoints: an index that is made of a checkpoint from before or after groups were moved, or of the log
// alone, finds what was in them, and lets nobody find the rest.
func TestRepackCheckpoints(t *testing.T) {
	p := newPlace(t)
	a := newSmalls(1, 2, 40)
	w := p.eager(t)
	w.write(a)
	w.cut(stage.MarkArchive, "", "", nil)
	w.checkpoint()
	w.end()
	w = p.eager(t)
	w.thin(a, 4)
	w.extra = records{{Op: chunkfmt.OpDelete, Kind: chunkfmt.RecArchive, Key: chunkfmt.ArchiveKey(1)}}
	w.cut(stage.MarkCut, "", "", nil)
	w.extra = nil
	w.end()
	w = p.openIn(t, 10<<10)
	w.write(newSmalls(2, 200, 40)) // which some of it is kept with
	gone := w.thin(newSmalls(2, 200, 40), 20)
	w.prune(2)
	kept := smalls{200: newSmalls(2, 200, 1)[200]}
	seqs := w.wantSmalls(a, kept)
	w.end()
	look := func(when string, checkpoint bool, change func(*Options)) chunkfmt.Seq {
		t.Helper()
		q := p.copyOf(t)
		w := q.openWith(t, change)
		if (w.s.loaded != nil) != checkpoint {
			t.Errorf("%s: made of %+v", when, w.s.loaded)
		}
		head := chunkfmt.Seq(0)
		if checkpoint {
			head = w.s.loaded.Head
		}
		if now := w.wantSmalls(a, kept); !slices.Equal(now, seqs) {
			t.Errorf("%s: files are in %v, want %v", when, now, seqs)
		}
		for _, seq := range seqs {
			if gone, err := w.s.index.Gone(seq); !gone || err != nil {
				t.Errorf("%s: group %v may be referred to anew, %v", when, seq, err)
			}
		}
		again := maps.Clone(gone)
		w.write(again)
		w.wantSmalls(again)
		w.end()
		return head
	}
	fromLog := func(o *Options) { o.FromLog = true }
	first := look("a checkpoint from before", true, func(*Options) {})
	look("the log", false, fromLog)
	w = p.eager(t)
	w.filler = 2000
	w.cut(stage.MarkArchive, "", "", nil)
	w.checkpoint()
	w.filler = 0
	w.end()
	if second := look("a checkpoint from after", true, func(*Options) {}); second <= first {
		t.Errorf("checkpoints at %v and %v", first, second)
	}
	look("the log behind it", false, fromLog)
}
