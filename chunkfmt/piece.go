package chunkfmt

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// PieceVersion is the version of the payloads of checkpoint tags that this program writes.
const PieceVersion = 1

// PieceHeader begins the payload of each checkpoint tag: a piece of an image of the index. Its
// length, and where its count stands, are those of a [BatchHeader], so that CodecColumns serves both.
//
//	 0     2   4      8   12      16      24      32     40      72
//	+-----+---+------+---+-------+-------+-------+------+------- … -+-- … --+
//	| ver | 0 | part | 0 | count | first | total | head | chain     |records|
//	+-----+---+------+---+-------+-------+-------+------+------- … -+-- … --+
//
// All pieces but the last of a checkpoint have FlagMore.
type PieceHeader struct {
	Version uint16
	Part    uint32 // number of this piece in its checkpoint, from 0
	First   Seq    // sequence number of piece 0, by which all of a checkpoint are known
	Total   uint64 // bytes of records in the pieces up to this one: in the last, the size of the image
	Head    Seq    // last part of the batch that the image has been brought to
	Chain   Hash   // chain there
}

const (
	piecePartAt  = batchPartAt
	pieceFirstAt = 16
	pieceTotalAt = 24
	pieceHeadAt  = 32
	pieceChainAt = 40
)

// PieceRecord is one key of the index in a piece. Table 0 names a table: its key is the number, one
// byte, that the table goes by in the rest of this piece, its value the name.
type PieceRecord struct {
	Table uint8
	Key   []byte
	Value []byte
}

// Size returns the packed length of the record in bytes.
func (r *PieceRecord) Size() int { return RecordHeadSize + len(r.Key) + len(r.Value) }

// PieceWriter packs records into the payload of one checkpoint tag. One goroutine at a time.
type PieceWriter struct {
	b       []byte
	records uint32
}

// NewPieceWriter begins a payload in the memory of dst, from its start up to its capacity, which is
// at least BatchHeaderSize. Version and First are not taken from h: the version is PieceVersion, and
// First is for SetPieceFirst.
func NewPieceWriter(dst []byte, h PieceHeader) *PieceWriter {
	b := dst[:BatchHeaderSize]
	clear(b)
	be := binary.BigEndian
	be.PutUint16(b, PieceVersion)
	be.PutUint32(b[piecePartAt:], h.Part)
	be.PutUint64(b[pieceTotalAt:], h.Total)
	be.PutUint64(b[pieceHeadAt:], uint64(h.Head))
	copy(b[pieceChainAt:], h.Chain[:])
	return &PieceWriter{b: b}
}

// Add packs the record of a key whose value is the two parts, one after the other, and reports
// whether it did: false says that it does not fit in what is left, and leaves the payload as it was.
func (w *PieceWriter) Add(table uint8, key, value, rest []byte) bool {
	n := len(value) + len(rest)
	if RecordHeadSize+len(key)+n > cap(w.b)-len(w.b) || len(key) > math.MaxUint16 {
		return false
	}
	at := len(w.b)
	w.b = appendRecordHead(w.b, OpPut, RecordKind(table), len(key), n)
	w.b = append(append(append(w.b, key...), value...), rest...)
	w.records++
	be := binary.BigEndian
	be.PutUint32(w.b[batchCountAt:], w.records)
	be.PutUint64(w.b[pieceTotalAt:], be.Uint64(w.b[pieceTotalAt:])+uint64(len(w.b)-at))
	return true
}

// Bytes returns the payload so far; it lies in the writer's memory.
func (w *PieceWriter) Bytes() []byte { return w.b }

// Records returns how many records were added.
func (w *PieceWriter) Records() int { return int(w.records) }

// Total is what the header says now.
func (w *PieceWriter) Total() uint64 { return binary.BigEndian.Uint64(w.b[pieceTotalAt:]) }

// SetPieceFirst writes the sequence number of a checkpoint's first piece into the payload of any of
// its pieces.
func SetPieceFirst(payload []byte, first Seq) {
	binary.BigEndian.PutUint64(payload[pieceFirstAt:], uint64(first))
}

// ParsePiece reads the payload of one checkpoint tag. The sequence yields the records in order; their
// keys and values lie in b. It ends after the first error, which is ErrTruncated, ErrDamaged or
// ErrVersion; an error of the header is the only thing then.
func ParsePiece(b []byte) (PieceHeader, iter.Seq2[PieceRecord, error]) {
	h, count, err := parsePieceHeader(b)
	if err != nil {
		return PieceHeader{}, func(yield func(PieceRecord, error) bool) { yield(PieceRecord{}, err) }
	}
	return h, func(yield func(PieceRecord, error) bool) {
		rest, n := b[BatchHeaderSize:], uint32(0)
		for ; len(rest) > 0; n++ {
			r, err := splitRecord(rest)
			if err == nil && r.Op != OpPut {
				err = fmt.Errorf("operation %d: %w", r.Op, ErrVersion)
			}
			if err != nil {
				yield(PieceRecord{}, fmt.Errorf("piece %d of checkpoint %v, record %d: %w", h.Part, h.First, n, err))
				return
			}
			if !yield(PieceRecord{Table: uint8(r.Kind), Key: r.Key, Value: r.Value}, nil) {
				return
			}
			rest = rest[r.Size():]
		}
		if n != count {
			yield(PieceRecord{}, fmt.Errorf("piece %d of checkpoint %v: %d records, want %d: %w", h.Part, h.First, n, count, ErrDamaged))
		}
	}
}

func parsePieceHeader(b []byte) (h PieceHeader, count uint32, err error) {
	if len(b) < BatchHeaderSize {
		return h, 0, fmt.Errorf("piece header: %d of %d bytes: %w", len(b), BatchHeaderSize, ErrTruncated)
	}
	be := binary.BigEndian
	h = PieceHeader{
		Version: be.Uint16(b),
		Part:    be.Uint32(b[piecePartAt:]),
		First:   Seq(be.Uint64(b[pieceFirstAt:])),
		Total:   be.Uint64(b[pieceTotalAt:]),
		Head:    Seq(be.Uint64(b[pieceHeadAt:])),
		Chain:   Hash(b[pieceChainAt:BatchHeaderSize]),
	}
	if h.Version != PieceVersion || be.Uint16(b[2:]) != 0 || be.Uint32(b[8:]) != 0 {
		return h, 0, fmt.Errorf("piece header: version %d: %w", h.Version, ErrVersion)
	}
	return h, be.Uint32(b[batchCountAt:]), nil
}
