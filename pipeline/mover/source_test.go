package mover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
	"coffer/media/dir"
	"coffer/pipeline"
	"coffer/pipeline/stage"
)

type starter struct{}

func (starter) Initiate(ctx context.Context, spec pipeline.Spec) (*pipeline.Pipe, error) {
	return pipeline.Start(ctx, spec)
}

// place is a store and a machine's state of it, as two folders that can be
// copied like a user would.
type place struct{ store, state string }

func newPlace(t *testing.T) place {
	t.Helper()
	return place{store: t.TempDir(), state: t.TempDir()}
}

// copyOf copies the store and gives it another machine's empty state.
func (p place) copyOf(t *testing.T) place {
	t.Helper()
	c := newPlace(t)
	c.takeStore(t, p)
	return c
}

// takeStore makes p's store what from's is.
func (p place) takeStore(t *testing.T, from place) {
	t.Helper()
	for _, name := range files(t, p.store) {
		if err := os.Remove(filepath.Join(p.store, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(p.store, os.DirFS(from.store)); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		names = append(names, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// chunkPath is the file of a chunk.
func (p place) chunkPath(o Options, ordinal, n uint32, mirror bool) string {
	keys := chunkfmt.DeriveVolumeKeys(o.Master, o.Store, o.Volume)
	return filepath.Join(p.store, media.ChunkName(keys.ID, chunkfmt.MakeChunkID(ordinal, n, mirror)))
}

func (p place) options(t *testing.T) Options {
	t.Helper()
	m, err := dir.Open(p.store, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return Options{
		Medium: m, Store: chunkfmt.StoreID{1}, Master: [32]byte{2}, Volume: "main",
		StateDir: p.state, Buffers: 12, Instances: 2, CacheBytes: 4 << 20,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func (p place) open(t *testing.T) (*Source, error) {
	t.Helper()
	return OpenSource(t.Context(), starter{}, p.options(t))
}

func (p place) mustOpen(t *testing.T) *writing {
	t.Helper()
	s, err := p.open(t)
	if err != nil {
		t.Fatal(err)
	}
	return &writing{t: t, s: s}
}

// writing is a session in a test. Each batch puts one meta record.
type writing struct {
	t      *testing.T
	s      *Source
	filler int // more records of 1 kB in each batch
	extra  records
	// journalled, if not nil, encodes more behind the rest.
	journalled func(w stage.RecordSink) error
}

// alsoJournalled encodes what a cut has, and what is to be journalled besides.
type alsoJournalled struct {
	records
	more func(w stage.RecordSink) error
}

func (a alsoJournalled) Encode(w stage.RecordSink) error {
	if err := a.records.Encode(w); err != nil || a.more == nil {
		return err
	}
	return a.more(w)
}

type records []chunkfmt.Record

func (r records) Encode(w stage.RecordSink) error {
	for _, record := range r {
		if err := w.Add(record); err != nil {
			return err
		}
	}
	return nil
}

// cut writes data as one block of a file, and a batch that sets key to value.
func (w *writing) cut(kind stage.MarkerKind, key, value string, data []byte) {
	w.t.Helper()
	ctx := w.t.Context()
	c := w.s.Collector()
	if len(data) > 0 {
		var stream stage.Stream
		slot, err := c.Begin(ctx, &stream, 0, len(data))
		if err != nil {
			w.t.Fatal(err)
		}
		slot.Write(data)
		slot.Release()
		c.Finish(&stream)
	}
	slot, err := c.Prepare(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	acked := make(chan error, 1)
	var journal stage.Journal
	var batch records
	for i := range w.filler {
		batch = append(batch, chunkfmt.Record{Op: chunkfmt.OpPut, Kind: chunkfmt.RecMeta,
			Key: chunkfmt.MetaKey(fmt.Sprintf("filler%d", i)), Value: make([]byte, 1000)})
	}
	if key != "" {
		batch = append(batch, chunkfmt.Record{Op: chunkfmt.OpPut, Kind: chunkfmt.RecMeta, Key: chunkfmt.MetaKey(key), Value: []byte(value)})
	}
	batch = append(batch, w.extra...)
	slot.Cut(stage.Marker{
		Kind: kind, Batch: alsoJournalled{batch, w.journalled},
		Journalled: func(j stage.Journal) { journal = j },
		Acked:      func(err error) { acked <- err },
	})
	slot.Release()
	if err := <-acked; err != nil {
		w.t.Fatal(err)
	}
	whole := make([]index.Batch, 0, 1)
	for i, b := range journal.Batches {
		if i == 0 {
			whole = append(whole, index.Batch{Header: b.Header})
		}
		whole[0].Records = append(whole[0].Records, b.Records...)
	}
	if len(whole) == 0 {
		return
	}
	if err := w.s.Index().Apply(whole, index.Head(journal.Head), w.s.Flight().Location); err != nil {
		w.t.Fatal(err)
	}
	w.s.Flight().Forget(journal.Head.Seq)
}

func (w *writing) put(key, value string) {
	w.t.Helper()
	w.cut(stage.MarkCut, key, value, bytes.Repeat([]byte(key+value), 1000))
}

func (w *writing) end() {
	w.t.Helper()
	w.cut(stage.MarkEnd, "", "", nil)
	if err := w.s.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// crash ends the session as a killed process would: nothing is drained.
func (w *writing) crash() {
	w.t.Helper()
	w.s.Pipe().Abort(errors.New("killed"))
	_ = w.s.Close() // says that it was killed
}

func (w *writing) want(values map[string]string) {
	w.t.Helper()
	got := map[string]string{}
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		value, ok, err := w.s.Index().Meta(key)
		if err != nil {
			w.t.Fatal(err)
		}
		if ok {
			got[key] = string(value)
		}
	}
	if diff := cmp.Diff(values, got); diff != "" {
		w.t.Fatalf("state differs (-want +got):\n%s", diff)
	}
}

func TestSessionsGoOn(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "1")
	w.put("b", "1")
	w.end()
	w = p.mustOpen(t)
	w.want(map[string]string{"a": "1", "b": "1"})
	w.put("a", "2")
	w.crash()
	w = p.mustOpen(t)
	w.put("c", "3")
	w.end()

	// Another machine, with the key only, sees the same.
	other := p.copyOf(t).mustOpen(t)
	other.want(map[string]string{"a": "2", "b": "1", "c": "3"})
	other.end()
}

func (w *writing) groups() (all []chunkfmt.Seq) {
	w.t.Helper()
	err := w.s.Index().Groups(func(g chunkfmt.GroupRecord, _ chunkfmt.Location) bool {
		all = append(all, g.Seq)
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// TestDamagedGroupsAreStoredAgain: what is known to be damaged is not referred to by
// the next copy of the same content.
func TestDamagedGroupsAreStoredAgain(t *testing.T) {
	p := newPlace(t)
	data := bytes.Repeat([]byte("the same again"), 1000)
	session := func(name string, want int, extra ...chunkfmt.Record) []chunkfmt.Seq {
		t.Helper()
		w := p.mustOpen(t)
		w.extra = extra
		w.cut(stage.MarkCut, "a", name, data)
		all := w.groups()
		if len(all) != want {
			t.Fatalf("%s: %d groups, want %d", name, len(all), want)
		}
		w.extra = nil
		w.end()
		return all
	}
	session("first", 1)
	all := session("known", 1)
	session("marked", 1, chunkfmt.Record{
		Op: chunkfmt.OpPut, Kind: chunkfmt.RecBad, Key: chunkfmt.BadKey(all[0]), Value: []byte("rot"),
	})
	session("again", 2)
	session("known again", 2)
}

// TestBatchOfManyParts puts batches that take several tags, as a cut of many
// files does.
func TestBatchOfManyParts(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.filler = 3000
	w.put("a", "1")
	w.put("b", "1")
	w.crash()
	w = p.mustOpen(t)
	w.put("a", "2")
	w.end()
	want := map[string]string{"a": "2", "b": "1"}
	for _, q := range []place{p, p.copyOf(t)} {
		w := q.mustOpen(t)
		w.want(want)
		w.end()
	}
}

func TestRolledBack(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "1")
	w.end()
	old := p.copyOf(t)
	w = p.mustOpen(t)
	w.put("a", "2")
	w.end()
	p.takeStore(t, old)
	if _, err := p.open(t); !errors.Is(err, ErrRolledBack) {
		t.Fatalf("an older copy: %v", err)
	}
	o := p.options(t)
	o.AcceptRollback = true
	s, err := OpenSource(t.Context(), starter{}, o)
	if err != nil {
		t.Fatal(err)
	}
	w = &writing{t: t, s: s}
	w.want(map[string]string{"a": "1"})
	w.end()
}

func TestCutShort(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "1")
	w.put("b", "1")
	w.crash()
	path := p.chunkPath(p.options(t), 1, 1, false)
	chunk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ends := tagEnds(t, chunk) // the last is the batch, which the mirror has too; before it lies its data
	if err := os.Truncate(path, ends[len(ends)-2]-1); err != nil {
		t.Fatal(err)
	}
	if _, err := p.open(t); !errors.Is(err, ErrRolledBack) {
		t.Fatalf("a log without its end: %v", err)
	}
}

func TestMissingSession(t *testing.T) {
	p := newPlace(t)
	for range 3 {
		w := p.mustOpen(t)
		w.put("a", "1")
		w.end()
	}
	o := p.options(t)
	for _, mirror := range []bool{false, true} {
		if err := os.Remove(p.chunkPath(o, 2, 1, mirror)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.copyOf(t).open(t); !errors.Is(err, ErrCut) {
		t.Fatalf("a log without its middle: %v", err)
	}
}

func TestForked(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "1")
	w.end()
	q := p.copyOf(t)
	for i, side := range []place{p, q} {
		w := side.mustOpen(t)
		w.put("b", string(rune('1'+i)))
		w.end()
	}
	stores := []place{p.copyOf(t), q.copyOf(t)}
	p.takeStore(t, stores[1])
	if _, err := p.open(t); !errors.Is(err, ErrForked) {
		t.Fatalf("a copy written elsewhere: %v", err)
	}
	q.takeStore(t, stores[0])
	if _, err := q.open(t); !errors.Is(err, ErrForked) {
		t.Fatalf("a copy written elsewhere: %v", err)
	}
}

// TestAmbiguousLog builds every tail that a crash can leave, whole batches among
// them, lets a new session begin after each, and then brings back what the crash
// had hidden: none of it may return.
func TestAmbiguousLog(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "1")
	acked := index.Head(w.s.Writer().Head())
	state := newPlace(t).state
	w.put("b", "unacknowledged")
	w.put("c", "unacknowledged")
	w.crash()
	o := p.options(t)
	path := p.chunkPath(o, 1, 1, false)
	full, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ends := tagEnds(t, full)
	for i, end := range ends {
		for _, size := range []int64{end, end + 50} {
			if size > int64(len(full)) {
				continue
			}
			q := p.copyOf(t)
			q.state = filepath.Join(state, "machine", filepath.Base(q.store)+string(rune('a'+i)))
			torn := q.chunkPath(o, 1, 1, false)
			if err := os.Truncate(torn, size); err != nil {
				t.Fatal(err)
			}
			// Had the machine acknowledged more than there is, it would
			// refuse; here it remembers nothing, so that every tail is tried.
			w := q.mustOpen(t)
			before, err := stateOf(w.s)
			if err != nil {
				t.Fatal(err)
			}
			w.put("d", "new")
			w.end()
			if err := os.WriteFile(torn, full, 0o600); err != nil {
				t.Fatal(err)
			}
			fresh := q.copyOf(t).mustOpen(t)
			before["d"] = "new"
			fresh.want(before)
			fresh.end()
			again := q.mustOpen(t)
			again.want(before)
			again.end()
		}
	}
	if acked.Seq == 0 || len(ends) < 8 {
		t.Fatalf("the log under test has %d tags, head %v", len(ends), acked.Seq)
	}
}

func stateOf(s *Source) (map[string]string, error) {
	values := map[string]string{}
	for _, key := range []string{"a", "b", "c"} {
		value, ok, err := s.Index().Meta(key)
		if err != nil {
			return nil, err
		}
		if ok {
			values[key] = string(value)
		}
	}
	return values, nil
}

// tagEnds lists where each tag with its data ends.
func tagEnds(t *testing.T, chunk []byte) []int64 {
	t.Helper()
	var ends []int64
	sc := chunkfmt.NewScanner(bytes.NewReader(chunk), int64(len(chunk)))
	for {
		e, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return ends
		}
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, e.At+chunkfmt.TagSize+int64(e.Tag.StoredLen()))
	}
}

// TestDamagedBatch flips a bit in every batch: the copy in the mirror is used.
// With both damaged, opening fails and says so.
func TestDamagedBatch(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "1")
	w.put("b", "1")
	w.end()
	w = p.mustOpen(t)
	w.end()
	o := p.options(t)
	flip := func(q place, mirror bool) int {
		path := q.chunkPath(o, 1, 1, mirror)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sc := chunkfmt.NewScanner(bytes.NewReader(b), int64(len(b)))
		flipped := 0
		for {
			e, err := sc.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Tag.Kind == chunkfmt.KindBatch {
				b[e.At+chunkfmt.TagSize+5] ^= 0x10
				flipped++
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return flipped
	}
	q := p.copyOf(t)
	if n := flip(q, false); n < 2 {
		t.Fatalf("%d batches in the log under test", n)
	}
	w = q.mustOpen(t)
	w.want(map[string]string{"a": "1", "b": "1"})
	w.end()

	q = p.copyOf(t)
	flip(q, false)
	flip(q, true)
	if _, err := q.open(t); !errors.Is(err, ErrDamaged) {
		t.Fatalf("both places damaged: %v", err)
	}
}

func TestRebuild(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "1")
	w.end()
	w = p.mustOpen(t)
	w.put("b", "2")
	w.end()
	if err := os.RemoveAll(filepath.Join(p.state, "index.db")); err != nil {
		t.Fatal(err)
	}
	report, err := Rebuild(context.WithoutCancel(t.Context()), p.options(t))
	if err != nil {
		t.Fatal(err)
	}
	if report.Sessions != 2 || report.Chunks == 0 {
		t.Fatalf("report %+v", report)
	}
	w = p.mustOpen(t)
	w.want(map[string]string{"a": "1", "b": "2"})
	w.end()
}

func TestSecondWriterIsRefused(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	defer w.end()
	if _, err := p.open(t); !errors.Is(err, media.ErrLocked) {
		t.Fatalf("a second writer: %v", err)
	}
}
