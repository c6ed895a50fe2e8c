package index

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"coffer/chunkfmt"
)

// imageOf gives the pieces of an image, of at most room bytes each.
func imageOf(t require, x *Index, room int) [][]byte {
	t.Helper()
	im, err := x.Image()
	noError(t, err)
	defer im.Close()
	var all [][]byte
	for {
		b, last, err := im.Piece(make([]byte, 0, room))
		noError(t, err)
		chunkfmt.SetPieceFirst(b, chunkfmt.MakeSeq(7, 1))
		all = append(all, b)
		if last {
			x.Checkpointed(im)
			return all
		}
	}
}

func each(pieces [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, p := range pieces {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// buckets writes down every key and value that an index has.
func buckets(t require, x *Index) string {
	t.Helper()
	var b strings.Builder
	noError(t, x.db.View(func(tx *bolt.Tx) error {
		for _, name := range bucketNames() {
			err := tx.Bucket(name).ForEach(func(k, v []byte) error {
				_, err := fmt.Fprintf(&b, "%s %x: %x\n", name, k, v)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	return b.String()
}

// wellFormed has bbolt check the file, and then this package.
func wellFormed(t require, x *Index) {
	t.Helper()
	noError(t, x.db.View(func(tx *bolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}))
	info, err := x.file.Stat()
	noError(t, err)
	noError(t, checkFile(x.file, info.Size()))
}

// settle has the index write down what it counts of the log.
func settle(t require, x *Index) { noError(t, x.Apply(nil, x.Head(), nil)) }

// TestImage: what was made of an image is what the image was taken of, key by key, and goes on
// like it.
func TestImage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, done := openRapid(t)
		defer done()
		m, seq := newModel(), chunkfmt.MakeSeq(1, 1)
		head := func() Head { return Head{Ordinal: 1, Seq: seq, Chain: chunkfmt.Hash{byte(seq)}} }
		more := func(name string) (all []Batch) {
			for range rapid.IntRange(0, 12).Draw(t, name) {
				all = append(all, drawBatch(t, m, &seq))
			}
			return all
		}
		noError(t, x.Apply(more("batches before"), head(), locateAll))
		pieces := imageOf(t, x, rapid.IntRange(6000, 20_000).Draw(t, "room"))

		dir, err := os.MkdirTemp("", "index")
		noError(t, err)
		defer os.RemoveAll(dir)
		y, err := Load(filepath.Join(dir, "index"), testID, each(pieces))
		noError(t, err)
		defer func() { noError(t, y.Close()) }()
		y.db.NoSync = true
		wellFormed(t, y)
		if x.Head() != y.Head() {
			t.Fatalf("head %v, want %v", y.Head(), x.Head())
		}
		behind, image := y.Logged()
		if behindX, imageX := x.Logged(); behind != 0 || behindX != 0 || image != imageX {
			t.Fatalf("%d and %d bytes of log behind an image of %d and %d", behind, behindX, image, imageX)
		}
		settle(t, x)
		settle(t, y)
		same(t, "loaded", buckets(t, y), buckets(t, x))

		after := more("batches after")
		noError(t, x.Apply(after, head(), locateAll))
		noError(t, y.Apply(after, head(), locateAll))
		same(t, "gone on", buckets(t, y), buckets(t, x))
		same(t, "gone on", dumpReader(t, &y.Reader, modelUnit), m.dump())
		same(t, "gone on", wholeIndex(t, y), m.whole())
		wellFormed(t, y)
	})
}

// TestImageOfManyPages: with several levels of pages, values that are longer than a page, and keys
// taken out of everywhere.
func TestImageOfManyPages(t *testing.T) {
	for _, files := range []int{0, 1, 30, 6000} {
		x := openTemp(t)
		if files > 0 {
			apply(t, x, tree(2, files)...)
			apply(t, x, rec(chunkfmt.RecXattr, chunkfmt.XattrKey(9, "long"), make([]byte, 64<<10)), recArchive(1))
			apply(t, x, tree(2, files/2)...)
		}
		path := filepath.Join(t.TempDir(), "index")
		pieces := imageOf(t, x, 900<<10)
		y, err := Load(path, testID, each(pieces))
		noError(t, err)
		wellFormed(t, y)
		settle(t, x)
		settle(t, y)
		same(t, fmt.Sprint(files, " files"), buckets(t, y), buckets(t, x))
		var gone []chunkfmt.Record
		for ino := chunkfmt.Ino(2); ino < chunkfmt.Ino(files); ino++ {
			if ino%50 > 2 {
				gone = append(gone, del(chunkfmt.RecInode, chunkfmt.InodeKey(ino)))
			}
		}
		apply(t, x, gone...)
		apply(t, y, gone...)
		noError(t, y.Close())
		y, err = Open(path, testID)
		noError(t, err)
		wellFormed(t, y)
		settle(t, y)
		settle(t, x)
		same(t, fmt.Sprint(files, " files, some gone"), buckets(t, y), buckets(t, x))
		noError(t, y.Close())
		if files > 5000 && len(pieces) < 3 {
			t.Errorf("%d pieces for %d files", len(pieces), files)
		}
	}
}

// TestImageMeanwhile takes images while batches are applied: each is of one commit.
func TestImageMeanwhile(t *testing.T) {
	x := openTemp(t)
	apply(t, x, tree(2, 500)...)
	defer growing(t, x)()
	for range 4 {
		y, err := Load(filepath.Join(t.TempDir(), "index"), testID, each(imageOf(t, x, 20_000)))
		noError(t, err)
		wantCounted(t, "an image", y)
		noError(t, y.Close())
	}
}

type (
	changeHeader func(*chunkfmt.PieceHeader)
	changeRecord func(n int, r *chunkfmt.PieceRecord) (keep bool)
)

// rewritten is a piece with other records, or with another header.
func rewritten(t *testing.T, piece []byte, header changeHeader, record changeRecord) []byte {
	t.Helper()
	h, records := chunkfmt.ParsePiece(piece)
	var all []chunkfmt.PieceRecord
	n := 0
	for r, err := range records {
		noError(t, err)
		r.Value = slices.Clone(r.Value)
		if record == nil || record(n, &r) {
			all = append(all, r)
		}
		n++
		h.Total -= uint64(r.Size()) // what Add will count again
	}
	if header != nil {
		header(&h)
	}
	w := chunkfmt.NewPieceWriter(make([]byte, 0, 2*len(piece)+1000), h)
	for _, r := range all {
		w.Add(r.Table, r.Key, r.Value, nil)
	}
	chunkfmt.SetPieceFirst(w.Bytes(), h.First)
	return w.Bytes()
}

// TestBadImages: none is taken for an index, and the index that is there stays.
func TestBadImages(t *testing.T) {
	x := openTemp(t)
	apply(t, x, tree(2, 700)...)
	apply(t, x, recArchive(1))
	pieces := imageOf(t, x, 20_000)
	if len(pieces) < 5 {
		t.Fatalf("%d pieces", len(pieces))
	}
	last := len(pieces) - 1
	change := func(i int, header changeHeader, record changeRecord) [][]byte {
		all := slices.Clone(pieces)
		all[i] = rewritten(t, all[i], header, record)
		return all
	}
	isState := func(r *chunkfmt.PieceRecord) bool { return string(r.Key) == string(stateKey) }
	first := func(n int, r *chunkfmt.PieceRecord) bool { return n == 1 }
	unread := errors.New("unread")
	for what, c := range map[string]struct {
		pieces iter.Seq2[[]byte, error]
		want   error
	}{
		"none":         {each(nil), chunkfmt.ErrDamaged},
		"no first":     {each(pieces[1:]), chunkfmt.ErrDamaged},
		"no last":      {each(pieces[:last]), chunkfmt.ErrDamaged},
		"one missing":  {each(slices.Delete(slices.Clone(pieces), 2, 3)), chunkfmt.ErrDamaged},
		"one twice":    {each(slices.Insert(slices.Clone(pieces), 2, pieces[2])), chunkfmt.ErrDamaged},
		"more":         {each(append(slices.Clone(pieces), pieces[last])), chunkfmt.ErrDamaged},
		"another's":    {each(change(3, func(h *chunkfmt.PieceHeader) { h.First++ }, nil)), chunkfmt.ErrDamaged},
		"another head": {each(change(3, func(h *chunkfmt.PieceHeader) { h.Head++ }, nil)), chunkfmt.ErrDamaged},
		"other chain":  {each(change(last, func(h *chunkfmt.PieceHeader) { h.Chain[0]++ }, nil)), chunkfmt.ErrDamaged},
		"total":        {each(change(3, func(h *chunkfmt.PieceHeader) { h.Total++ }, nil)), chunkfmt.ErrDamaged},
		"cut":          {each([][]byte{pieces[0], pieces[1][:500]}), chunkfmt.ErrTruncated},
		"key missing": {each(change(2, nil, func(n int, r *chunkfmt.PieceRecord) bool { return n != 5 })),
			chunkfmt.ErrDamaged}, // by the total of the next one
		"keys out of order": {each(change(2, nil, func(n int, r *chunkfmt.PieceRecord) bool {
			if n == 5 {
				r.Key = make([]byte, len(r.Key))
			}
			return true
		})), chunkfmt.ErrDamaged},
		"unknown table": {each(change(0, nil, func(n int, r *chunkfmt.PieceRecord) bool {
			if r.Table == 0 {
				r.Value = []byte("of another time")
			}
			return true
		})), chunkfmt.ErrVersion},
		"unnamed table": {each(change(1, nil, func(n int, r *chunkfmt.PieceRecord) bool { return r.Table != 0 })),
			chunkfmt.ErrDamaged},
		"short value": {each(change(1, nil, func(n int, r *chunkfmt.PieceRecord) bool {
			if first(n, r) {
				r.Value = r.Value[:3]
			}
			return true
		})), chunkfmt.ErrDamaged},
		"another volume": {each(change(last, nil, func(n int, r *chunkfmt.PieceRecord) bool {
			if isState(r) {
				r.Value[4+20]++
			}
			return true
		})), chunkfmt.ErrDamaged},
		"another index format": {each(change(last, nil, func(n int, r *chunkfmt.PieceRecord) bool {
			if isState(r) {
				r.Value[4+3]++
			}
			return true
		})), chunkfmt.ErrVersion},
		"no state": {each(change(last, nil, func(n int, r *chunkfmt.PieceRecord) bool { return !isState(r) })),
			chunkfmt.ErrDamaged},
		"not read": {func(yield func([]byte, error) bool) {
			_ = yield(pieces[0], nil) && yield(nil, unread)
		}, unread},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "index")
		noError(t, os.WriteFile(path, []byte("there"), 0o600))
		if y, err := Load(path, testID, c.pieces); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
			if err == nil {
				noError(t, y.Close())
			}
		}
		if b, err := os.ReadFile(path); string(b) != "there" {
			t.Errorf("%s: what was there is %q, %v", what, b, err)
		}
		if names, err := os.ReadDir(dir); len(names) != 1 {
			t.Errorf("%s: left %v, %v", what, names, err)
		}
	}
	y, err := Load(filepath.Join(t.TempDir(), "index"), testID, each(pieces))
	noError(t, err)
	noError(t, y.Close())
}

// TestLoadAlone: of two at a time, one is told that the other is at it.
func TestLoadAlone(t *testing.T) {
	x := openTemp(t)
	apply(t, x, tree(2, 100)...)
	path := filepath.Join(t.TempDir(), "index")
	pieces := imageOf(t, x, 900<<10)
	y, err := Load(path, testID, func(yield func([]byte, error) bool) {
		if _, err := Load(path, testID, each(pieces)); !errors.Is(err, ErrLocked) {
			t.Errorf("a second one meanwhile: %v", err)
		}
		each(pieces)(yield)
	})
	noError(t, err)
	defer y.Close()
	if _, err := Open(path, testID); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}

// TestLogged: how much log there is behind a checkpoint is known after the index was opened again.
func TestLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	x, err := Open(path, testID)
	noError(t, err)
	records := tree(2, 300)
	size := 0
	for _, r := range records {
		size += r.Size()
	}
	apply(t, x, records...)
	behind, image := x.Logged()
	if behind < uint64(size) || behind > uint64(size)+1000 || image != 0 {
		t.Errorf("%d bytes behind an image of %d; %d were applied", behind, image, size)
	}
	im, err := x.Image()
	noError(t, err)
	for last := false; !last; {
		_, last, err = im.Piece(make([]byte, 0, 20_000))
		noError(t, err)
	}
	apply(t, x, records[:30]...)
	before, _ := x.Logged()
	x.Checkpointed(im)
	im.Close()
	after, image := x.Logged()
	if after != before-behind || after == 0 || image != im.Total() || image < uint64(size) {
		t.Errorf("%d of %d bytes behind an image of %d, which holds %d", after, before, image, im.Total())
	}
	settle(t, x)
	again, _ := x.Logged()
	noError(t, x.Close())
	x, err = Open(path, testID)
	noError(t, err)
	defer x.Close()
	if b, i := x.Logged(); b != again || i != image {
		t.Errorf("%d behind %d when opened again, want %d behind %d", b, i, again, image)
	}
}
