package stage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"coffer/chunkfmt"
	"coffer/index/dedup"
	"coffer/media"
	"coffer/media/faulty"
	"coffer/media/mem"
	"coffer/pipeline"
	"coffer/pipeline/stage"
)

var (
	testStore = chunkfmt.StoreID{1}
	testKeys  = chunkfmt.DeriveVolumeKeys([32]byte{2}, testStore, "test")
)

// tester is what *testing.T, *testing.B and *rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// rig is one session on a medium that can fail.
type rig struct {
	t       tester
	ctx     context.Context
	inner   media.Medium
	medium  *faulty.Medium
	catalog *media.Catalog
	flight  *stage.Flight
	groups  *stage.Groups
	index   *memIndex
	writer  *stage.Writer
	pipe    *pipeline.Pipe
	c       *stage.Collector

	mu   sync.Mutex
	head stage.Head // of the last journal
}

// memIndex is the index as far as this package needs one.
type memIndex struct {
	mu     sync.Mutex
	groups map[chunkfmt.Seq]chunkfmt.GroupRecord
	healed map[chunkfmt.Seq][]chunkfmt.Healed
}

func (x *memIndex) Healed(seq chunkfmt.Seq) ([]chunkfmt.Healed, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.healed[seq], nil
}

func (x *memIndex) Known(first chunkfmt.Seq, f func(chunkfmt.GroupRecord, chunkfmt.Location) bool) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, seq := range slices.Sorted(maps.Keys(x.groups)) {
		if seq >= first && !f(x.groups[seq], chunkfmt.Location{}) {
			break
		}
	}
	return nil
}

func (x *memIndex) Group(seq chunkfmt.Seq) (chunkfmt.GroupRecord, chunkfmt.Location, bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r, ok := x.groups[seq]
	return r, chunkfmt.Location{}, ok, nil
}

func sealerOf(ordinal uint32) (*chunkfmt.Sealer, error) {
	return chunkfmt.NewSealer(&testKeys, sessionID(ordinal))
}

func sessionID(ordinal uint32) chunkfmt.SessionID { return chunkfmt.SessionID{3, byte(ordinal)} }

