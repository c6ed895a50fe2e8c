package mover

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/index/keep"
	"coffer/media"
	"coffer/media/cleaner"
	"coffer/media/remote"
	"coffer/pipeline/channel"
	"coffer/pipeline/stage"
)

// Journal has a test's session be the Tree that Prune wants.
func (w *writing) Journal(_ context.Context, b stage.BatchSource) error {
	var all records
	sink := func(r chunkfmt.Record) error {
		r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
		all = append(all, r)
		return nil
	}
	w.journalled = func(s stage.RecordSink) error {
		all = nil
		if err := b.Encode(recordFunc(sink)); err != nil {
			return err
		}
		return all.Encode(s)
	}
	w.cut(stage.MarkCut, "", "", nil)
	w.journalled = nil
	return nil
}

// Quiesce does nothing: nobody reads.
func (w *writing) Quiesce(context.Context) error { return nil }

type recordFunc func(chunkfmt.Record) error

func (f recordFunc) Add(r chunkfmt.Record) error { return f(r) }

// file writes a file of random bytes, of which nothing is known, and gives its group.
func (w *writing) file(ino chunkfmt.Ino, n int) chunkfmt.Seq {
	w.t.Helper()
	data := make([]byte, n)
	cryptorand.Read(data)
	before := w.groups()
	w.cut(stage.MarkCut, "", "", data)
	seq := chunkfmt.Seq(0)
	for _, g := range w.groups() {
		if !slices.Contains(before, g) {
			seq = g
		}
	}
	if seq == 0 {
		w.t.Fatal("nothing new was stored")
	}
	w.extra = records{
		{Op: chunkfmt.OpPut, Kind: chunkfmt.RecInode, Key: chunkfmt.InodeKey(ino), Value: inodeOf(n)},
		{Op: chunkfmt.OpPut, Kind: chunkfmt.RecExtent, Key: chunkfmt.ExtentKey(ino, 0), Value: extentOf(seq, n)},
	}
	w.cut(stage.MarkCut, "", "", nil)
	w.extra = nil
	return seq
}

func inodeOf(n int) []byte {
	i := chunkfmt.Inode{Attr: chunkfmt.Attr{Mode: unix.S_IFREG | 0o600, Nlink: 1, Size: uint64(n)}}
	return i.Append(nil)
}

func extentOf(seq chunkfmt.Seq, n int) []byte {
	e := chunkfmt.Extent{Length: uint64(n), Group: seq}
	return e.Append(nil)
}

// unlink deletes a file.
func (w *writing) unlink(ino chunkfmt.Ino) {
	w.t.Helper()
	w.extra = records{{Op: chunkfmt.OpDelete, Kind: chunkfmt.RecInode, Key: chunkfmt.InodeKey(ino)}}
	w.cut(stage.MarkCut, "", "", nil)
	w.extra = nil
}

// wantGroups wants those that are live to be read, and nothing to be known of the others.
func (w *writing) wantPruned(live, dead []chunkfmt.Seq) {
	w.t.Helper()
	for _, seq := range live {
		if err := w.s.Groups().ReadAt(w.t.Context(), seq, make([]byte, 1), 0); err != nil {
			w.t.Errorf("group %v: %v", seq, err)
		}
	}
	for _, seq := range dead {
		if _, _, ok, err := w.s.Index().Group(seq); ok || err != nil {
			w.t.Errorf("group %v, which was removed, is known: %v, %v", seq, ok, err)
		}
	}
}

// wantHints wants the index to know where groups are.
func (w *writing) wantHints(live []chunkfmt.Seq) {
	w.t.Helper()
	for _, seq := range live {
		_, at, _, err := w.s.Index().Group(seq)
		if err == nil {
			_, err = w.s.o.Medium.ReadAt(w.t.Context(), media.ChunkName(w.s.keys.ID, at.Chunk), make([]byte, 1), 0)
		}
		if err != nil {
			w.t.Errorf("group %v is looked for in chunk %v: %v", seq, at.Chunk, err)
		}
	}
}

