package index

import (
	"bytes"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// Image reads a whole index as it was at one commit, as the pieces of a checkpoint. It holds a read
// transaction: it holds up nobody, but the file grows by what is applied meanwhile. One goroutine
// at a time; to be closed, before the Index is.
type Image struct {
	x      *Index
	tx     *bolt.Tx
	st     *state
	part   uint32
	total  uint64
	tables [][]byte // not yet begun
	number uint8    // of the table at hand
	cursor *bolt.Cursor
	k, v   []byte // the next key; nil: the table has no more
	ended  bool
}

// Image begins to read the index.
func (x *Index) Image() (*Image, error) {
	im := &Image{x: x, tables: bucketNames()}
	var err error
	if im.tx, err = x.db.Begin(false); err != nil {
		return nil, fmt.Errorf("read the index for a checkpoint: %w", err)
	}
	err = im.guarded(func() (err error) {
		im.st, err = readState(im.tx)
		return err
	})
	if err != nil {
		im.Close()
		return nil, err
	}
	return im, nil
}

// Head is the place in the log that the image stands for. All up to it was acknowledged.
func (im *Image) Head() Head { return im.st.head }

// Total is how many bytes of records the pieces so far hold.
func (im *Image) Total() uint64 { return im.total }

// Piece puts the next piece into the memory of dst, up to its capacity, which must be enough for
// the longest key and value. It says whether that is the last one; then it is not called again.
func (im *Image) Piece(dst []byte) (payload []byte, last bool, err error) {
	w := chunkfmt.NewPieceWriter(dst, chunkfmt.PieceHeader{
		Part: im.part, Total: im.total, Head: im.st.head.Seq, Chain: im.st.head.Chain,
	})
	if err := im.guarded(func() error { return im.fill(w) }); err != nil {
		return nil, false, err
	}
	im.part++
	im.total = w.Total()
	return w.Bytes(), im.ended, nil
}

// fill adds keys until one does not fit or there are none left.
func (im *Image) fill(w *chunkfmt.PieceWriter) error {
	named := im.k != nil && im.name(w)
	for {
		for im.k == nil {
			if len(im.tables) == 0 {
				im.ended = true
				return nil
			}
			im.cursor = im.tx.Bucket(im.tables[0]).Cursor()
			im.number, im.tables = im.number+1, im.tables[1:]
			im.k, im.v = im.cursor.First()
			im.pass()
			named = im.k != nil && im.name(w)
		}
		if _, _, err := unseal(im.k, im.v); err != nil {
			return err
		}
		if !named || !w.Add(im.number, im.k, im.v[4:], nil) {
			if w.Records() < 2 {
				return fmt.Errorf("a key of %d and a value of %d bytes are longer than a piece", len(im.k), len(im.v))
			}
			return nil
		}
		im.k, im.v = im.cursor.Next()
		im.pass()
	}
}

// pass leaves out the key that is only about this file.
func (im *Image) pass() {
	for bytes.Equal(im.k, loggedKey) {
		im.k, im.v = im.cursor.Next()
	}
}

// name tells the piece which table follows.
func (im *Image) name(w *chunkfmt.PieceWriter) bool {
	names := bucketNames()
	return w.Add(0, []byte{im.number}, names[im.number-1], nil)
}

// guarded makes errors of bbolt's panics over a damaged file.
func (im *Image) guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var s section
	defer func() {
		if err != nil {
			err = fmt.Errorf("read the index for a checkpoint: %w", err)
		}
	}()
	defer s.end(&err)
	return f()
}

// Close ends the reading. It may be called twice.
func (im *Image) Close() {
	if im.tx != nil {
		_ = im.tx.Rollback() // of a read transaction: cannot fail
		im.tx = nil
	}
}

// Checkpointed notes that the whole image is stable in the log.
func (x *Index) Checkpointed(im *Image) {
	x.applying.Lock()
	defer x.applying.Unlock()
	st := *x.state.Load()
	st.logged -= min(st.logged, im.st.logged)
	st.image = im.total
	x.state.Store(&st)
}

// Logged says how many bytes of batches were applied behind the last checkpoint that is known here,
// and how long that one's image is; 0: none is known. Both are about, and lost with the file.
func (x *Index) Logged() (behind, image uint64) {
	st := x.state.Load()
	return st.logged, st.image
}

// loggedKey is beside stateKey: bytes logged behind the last checkpoint 8, length of its image 8.
// Unlike all else it is not told by the log.
var loggedKey = []byte("logged")
