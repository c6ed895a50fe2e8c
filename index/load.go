package index

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"

	"coffer/chunkfmt"
)

// Load makes the index of a volume at path, in the place of one that may be there, of the payloads
// of a checkpoint's pieces, all of them and in order. Nothing is at path before all of it is stable;
// on failure what was there is there still. What is wrong with the checkpoint wraps
// chunkfmt.ErrDamaged or, if it is of a format that this program does not know, chunkfmt.ErrVersion.
// Other errors are those of pieces, of files, and ErrLocked.
func Load(path string, id Identity, pieces iter.Seq2[[]byte, error]) (*Index, error) {
	x, err := load(path, id, pieces)
	if err != nil {
		return nil, fmt.Errorf("make the index %s of a checkpoint: %w", path, err)
	}
	return x, nil
}

func load(path string, id Identity, pieces iter.Seq2[[]byte, error]) (*Index, error) {
	half := path + ".new"
	f, err := openHalf(half)
	if err != nil {
		return nil, err
	}
	l := &loader{id: id, b: newBuilder(f), names: bucketNames()}
	err = l.pieces(pieces)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(half, path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(half), f.Close())
	}
	return openFile(path, id, func(string, int, os.FileMode) (*os.File, error) { return f, nil })
}

// openHalf opens an empty file that nobody else fills. With its lock it goes to its final place.
func openHalf(half string) (*os.File, error) {
	f, err := os.OpenFile(half, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = lock(f)
	if err == nil {
		// Whoever had the lock may have put the file in its place meanwhile, or removed it.
		var mine, there os.FileInfo
		if mine, err = f.Stat(); err == nil {
			there, err = os.Stat(half)
		}
		if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, there) {
			err = ErrLocked
		}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// loader brings the records of pieces into a file.
type loader struct {
	id    Identity
	b     *builder
	names [][]byte // of the tables that are not complete; the first is the one at hand

	part    uint32
	head    chunkfmt.PieceHeader // of the first piece
	total   uint64               // bytes of records so far
	numbers [256]int             // by a table's number in this piece: len(names) while it is the one at hand
	state   *state
	value   []byte // scratch
}

func (l *loader) pieces(pieces iter.Seq2[[]byte, error]) error {
	for payload, err := range pieces {
		if err == nil {
			err = l.piece(payload)
		}
		if err != nil {
			return err
		}
	}
	if l.state == nil {
		return fmt.Errorf("%d pieces without an end: %w", l.part, chunkfmt.ErrDamaged)
	}
	if err := l.reach(len(l.names)); err != nil {
		return err
	}
	return l.b.finish()
}

func (l *loader) piece(payload []byte) error {
	h, records := chunkfmt.ParsePiece(payload)
	if l.part == 0 {
		l.head = h
	}
	clear(l.numbers[:])
	for r, err := range records {
		if err == nil {
			l.total += uint64(r.Size())
			err = l.record(&r, &h)
		}
		if err != nil {
			return fmt.Errorf("piece %d: %w", l.part, err)
		}
	}
	same := h.First == l.head.First && h.Head == l.head.Head && h.Chain == l.head.Chain
	if !same || h.Part != l.part || h.Total != l.total {
		return fmt.Errorf("piece %d of checkpoint %v where piece %d of %v is to come: %w",
			h.Part, h.First, l.part, l.head.First, chunkfmt.ErrDamaged)
	}
	l.part++
	return nil
}

// record adds a key to its table.
func (l *loader) record(r *chunkfmt.PieceRecord, h *chunkfmt.PieceHeader) error {
	if r.Table == 0 {
		return l.name(r)
	}
	left := l.numbers[r.Table]
	if left == 0 || left != len(l.names) || l.state != nil {
		return fmt.Errorf("a key of table %d out of its order: %w", r.Table, chunkfmt.ErrDamaged)
	}
	if len(r.Value) < 4 {
		return fmt.Errorf("a value of %d bytes: %w", len(r.Value), chunkfmt.ErrDamaged)
	}
	if bytes.Equal(l.names[0], meta.now) {
		return l.end(r, h)
	}
	return l.put(r.Key, r.Value)
}

// put adds a key whose value begins with the archive that it dates from.
func (l *loader) put(key, value []byte) error {
	l.value = append(append(l.value[:0], 0, 0, 0, 0), value...)
	seal(key, l.value)
	if err := l.b.put(key, l.value); err != nil {
		return fmt.Errorf("bucket %s: %w: %w", l.names[0], err, chunkfmt.ErrDamaged)
	}
	return nil
}

// name notes which table a number stands for, and completes those before it.
func (l *loader) name(r *chunkfmt.PieceRecord) error {
	same := func(name []byte) bool { return bytes.Equal(name, r.Value) }
	if !slices.ContainsFunc(bucketNames(), same) {
		return fmt.Errorf("table %.40q: %w", r.Value, chunkfmt.ErrVersion)
	}
	at := slices.IndexFunc(l.names, same)
	if len(r.Key) != 1 || r.Key[0] == 0 || at < 0 {
		return fmt.Errorf("table %q out of its order: %w", r.Value, chunkfmt.ErrDamaged)
	}
	if err := l.reach(at); err != nil {
		return err
	}
	l.numbers[r.Key[0]] = len(l.names)
	return nil
}

// reach completes the first n tables.
func (l *loader) reach(n int) error {
	for range n {
		if err := l.b.end(l.names[0]); err != nil {
			return err
		}
		l.names = l.names[1:]
	}
	return nil
}

// end takes the state, which stands last.
func (l *loader) end(r *chunkfmt.PieceRecord, h *chunkfmt.PieceHeader) error {
	st, err := parseState(r.Value[4:])
	if err != nil {
		return fmt.Errorf("%w: %w", chunkfmt.ErrVersion, err)
	}
	if !bytes.Equal(r.Key, stateKey) || st.id != l.id || st.head.Seq != h.Head || st.head.Chain != h.Chain {
		return fmt.Errorf("the state of volume %v at %v, want that of %v at %v: %w",
			st.id.Volume, st.head.Seq, l.id.Volume, h.Head, chunkfmt.ErrDamaged)
	}
	l.state = st
	st.image = h.Total
	var logged [4 + loggedSize]byte
	st.putLogged(logged[4:])
	if err := l.put(loggedKey, logged[:]); err != nil {
		return err
	}
	return l.put(r.Key, r.Value)
}