// half writes files and unlinks every other one, in two sessions, so that all their chunks are finished.
func half(t *testing.T, open func() *writing) (live, dead []chunkfmt.Seq) {
	t.Helper()
	for session := range 2 {
		w := open()
		for i := range 8 {
			ino := chunkfmt.Ino(2 + 10*session + i)
			seq := w.file(ino, 200_000)
			if i%2 == 0 {
				w.unlink(ino)
				dead = append(dead, seq)
			} else {
				live = append(live, seq)
			}
		}
		w.end()
	}
	return live, dead
}

func stored(t *testing.T, m media.Medium, prefix string) (n int64) {
	t.Helper()
	list, err := m.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range list {
		n += info.Size
	}
	return n
}

// TestPrune prunes a store here; a machine that has only the store sees the same, and hears of no loss. A group that is
// gone without having been removed is lost.
func TestPrune(t *testing.T) {
	p := newPlace(t)
	small := func(p place) Options {
		o := p.options(t)
		o.ChunkBytes = 500 << 10
		return o
	}
	open := func() *writing {
		s, err := OpenSource(t.Context(), starter{}, small(p))
		if err != nil {
			t.Fatal(err)
		}
		return &writing{t: t, s: s}
	}
	live, dead := half(t, open)
	w := open()
	plan, err := w.s.PlanPrune(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := stored(t, w.s.o.Medium, "volumes/")
	pruned, err := w.s.Prune(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if back := before - stored(t, w.s.o.Medium, "volumes/"); pruned.Removed != len(dead) || plan.Removed != len(dead) ||
		plan.Bytes != pruned.Bytes || back < plan.Bytes*9/10 || w.s.Unclean() {
		t.Errorf("planned %+v, did %+v of %d groups, %d bytes came back", plan, pruned, len(dead), back)
	}
	w.wantPruned(live, dead)
	w.wantHints(live)
	w.end()

	log := newLines()
	other := p.copyOf(t)
	o := small(other)
	o.Log = log.logger()
	s, err := OpenSource(t.Context(), starter{}, o)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := &writing{t: t, s: s}
	elsewhere.wantPruned(live, dead)
	elsewhere.end()
	if said := log.all(); strings.Contains(said, "missing") {
		t.Errorf("a rebuild of what was pruned says:\n%s", said)
	}

	// What nobody has removed is missed.
	third := p.copyOf(t)
	o = small(third)
	cut := 0
	for _, name := range files(t, third.store) {
		_, id, ok := media.ParseChunkName(name)
		if !ok || id.Generation() == 0 || cut > 0 {
			continue
		}
		takeLive(t, filepath.Join(third.store, name), live)
		cut++
	}
	o.Log = log.logger()
	if s, err = OpenSource(t.Context(), starter{}, o); err != nil {
		t.Fatal(err)
	}
	(&writing{t: t, s: s}).end()
	if said := log.all(); cut == 0 || !strings.Contains(said, "groups=1") {
		t.Errorf("of a group that was never removed and is gone it is said:\n%s", said)
	}
}

// TestPruneBesideReaders prunes while others read, each with an index of its own, from before a prune or from the midst
// of it: all that nobody removes is read, and every log is.
func TestPruneBesideReaders(t *testing.T) {
	p := newPlace(t)
	small := func(p place) Options {
		o := p.options(t)
		o.ChunkBytes = 300 << 10
		return o
	}
	open := func() *writing {
		s, err := OpenSource(t.Context(), starter{}, small(p))
		if err != nil {
			t.Fatal(err)
		}
		return &writing{t: t, s: s}
	}
	half(t, open)
	live, _ := half(t, open) // inodes of the first are written over: their groups are garbage
	kept, round := live[:4], live[4:]
	read := func(r *Reader) error {
		for _, seq := range kept {
			if err := r.Groups().ReadAt(t.Context(), seq, make([]byte, 1), 0); err != nil {
				return err
			}
		}
		return nil
	}
	elsewhere := func() (*Reader, error) {
		return OpenReader(t.Context(), small(place{store: p.store, state: t.TempDir()}), "")
	}
	before, err := elsewhere()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	w := open()
	stop := make(chan struct{})
	var reading sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := elsewhere()
				if err == nil {
					err = errors.Join(read(r), r.Close())
				}
				if err == nil {
					err = read(before)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	total := 0
	for i := range len(round) + 1 {
		pruned, err := w.s.Prune(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		total += pruned.Chunks
		if i < len(round) {
			w.unlink(chunkfmt.Ino(13 + 2*i))
		}
	}
	close(stop)
	reading.Wait()
	if total < 5 {
		t.Errorf("%d chunks were written anew", total)
	}
	w.wantPruned(kept, round)
	w.end()
}

// takeLive makes one live group of a chunk gone, as somebody would who wants to hide that he has taken it.
func takeLive(t *testing.T, path string, live []chunkfmt.Seq) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := chunkfmt.ReadFooter(strings.NewReader(string(b)), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	out := slices.Clone(b[:chunkfmt.ChunkHeaderSize])
	var left []chunkfmt.Tag
	taken := false
	for at, tag := range chunkfmt.Places(tags) {
		moved := *tag
		moved.Offset = uint64(len(out))
		body := b[at+chunkfmt.TagSize:][:tag.StoredLen()]
		if !taken && slices.Contains(live, tag.Seq) {
			moved, body, taken = chunkfmt.GoneTag(tag.Seq, tag.Seq, tag.Watermark, uint64(len(out))), nil, true
		}
		var head [chunkfmt.TagSize]byte
		moved.Put(head[:])
		out = append(append(out, head[:]...), body...)
		left = append(left, moved)
	}
	if !taken {
		t.Fatalf("%s has no live group", path)
	}
	if err := os.WriteFile(path, chunkfmt.AppendFooter(out, left), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKeepPolicy sets, applies and clears the rules of a volume, also over a rebuild.
func TestKeepPolicy(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	rules := keep.Rules{Last: 2, Labels: []string{"x"}}
	if err := w.s.SetKeep(t.Context(), w, &rules); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		w.put("a", "1")
		w.cut(stage.MarkArchive, "", "", nil)
	}
	gone, err := w.s.ApplyKeep(t.Context(), w)
	if err != nil || len(gone) != 2 || gone[0].Number != 1 || gone[1].Number != 2 {
		t.Errorf("forgotten: %+v, %v", gone, err)
	}
	w.end()
	w = p.copyOf(t).mustOpen(t)
	got, ok, err := KeepOf(w.s.Index())
	if err != nil || !ok || got.Last != 2 || !slices.Equal(got.Labels, rules.Labels) {
		t.Errorf("elsewhere the rules are %+v, %v, %v", got, ok, err)
	}
	if gone, err := w.s.ApplyKeep(t.Context(), w); err != nil || len(gone) != 0 {
		t.Errorf("once more: %+v, %v", gone, err)
	}
	if err := w.s.SetKeep(t.Context(), w, nil); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := KeepOf(w.s.Index()); ok || err != nil {
		t.Errorf("after they were cleared: %v, %v", ok, err)
	}
	if gone, err := w.s.ApplyKeep(t.Context(), w); err != nil || len(gone) != 0 {
		t.Errorf("without rules: %+v, %v", gone, err)
	}
	w.end()
}

// farRig is a client's volume on a server that removes.
type farRig struct {
	*doors
	t     *testing.T
	g     *guest
	state string
}

func newFarRig(t *testing.T, rights channel.Rights) *farRig {
	t.Helper()
	d := newDoors(t)
	d.to.o.ChunkBytes, d.to.o.Grace = 500<<10, time.Hour
	var err error
	if d.to.o.Removals, err = OpenRemovals(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	o := d.client.far(t, d, t.TempDir(), nil)
	keys := chunkfmt.DeriveVolumeKeys(o.Master, o.Store, o.Volume)
	return &farRig{d, t, d.letVolumeWith("pruner", keys.ID, rights), t.TempDir()}
}

func (f *farRig) open() *writing {
	f.t.Helper()
	o := f.g.far(f.t, f.doors, f.state, nil)
	o.Far.Removals = f.g.medium
	s, err := OpenSource(f.t.Context(), starter{}, o)
	if err != nil {
		f.t.Fatal(err)
	}
	return &writing{t: f.t, s: s}
}

func (f *farRig) stored() int64 { return stored(f.t, f.to.o.Medium, media.VolumePrefix(f.g.volume)) }

// settled waits until the server has carried out what is due.
func (f *farRig) settled() {
	f.t.Helper()
	f.to.lookAfterRemovals(f.t.Context())
	v, err := f.to.ofID(f.g.volume)
	if err != nil {
		f.t.Fatal(err)
	}
	v.cleaning.wg.Wait()
}

// TestServerPrunes: a server without a key takes off its medium what a client has removed, as much as was planned, and
// what is left is read.
func TestServerPrunes(t *testing.T) {
	t.Parallel()
	f := newFarRig(t, channel.Rights{})
	live, dead := half(t, f.open)
	w := f.open()
	before := f.stored()
	plan, err := w.s.PlanPrune(t.Context())
	// The session's own first chunk may be on its way yet.
	if now := f.stored(); err != nil || plan.Removed != len(dead) || now < before {
		t.Errorf("planned %+v, %v; %d bytes were stored before, and %d after", plan, err, before, now)
	}
	pruned, err := w.s.Prune(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if back := before - f.stored(); pruned.Removed != len(dead) || pruned.Bytes != plan.Bytes || back < plan.Bytes*9/10 || back == 0 {
		t.Errorf("planned %+v, did %+v, and %d bytes came back", plan, pruned, back)
	}
	w.wantPruned(live, dead)
	w.wantHints(live)
	w.end()
	f.state = t.TempDir()
	w = f.open() // another machine
	w.wantPruned(live, dead)
	w.end()
}

// TestServerGoesOn: a list that a server has taken is carried out also if that server ends before.
func TestServerGoesOn(t *testing.T) {
	t.Parallel()
	f := newFarRig(t, channel.Rights{})
	live, dead := half(t, f.open)
	w := f.open()
	stopped := errors.New("the list is kept, and then the server ends")
	w.s.o.Far.Removals = ender{f, stopped}
	if _, err := w.s.Prune(t.Context(), w); !errors.Is(err, stopped) || !w.s.Unclean() {
		t.Fatalf("the server was to end: %v", err)
	}
	w.end()
	before := f.stored()
	f.settled()
	if back := before - f.stored(); back < int64(len(dead))*150_000 {
		t.Errorf("%d bytes came back after a new start", back)
	}
	if f.to.o.Removals.due(f.g.volume) {
		t.Error("what was carried out is due")
	}
	w = f.open()
	w.wantPruned(live, dead)
	if _, err := w.s.Clean(t.Context()); err != nil || w.s.Unclean() {
		t.Errorf("the client goes on with it: %v", err)
	}
	w.end()
}

// ender keeps a list as the server does, which then ends.
type ender struct {
	f       *farRig
	stopped error
}

func (e ender) RemoveGroups(_ context.Context, list io.ReaderAt, size int64, _ bool) (remote.Removal, error) {
	b := make([]byte, size)
	if _, err := list.ReadAt(b, 0); err != nil {
		return remote.Removal{}, err
	}
	return remote.Removal{}, errors.Join(e.stopped, e.f.to.o.Removals.take(e.f.g.volume, dueList, strings.NewReader(string(b))))
}

// TestAppendOnlyPrune: what an append-only client removes stays until it is approved of and its grace is over.
func TestAppendOnlyPrune(t *testing.T) {
	t.Parallel()
	f := newFarRig(t, channel.Rights{AppendOnly: true})
	live, dead := half(t, f.open)
	w := f.open()
	before := f.stored()
	pruned, err := w.s.Prune(t.Context(), w)
	if err != nil || !pruned.Until.Equal(f.time().Add(time.Hour)) || pruned.Removed != len(dead) || f.stored() < before {
		t.Fatalf("did %+v, %v", pruned, err)
	}
	w.end()
	after := f.stored()
	stays := func(when string) {
		t.Helper()
		f.settled()
		if n := f.stored(); n != after {
			t.Fatalf("%s: %d bytes, want %d", when, n, after)
		}
	}
	stays("at once")
	f.setNow(f.time().Add(2 * time.Hour))
	stays("after the time of grace, not approved")
	f.setNow(f.time().Add(-2 * time.Hour))
	if n, err := f.to.o.Removals.Approve(f.g.volume); err != nil || n != 1 {
		t.Fatalf("approved %d, %v", n, err)
	}
	stays("approved, in the time of grace")
	// A list that comes later waits for itself, and does not make the first wait.
	w = f.open()
	w.unlink(13)
	if _, err := w.s.Prune(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	w.end()
	after = f.stored()
	f.setNow(f.time().Add(time.Hour))
	f.settled()
	if back := after - f.stored(); back < int64(len(dead))*150_000 {
		t.Errorf("%d bytes came back", back)
	}
	waiting, err := f.to.o.Removals.Waiting(f.g.volume)
	if err != nil || len(waiting) != 1 || waiting[0].Approved {
		t.Errorf("waiting: %+v, %v", waiting, err)
	}
	w = f.open()
	w.wantPruned(slices.DeleteFunc(live, func(s chunkfmt.Seq) bool {
		_, _, ok, err := w.s.Index().Group(s)
		return err == nil && !ok // the one that was unlinked last
	}), dead)
	w.end()
	for range mostPending + 2 {
		err = errors.Join(err, f.to.o.Removals.wait(f.g.volume, f.time().Add(time.Duration(len(waiting))), strings.NewReader(emptyList(t, f.g.volume))))
		waiting = append(waiting, Waiting{})
	}
	if !errors.Is(err, ErrTooManyWaiting) {
		t.Errorf("list after list: %v", err)
	}
}

// TestWhoMayRemove: only who writes a volume removes from it, and only with what is a list.
func TestWhoMayRemove(t *testing.T) {
	t.Parallel()
	f := newFarRig(t, channel.Rights{})
	half(t, f.open)
	before := f.stored()
	list := emptyList(t, f.g.volume)
	for what, try := range map[string]func() error{
		"not writing": func() error {
			_, err := f.g.medium.RemoveGroups(t.Context(), strings.NewReader(list), int64(len(list)), false)
			return err
		},
		"another's": func() error {
			other := f.client
			other.medium = f.strangerFor(f.g.volume).medium
			_, err := other.medium.RemoveGroups(t.Context(), strings.NewReader(list), int64(len(list)), false)
			return err
		},
		"no list": func() error {
			w := f.open()
			defer w.end()
			_, err := f.g.medium.RemoveGroups(t.Context(), strings.NewReader("nonsense"), 8, false)
			return err
		},
	} {
		if err := try(); err == nil {
			t.Errorf("%s: it was taken", what)
		}
	}
	f.settled()
	if f.stored() < before {
		t.Error("something was removed")
	}
}

func emptyList(t *testing.T, v chunkfmt.VolumeID) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "list")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := cleaner.WriteList(f, v, func(func(chunkfmt.Removed) error) error { return nil }); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
