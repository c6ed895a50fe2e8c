package mover

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
	"coffer/pipeline/stage"
)

// openWith opens the volume with other options.
func (p place) openWith(t *testing.T, change func(*Options)) *writing {
	t.Helper()
	o := p.options(t)
	o.CheckpointAfter = 1
	change(&o)
	s, err := OpenSource(t.Context(), starter{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return &writing{t: t, s: s}
}

// eager writes a checkpoint at every archive behind which the log is longer than the one before.
func (p place) eager(t *testing.T) *writing {
	t.Helper()
	return p.openWith(t, func(*Options) {})
}

// someFiles makes records of n files, new ones and old ones changed, and of a removal. Each has an attribute of
// 2 KiB, so that a few hundred fill a piece of a checkpoint.
func someFiles(rng *rand.Rand, first, n int) (all records) {
	put := func(kind chunkfmt.RecordKind, key, value []byte) {
		all = append(all, chunkfmt.Record{Op: chunkfmt.OpPut, Kind: kind, Key: key, Value: value})
	}
	for i := range n {
		ino := chunkfmt.Ino(first + i)
		if rng.IntN(10) == 0 {
			ino = chunkfmt.Ino(2 + rng.IntN(first+i-1))
		}
		name := fmt.Sprintf("file-%d", ino)
		attr := chunkfmt.Attr{Mode: unix.S_IFREG | 0o644, Nlink: 1, Size: rng.Uint64N(1 << 30)}
		put(chunkfmt.RecInode, chunkfmt.InodeKey(ino), (&chunkfmt.Inode{Attr: attr}).Append(nil))
		d := chunkfmt.Dirent{Ino: ino, Type: unix.DT_REG, Cookie: uint64(ino) + 3}
		put(chunkfmt.RecDirent, chunkfmt.DirentKey(1, name), d.Append(nil))
		e := chunkfmt.Extent{Offset: rng.Uint64N(1 << 20), Length: 1 + rng.Uint64N(1<<20)}
		e.Group = chunkfmt.MakeSeq(1, uint64(ino))
		put(chunkfmt.RecExtent, chunkfmt.ExtentKey(ino, e.Offset), e.Append(nil))
		// A short one beside it spares the codec, and the test, to turn the long ones into columns.
		put(chunkfmt.RecXattr, chunkfmt.XattrKey(ino, "user.a"), []byte("a"))
		put(chunkfmt.RecXattr, chunkfmt.XattrKey(ino, "user.long"), bytes.Repeat([]byte(name), 2048/len(name)))
	}
	gone := chunkfmt.InodeKey(chunkfmt.Ino(2 + rng.IntN(first+n-1)))
	return append(all, chunkfmt.Record{Op: chunkfmt.OpDelete, Kind: chunkfmt.RecInode, Key: gone})
}

// files writes batches of so many files, the last with an archive at its end, and some data with each.
func (w *writing) files(rng *rand.Rand, batches, n int) {
	w.t.Helper()
	for i := range batches {
		w.extra = someFiles(rng, int(w.s.Index().NextIno())+1, n)
		kind := stage.MarkCut
		if i == batches-1 {
			kind = stage.MarkArchive
		}
		w.cut(kind, "a", fmt.Sprint(i), bytes.Repeat([]byte(fmt.Sprint(rng.Uint64())), 3000))
	}
	w.extra = nil
}

// checkpoint waits for a checkpoint, if one is due.
func (w *writing) checkpoint() {
	w.t.Helper()
	if err := w.s.Checkpoint(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// contents stand for all keys of an index, and the place in the log that it has been brought to.
func contents(t *testing.T, x *index.Index) string {
	t.Helper()
	im, err := x.Image()
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	b := sha256.New()
	fmt.Fprintln(b, im.Head())
	for last := false; !last; {
		var payload []byte
		if payload, last, err = im.Piece(make([]byte, 0, 900<<10)); err != nil {
			t.Fatal(err)
		}
		_, seq := chunkfmt.ParsePiece(payload)
		for r, err := range seq {
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(b, r.Table, len(r.Key), len(r.Value))
			b.Write(r.Key)
			b.Write(r.Value)
		}
	}
	return hex.EncodeToString(b.Sum(nil))
}

// made has a machine that has never seen the store make an index of a copy of it, and gives the contents and what it
// was made of.
func (p place) made(t *testing.T, change func(*Options)) (string, *Loaded, int) {
	t.Helper()
	o := p.copyOf(t).options(t)
	change(&o)
	report, err := Rebuild(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	keys := chunkfmt.DeriveVolumeKeys(o.Master, o.Store, o.Volume)
	x, err := index.Open(filepath.Join(o.StateDir, "index.db"), index.Identity{Store: o.Store, Volume: keys.ID})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	return contents(t, x), report.Checkpoint, report.Passed
}

func fromLog(o *Options) { o.FromLog = true }
func anyway(*Options)    {}

// logged is what a machine has that makes its index of the log alone.
func (p place) logged(t *testing.T) string {
	t.Helper()
	want, none, _ := p.made(t, fromLog)
	if none != nil {
		t.Errorf("from the log means from %+v", none)
	}
	return want
}

// wantMade fails unless an index made anew is what is wanted, and was made of the checkpoint that ends with last; 0: of
// none.
func (p place) wantMade(t *testing.T, what, want string, last chunkfmt.Seq, passed int) {
	t.Helper()
	got, used, skipped := p.made(t, anyway)
	if got != want {
		t.Errorf("%s: the index is another one than that made of the log", what)
	}
	var end chunkfmt.Seq
	if used != nil {
		end = used.Last
	}
	if end != last || skipped != passed {
		t.Errorf("%s: made of %v, with %d passed over; want %v and %d", what, end, skipped, last, passed)
	}
}

// checkpoints lists the numbers of the pieces of the checkpoints in a store, oldest first.
func (p place) checkpoints(t *testing.T, mirror bool) (all [][]chunkfmt.Seq) {
	t.Helper()
	var seqs []chunkfmt.Seq
	p.eachPiece(t, mirror, func(_ string, e chunkfmt.Entry) {
		seqs = append(seqs, e.Tag.Seq)
		if e.Tag.Flags&chunkfmt.FlagMore == 0 {
			all = append(all, seqs)
			seqs = nil
		}
	})
	return all
}

func (p place) eachPiece(t *testing.T, mirror bool, f func(path string, e chunkfmt.Entry)) {
	t.Helper()
	for _, name := range files(t, p.store) {
		ext := ".chunk"
		if mirror {
			ext = ".mirror"
		}
		if filepath.Ext(name) != ext {
			continue
		}
		path := filepath.Join(p.store, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entriesOf(t, b) {
			if e.Tag.Kind == chunkfmt.KindCheckpoint {
				f(path, e)
			}
		}
	}
}

// rot flips a bit of the pieces with these numbers, in their payload or in their tag.
func (p place) rot(t *testing.T, mirror, tag bool, seqs ...chunkfmt.Seq) {
	t.Helper()
	rotten := 0
	p.eachPiece(t, mirror, func(path string, e chunkfmt.Entry) {
		for _, seq := range seqs {
			if e.Tag.Seq != seq {
				continue
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			at := e.At + chunkfmt.TagSize + 20
			if tag {
				at = e.At + 30
			}
			var b [1]byte
			if _, err := f.ReadAt(b[:], at); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 4
			if _, err := f.WriteAt(b[:], at); err != nil {
				t.Fatal(err)
			}
			rotten++
		}
	})
	if rotten != len(seqs) {
		t.Fatalf("%d of %d pieces found", rotten, len(seqs))
	}
}

func last(of []chunkfmt.Seq) chunkfmt.Seq { return of[len(of)-1] }

// twoCheckpoints is a store of three sessions: the first two end in checkpoints of several pieces.
func twoCheckpoints(t *testing.T, rng *rand.Rand) (p place, older, newer []chunkfmt.Seq) {
	t.Helper()
	p = newPlace(t)
	for batches := range 2 {
		w := p.eager(t)
		w.files(rng, batches+1, 450)
		w.checkpoint()
		w.put("b", fmt.Sprint(batches))
		w.end()
	}
	w := p.eager(t)
	w.files(rng, 2, 30)
	w.checkpoint() // not due
	w.end()
	all := p.checkpoints(t, true)
	if len(all) != 2 || len(all[0]) < 2 || len(all[1]) < 3 {
		t.Fatalf("checkpoints: %v", all)
	}
	if both := p.checkpoints(t, false); !reflect.DeepEqual(all, both) {
		t.Fatalf("%v beside copies %v", both, all)
	}
	return p, all[0], all[1]
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("COFFER_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("seed", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// TestCheckpoint: a machine without an index has the newest checkpoint and the log behind it, and what it then knows is
// what the log alone tells. A damaged piece is read from its other place; without it, an older checkpoint is used, and
// without any, the log.
func TestCheckpoint(t *testing.T) {
	p, older, newer := twoCheckpoints(t, seeded(t))
	want := p.logged(t)
	p.wantMade(t, "whole", want, last(newer), 0)
	for what, c := range map[string]struct {
		do     func(q place)
		last   chunkfmt.Seq
		passed int
	}{
		"payloads of the copies": {func(q place) { q.rot(t, true, false, newer...) }, last(newer), 0},
		"payloads":               {func(q place) { q.rot(t, false, false, newer...) }, last(newer), 0},
		"tags of the copies":     {func(q place) { q.rot(t, true, true, newer...) }, last(newer), 0},
		"tags":                   {func(q place) { q.rot(t, false, true, newer...) }, last(newer), 0},
		"one here and another there": {func(q place) {
			q.rot(t, true, false, newer[0], last(newer))
			q.rot(t, false, false, newer[1])
		}, last(newer), 0},
		"one in both places": {func(q place) {
			q.rot(t, true, false, newer[1])
			q.rot(t, false, false, newer[1])
		}, last(older), 1},
		"the last in both places": {func(q place) {
			q.rot(t, true, false, last(newer))
			q.rot(t, false, false, last(newer))
		}, last(older), 1},
		"one of each in both places": {func(q place) {
			for _, mirror := range []bool{false, true} {
				q.rot(t, mirror, false, older[0], newer[0])
			}
		}, 0, 2},
		"mirrors missing":              {func(q place) { q.remove(t, true, 1, 2, 3) }, last(newer), 0},
		"a mirror missing":             {func(q place) { q.remove(t, true, 2) }, last(newer), 0},
		"a mirror without footer":      {func(q place) { q.cutFooter(t, 2, true) }, last(newer), 0},
		"a chunk without footer":       {func(q place) { q.cutFooter(t, 2, false) }, last(newer), 0},
		"a mirror cut in a checkpoint": {func(q place) { q.cutIn(t, true, newer[1]) }, last(newer), 0},
	} {
		q := p.copyOf(t)
		c.do(q)
		q.wantMade(t, what, want, c.last, c.passed)
	}
	t.Run("reader", func(t *testing.T) { testReaderFromCheckpoint(t, p.copyOf(t), want) })
	t.Run("rebuild", func(t *testing.T) { testRebuildSays(t, p.copyOf(t), older, newer) })
}

// remove removes first chunks of sessions.
func (p place) remove(t *testing.T, mirror bool, sessions ...uint32) {
	t.Helper()
	for _, ordinal := range sessions {
		if err := os.Remove(p.chunkPath(p.options(t), ordinal, 1, mirror)); err != nil {
			t.Fatal(err)
		}
	}
}

func (p place) cutFooter(t *testing.T, session uint32, mirror bool) {
	t.Helper()
	path := p.chunkPath(p.options(t), session, 1, mirror)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ends := tagEnds(t, b)
	if err := os.Truncate(path, ends[len(ends)-1]); err != nil {
		t.Fatal(err)
	}
}

func (p place) cutIn(t *testing.T, mirror bool, seq chunkfmt.Seq) {
	t.Helper()
	p.eachPiece(t, mirror, func(path string, e chunkfmt.Entry) {
		if e.Tag.Seq == seq {
			if err := os.Truncate(path, e.At+200); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestCheckpointWhenDue: one is written in the background when an archive is sealed, and only if the log behind the
// last one is longer than that.
func TestCheckpointWhenDue(t *testing.T) {
	rng := seeded(t)
	p := newPlace(t)
	w := p.openWith(t, func(o *Options) { o.CheckpointAfter = 256 << 10 })
	count := func(want int) {
		t.Helper()
		w.checkpoint()
		if got := len(p.checkpoints(t, true)); got != want {
			t.Errorf("%d checkpoints, want %d", got, want)
		}
	}
	w.files(rng, 1, 25)
	count(0)
	w.files(rng, 1, 125)
	count(1)
	w.files(rng, 1, 75)
	count(1)
	w.files(rng, 1, 100)
	count(2)
	w.end()
	// What was counted is known to the next session, also to one that began without an index.
	w = p.openWith(t, func(o *Options) { o.CheckpointAfter = 256 << 10 })
	w.files(rng, 1, 5)
	count(2)
	w.end()
	q := p.copyOf(t)
	w = q.openWith(t, func(o *Options) { o.CheckpointAfter = 256 << 10 })
	w.files(rng, 1, 5)
	w.checkpoint()
	w.end()
	if got := len(q.checkpoints(t, true)); got != 2 {
		t.Errorf("%d checkpoints after another machine has written, want 2", got)
	}
	// Of the log alone, another one is due: there may be no good one.
	w = p.copyOf(t).openWith(t, func(o *Options) { o.CheckpointAfter, o.FromLog = 256<<10, true })
	w.files(rng, 1, 5)
	w.checkpoint()
	if behind, image := w.s.index.Logged(); image == 0 || behind != 0 {
		t.Errorf("%d bytes of log behind an image of %d", behind, image)
	}
	w.end()
}

// TestCheckpointWhileWriting kills the writer, and copies the store, at random instants while checkpoints are written
// among batches. Whatever was there, a new machine makes of it what the log says.
func TestCheckpointWhileWriting(t *testing.T) {
	rng := seeded(t)
	rounds := 2
	if s := os.Getenv("COFFER_CHECKPOINT_KILLS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	p := newPlace(t)
	used, complete := 0, 0
	for range rounds {
		w := p.eager(t)
		w.files(rng, 1+rng.IntN(2), 250)
		done := make(chan error, 1)
		go func() { done <- w.s.Checkpoint(t.Context()) }()
		for range rng.IntN(4) {
			w.cut(stage.MarkCut, "b", fmt.Sprint(rng.Uint32()), bytes.Repeat([]byte{byte(rng.Uint32())}, 1+rng.IntN(100_000)))
		}
		for range rng.IntN(5000) {
			runtime.Gosched()
		}
		q := p.copyOf(t)
		w.s.Pipe().Abort(errors.New("killed"))
		if err := <-done; err == nil {
			complete++
		}
		w.crash()
		for _, place := range []place{p, q} {
			got, from, _ := place.made(t, anyway)
			if got != place.logged(t) {
				t.Fatalf("the index is another one than that made of the log")
			}
			if from != nil {
				used++
			}
		}
	}
	t.Logf("%d of %d checkpoints were completed, %d of %d indexes made of one", complete, rounds, used, 2*rounds)
}

// TestCheckpointIsNoProof: with a checkpoint, a store that was rolled back or written elsewhere is refused as without.
func TestCheckpointIsNoProof(t *testing.T) {
	rng := seeded(t)
	p := newPlace(t)
	session := func(p place) {
		w := p.eager(t)
		w.files(rng, 2, 20)
		w.checkpoint()
		w.put("b", "behind it")
		w.end()
	}
	session(p)
	first := p.copyOf(t)
	session(p)
	session(p)
	second := p.copyOf(t)

	dropIndex := func(p place) {
		t.Helper()
		if err := os.Remove(filepath.Join(p.state, "index.db")); err != nil {
			t.Fatal(err)
		}
	}
	dropIndex(p)
	p.takeStore(t, first)
	if _, err := p.open(t); !errors.Is(err, ErrRolledBack) {
		t.Errorf("an older copy: %v", err)
	}
	fork := first.copyOf(t)
	session(fork)
	session(fork)
	session(fork)
	p.takeStore(t, fork)
	if _, err := p.open(t); !errors.Is(err, ErrForked) {
		t.Errorf("a copy written elsewhere: %v", err)
	}
	o := p.options(t)
	o.AcceptRollback = true
	s, err := OpenSource(t.Context(), starter{}, o)
	if err != nil {
		t.Fatal(err)
	}
	if s.loaded == nil {
		t.Error("an accepted copy was not opened from its checkpoint")
	}
	(&writing{t: t, s: s}).end()

	// Another machine has gone on: what was acknowledged here lies before the checkpoint.
	here := second.copyOf(t)
	here.mustOpen(t).end()
	there := here.copyOf(t)
	session(there)
	session(there)
	here.takeStore(t, there)
	dropIndex(here)
	w := here.mustOpen(t)
	if w.s.loaded == nil || w.s.loaded.Head.Ordinal() < 5 {
		t.Errorf("made of %+v", w.s.loaded)
	}
	w.end()
}

// forged is an image that stands for another place in the log than it says.
type forged struct {
	*index.Image
	change func(payload []byte)
}

func (f forged) Piece(dst []byte) ([]byte, bool, error) {
	payload, last, err := f.Image.Piece(dst)
	if err == nil {
		f.change(payload)
	}
	return payload, last, err
}

// TestCheckpointOffTheLog: an image whose head the log does not hold is not used.
func TestCheckpointOffTheLog(t *testing.T) {
	rng := seeded(t)
	for what, change := range map[string]func([]byte){
		"chain":   func(b []byte) { b[40] ^= 1 },
		"number":  func(b []byte) { b[39]++ },
		"session": func(b []byte) { b[34]++ },
		"version": func(b []byte) { b[1]++ },
		"part":    func(b []byte) { b[7]++ },
	} {
		p := newPlace(t)
		w := p.eager(t)
		w.files(rng, 2, 20)
		w.checkpoint()
		im, err := w.s.index.Image()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.s.Writer().Collector().Checkpoint(t.Context(), forged{im, change}); err != nil {
			t.Fatal(err)
		}
		im.Close()
		w.put("b", "behind it")
		w.end()
		all := p.checkpoints(t, true)
		p.wantMade(t, what, p.logged(t), last(all[0]), 1)
	}
}

// testReaderFromCheckpoint: whoever only reads has the checkpoint too.
func testReaderFromCheckpoint(t *testing.T, p place, want string) {
	r, err := OpenReader(t.Context(), p.options(t), "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if contents(t, r.Index()) != want {
		t.Error("the index is another one than that made of the log")
	}
	if behind, image := r.Index().Logged(); image == 0 || behind == 0 || behind > image {
		t.Errorf("%d bytes of log behind an image of %d", behind, image)
	}
}

// testRebuildSays: what a rebuild has used.
func testRebuildSays(t *testing.T, p place, older, newer []chunkfmt.Seq) {
	rebuild := func(change func(*Options)) Report {
		t.Helper()
		o := p.options(t)
		change(&o)
		r, err := Rebuild(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a := rebuild(anyway)
	if a.Checkpoint == nil || a.Checkpoint.Last != last(newer) || a.Checkpoint.Pieces != len(newer) || a.Passed != 0 {
		t.Errorf("%+v", a)
	}
	b := rebuild(fromLog)
	if b.Checkpoint != nil || b.Passed != 0 {
		t.Errorf("%+v", b)
	}
	if a.Inodes != b.Inodes || a.Bytes != b.Bytes || a.Last != b.Last || a.Inodes == 0 {
		t.Errorf("from a checkpoint %+v, from the log %+v", a, b)
	}
	for _, mirror := range []bool{false, true} {
		p.rot(t, mirror, false, newer[0])
	}
	if c := rebuild(anyway); c.Checkpoint == nil || c.Checkpoint.Last != last(older) || c.Passed != 1 {
		t.Errorf("%+v", c)
	}
}

// counting counts the bytes that are read of each object.
type counting struct {
	media.Medium
	mu    sync.Mutex // guards bytes
	bytes map[string]int
}

func (c *counting) ReadAt(ctx context.Context, name string, b []byte, off int64) (int, error) {
	n, err := c.Medium.ReadAt(ctx, name, b, off)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes[name] += n
	return n, err
}

// TestCheckpointAmongManyChunks: it is found, and the log behind it, without a look at all that the session has
// written; also by a machine whose index is behind. What the mirror has lost is found in spite of that.
func TestCheckpointAmongManyChunks(t *testing.T) {
	rng := seeded(t)
	p := newPlace(t)
	small := func(o *Options) { o.ChunkBytes = 20 << 10 }
	w := p.openWith(t, small)
	data := func(n int) {
		for i := range n {
			b := make([]byte, 19<<10) // a chunk each
			for j := range b {
				b[j] = byte(rng.Uint32())
			}
			w.cut(stage.MarkCut, "b", fmt.Sprint(i), b)
		}
	}
	data(60)
	w.files(rng, 1, 450)
	w.checkpoint()
	w.files(rng, 2, 450)
	w.checkpoint()
	behind := p.copyOf(t) // whose index is here
	if err := os.CopyFS(behind.state, os.DirFS(p.state)); err != nil {
		t.Fatal(err)
	}
	data(10)
	w.end()
	all := p.checkpoints(t, true)
	if len(all) != 2 {
		t.Fatalf("%d checkpoints", len(all))
	}
	want := p.logged(t)

	read := func(q place) (ordinary, mirrors int) {
		t.Helper()
		o := q.options(t)
		c := &counting{Medium: o.Medium, bytes: map[string]int{}}
		o.Medium = c
		r, err := OpenReader(t.Context(), o, "")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if contents(t, r.Index()) != want {
			t.Error("the index is another one than that made of the log")
		}
		for name, n := range c.bytes {
			switch {
			case n <= 8192: // a header is nothing
			case strings.HasSuffix(name, ".mirror"):
				mirrors++
			default:
				ordinary++
			}
		}
		return ordinary, mirrors
	}
	chunks, _ := filepath.Glob(filepath.Join(p.store, "volumes", "*", "*.chunk"))
	if n, _ := read(p.copyOf(t)); n == 0 || n > 30 {
		t.Errorf("%d of %d chunks were read for the log behind a checkpoint", n, len(chunks))
	}
	behind.takeStore(t, p)
	if n, m := read(behind); n == 0 || n > 30 || m > 2 {
		t.Errorf("%d of %d chunks and %d mirrors were read for what an index lacks", n, len(chunks), m)
	}
	mirrors, _ := filepath.Glob(filepath.Join(p.store, "volumes", "*", "*.mirror"))
	if len(chunks) < 75 || len(mirrors) < 5 {
		t.Fatalf("%d chunks and %d mirrors", len(chunks), len(mirrors))
	}
	for _, i := range []int{0, len(mirrors) / 2, len(mirrors) - 1} {
		q := p.copyOf(t)
		name, err := filepath.Rel(p.store, mirrors[i])
		if err == nil {
			err = os.Remove(filepath.Join(q.store, name))
		}
		if err != nil {
			t.Fatal(err)
		}
		q.wantMade(t, fmt.Sprintf("without mirror %d of %d", i, len(mirrors)), want, last(all[1]), 0)
	}
}

func TestInOrder(t *testing.T) {
	for n := range 25 {
		for stop := range n + 1 {
			k, running := 0, make(chan struct{}, 100)
			for v, err := range inOrder(t.Context(), n, func(_ context.Context, i int) (int, error) {
				running <- struct{}{}
				defer func() { <-running }()
				if i%7 == 3 {
					return i, fmt.Errorf("%d", i)
				}
				return i, nil
			}) {
				if v != k || (err != nil) != (k%7 == 3) {
					t.Fatalf("%d, %v where %d is to come", v, err, k)
				}
				if k++; k == stop {
					break
				}
			}
			if len(running) != 0 || k != n && k != stop {
				t.Fatalf("%d of %d, %d go on", k, n, len(running))
			}
		}
	}
}

func TestPeeker(t *testing.T) {
	rng := seeded(t)
	whole := make([]byte, 50_000)
	for i := range whole {
		whole[i] = byte(rng.Uint32())
	}
	r := bytes.NewReader(whole)
	p := &peeker{r: r}
	at := int64(0)
	for range 20_000 {
		if rng.IntN(3) == 0 {
			at = rng.Int64N(51_000)
		}
		want := make([]byte, (1+rng.IntN(200))*(1+rng.IntN(30)))
		got := make([]byte, len(want))
		n, err := r.ReadAt(want, at)
		m, err1 := p.ReadAt(got, at)
		if n != m || !bytes.Equal(got[:m], want[:n]) || (err == nil) != (err1 == nil) {
			t.Fatalf("%d bytes at %d: %d, %v; want %d, %v", len(want), at, m, err1, n, err)
		}
		at += int64(n)
	}
}