// newRig starts a session; adjust may change its configuration.
func newRig(t tester, ctx context.Context, adjust func(*stage.Config)) *rig {
	t.Helper()
	r := &rig{t: t, ctx: ctx, inner: mem.New(0), index: &memIndex{groups: make(map[chunkfmt.Seq]chunkfmt.GroupRecord)}}
	r.medium = faulty.Wrap(r.inner, nil)
	r.flight = stage.NewFlight()
	var err error
	if r.catalog, err = media.OpenCatalog(ctx, "", r.medium, testKeys.ID, media.CatalogOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := r.catalog.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	r.groups, err = stage.NewGroups(ctx, stage.GroupsConfig{
		Keys: &testKeys, Flight: r.flight, Records: r.index, Locator: r.catalog, Medium: r.medium,
		Sealer: sealerOf, CacheBytes: 4 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // what was written is read after its session
		if err := r.groups.Close(); err != nil {
			t.Errorf("close the groups: %v", err)
		}
	})
	sealer, err := sealerOf(1)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stage.Config{
		Store: testStore, Keys: &testKeys, Sealer: sealer, Session: sessionID(1), Ordinal: 1,
		Info:    (&chunkfmt.SessionInfo{Volume: "test"}).Append(nil),
		Archive: 1, Medium: r.medium, Catalog: r.catalog, Dedup: dedup.New(1<<20, r.groups),
		Flight: r.flight, Groups: r.groups, Buffers: 12, ChunkSize: 3 << 20, Reserve: 1,
		Log: slog.New(slog.DiscardHandler),
	}
	if adjust != nil {
		adjust(&cfg)
	}
	if r.writer, err = stage.NewWriter(cfg); err != nil {
		t.Fatal(err)
	}
	spec := r.writer.Spec("test")
	spec.Strict = true
	if r.pipe, err = pipeline.Start(ctx, spec); err != nil {
		t.Fatal(err)
	}
	r.c = r.writer.Collector()
	return r
}

// close waits for a session that was ended, and checks that nothing is left.
func (r *rig) close() {
	r.t.Helper()
	if err := r.pipe.Wait(); err != nil {
		r.t.Fatalf("pipe: %v", err)
	}
	r.shut()
	if n := r.writer.Pending(); n != 0 {
		r.t.Errorf("%d bytes are pending after the end", n)
	}
}

// shut takes the pipe down, whether it failed or not.
func (r *rig) shut() {
	r.t.Helper()
	_ = r.pipe.Wait()
	if err := r.writer.Detach(); err != nil {
		r.t.Errorf("detach: %v", err)
	}
	if err := r.pipe.Close(); err != nil {
		r.t.Errorf("close the pipe: %v", err)
	}
}

// write writes p at off of s as one write and returns the pieces.
func (r *rig) write(s *stage.Stream, off int64, p []byte) ([]stage.Piece, error) {
	slot, err := r.c.Begin(r.ctx, s, off, len(p))
	if err != nil {
		return nil, err
	}
	defer slot.Release()
	return append([]stage.Piece(nil), slot.Write(p)...), nil
}

// mark takes a cut and returns its tails and the channel of its acknowledgement.
func (r *rig) mark(m stage.Marker, under func(cut func() []stage.Tail)) <-chan error {
	r.t.Helper()
	slot, err := r.c.Prepare(r.ctx)
	acked := make(chan error, 1)
	if err != nil {
		acked <- err
		return acked
	}
	defer slot.Release()
	m.Acked = func(err error) { acked <- err }
	journalled := m.Journalled
	m.Journalled = func(j stage.Journal) {
		r.applied(j)
		if journalled != nil {
			journalled(j)
		}
	}
	under(func() []stage.Tail { return slot.Cut(m) })
	return acked
}

func (r *rig) applied(j stage.Journal) {
	r.mu.Lock()
	r.head = j.Head
	r.mu.Unlock()
	r.index.mu.Lock()
	defer r.index.mu.Unlock()
	for _, b := range j.Batches {
		for _, rec := range b.Records {
			if rec.Kind != chunkfmt.RecGroup {
				continue
			}
			seq, err := chunkfmt.ParseGroupKey(rec.Key)
			if err != nil {
				panic(err)
			}
			g, err := chunkfmt.ParseGroup(seq, rec.Value)
			if err != nil {
				panic(err)
			}
			r.index.groups[seq] = g
		}
	}
}

// await waits for an acknowledgement.
func (r *rig) await(acked <-chan error) error {
	select {
	case err := <-acked:
		return err
	case <-r.ctx.Done():
		return errors.Join(errors.New("no acknowledgement"), context.Cause(r.ctx))
	}
}

// file is one file of a model tree: its bytes, and where the collector says
// that they are.
type file struct {
	ino    chunkfmt.Ino
	stream stage.Stream
	data   []byte
	spans  []stage.Piece // without overlaps, by offset
}

// cover lays p over the spans.
func cover(spans []stage.Piece, p stage.Piece) []stage.Piece {
	out := make([]stage.Piece, 0, len(spans)+2)
	end := p.Off + p.Len
	put := false
	for _, s := range spans {
		sEnd := s.Off + s.Len
		if s.Off < p.Off {
			head := s
			head.Len = min(sEnd, p.Off) - s.Off
			out = append(out, head)
		}
		if !put && sEnd > p.Off {
			out = append(out, p)
			put = true
		}
		if sEnd > end {
			at := max(s.Off, end)
			out = append(out, stage.Piece{Off: at, Len: sEnd - at, Run: s.Run, RunOff: s.RunOff + at - s.Off})
		}
	}
	if !put {
		out = append(out, p)
	}
	return out
}

func (f *file) wrote(off int64, p []byte, pieces []stage.Piece) {
	if need := off + int64(len(p)); need > int64(len(f.data)) {
		f.data = append(f.data, make([]byte, need-int64(len(f.data)))...)
	}
	copy(f.data[off:], p)
	for _, piece := range pieces {
		f.spans = cover(f.spans, piece)
	}
}

// check reads the file through its spans and compares.
func (f *file) check(ctx context.Context) error {
	got := make([]byte, len(f.data))
	for _, s := range f.spans {
		if err := s.Run.ReadAt(ctx, got[s.Off:s.Off+s.Len], s.RunOff); err != nil {
			return fmt.Errorf("file %d at %d: %w", f.ino, s.Off, err)
		}
	}
	return same(f.ino, got, f.data)
}

func same(ino chunkfmt.Ino, got, want []byte) error {
	if len(got) != len(want) {
		return fmt.Errorf("file %d has %d bytes, want %d", ino, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("file %d differs at %d of %d: %#x, want %#x", ino, i, len(got), got[i], want[i])
		}
	}
	return nil
}

// frozen is what a cut promises of a file.
type frozen struct {
	ino   chunkfmt.Ino
	data  []byte
	spans []stage.Piece
}

// freeze also puts the tails into the live file, in which a real tree finds
// them below what it has written since.
func (f *file) freeze(tails []stage.Tail) frozen {
	for _, t := range tails {
		if t.Stream == &f.stream {
			f.spans = cover(f.spans, stage.Piece{Off: t.FileOff, Len: t.Len, Run: t.Run})
		}
	}
	return frozen{f.ino, append([]byte(nil), f.data...), f.spans}
}

// encode journals the whole file.
func (z *frozen) encode(w stage.RecordSink) error {
	put := func(e chunkfmt.Extent) error {
		return w.Add(chunkfmt.Record{
			Op: chunkfmt.OpPut, Kind: chunkfmt.RecExtent, Key: chunkfmt.ExtentKey(z.ino, e.Offset), Value: e.Append(nil),
		})
	}
	for _, s := range z.spans {
		var err error
		covered := int64(0)
		s.Run.Blocks(s.RunOff, s.Len, func(runOff int64, b *stage.Block) {
			group, off, hole, ok := b.Place()
			if !ok {
				err = fmt.Errorf("file %d: a block at %d has no place", z.ino, s.Off)
				return
			}
			from, to := max(runOff, s.RunOff), min(runOff+int64(b.Len()), s.RunOff+s.Len)
			covered += to - from
			if hole {
				return
			}
			err = errors.Join(err, put(chunkfmt.Extent{
				Offset: uint64(s.Off + from - s.RunOff), Length: uint64(to - from),
				Group: group, GroupOffset: off + uint32(from-runOff),
			}))
		})
		if err == nil && covered != s.Len {
			err = fmt.Errorf("file %d: %d of %d bytes at %d are in blocks", z.ino, covered, s.Len, s.Off)
		}
		if err != nil {
			return err
		}
	}
	size := uint64(len(z.data))
	return w.Add(chunkfmt.Record{
		Op: chunkfmt.OpPut, Kind: chunkfmt.RecMeta, Key: []byte(fmt.Sprint(z.ino)),
		Value: fmt.Append(nil, size),
	})
}

// batch is a BatchSource of whole files. It may be asked before the files are
// frozen altogether: ready says when.
type batch struct {
	ready chan struct{}
	files []frozen
}

func (b *batch) Encode(w stage.RecordSink) error {
	<-b.ready
	for i := range b.files {
		if err := b.files[i].encode(w); err != nil {
			return err
		}
	}
	return nil
}
