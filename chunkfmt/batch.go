package chunkfmt

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// BatchVersion is the version of batch payloads, records and their values that this
// program writes.
const BatchVersion = 1

// BatchHeader begins the payload of each batch tag.
//
//	 0     2   4      8         12      16      24       32     40      72
//	+-----+---+------+---------+-------+-------+--------+------+------- … -+-- … --+
//	| ver | 0 | part | archive | count | cut   | prefix | time | prev      |records|
//	+-----+---+------+---------+-------+-------+--------+------+------- … -+-- … --+
//
// A batch may span several tags, each but the last with FlagMore. It takes effect only
// when all its parts are there.
type BatchHeader struct {
	Version uint16
	Part    uint32 // number of this part in the batch, from 0
	Archive uint32 // archive that the batch belongs to
	Cut     uint64 // number of the cut that the batch journals
	Prefix  Seq    // last sequence number before the batch's first part
	Time    int64  // of the cut, nanoseconds since 1970
	Prev    Hash   // chain before the batch, the same in each part
}

// BatchHeaderSize is the packed length of a [BatchHeader] in bytes.
const BatchHeaderSize = 72

const (
	batchPartAt    = 4
	batchArchiveAt = 8
	batchCountAt   = 12
	batchCutAt     = 16
	batchPrefixAt  = 24
	batchTimeAt    = 32
	batchPrevAt    = 40
)

// BatchWriter packs records into the payload of one batch tag. One goroutine at a time.
type BatchWriter struct {
	b       []byte
	records uint32
}

// NewBatchWriter begins a payload in the memory of dst, from its start up to its capacity.
// A capacity under BatchHeaderSize is replaced. A Version of 0 is written as BatchVersion.
func NewBatchWriter(dst []byte, h BatchHeader) *BatchWriter {
	if cap(dst) < BatchHeaderSize {
		dst = make([]byte, BatchHeaderSize)
	}
	b := dst[:BatchHeaderSize]
	clear(b)
	be := binary.BigEndian
	version := h.Version
	if version == 0 {
		version = BatchVersion
	}
	be.PutUint16(b, version)
	be.PutUint32(b[batchPartAt:], h.Part)
	be.PutUint32(b[batchArchiveAt:], h.Archive)
	be.PutUint64(b[batchCutAt:], h.Cut)
	be.PutUint64(b[batchPrefixAt:], uint64(h.Prefix))
	be.PutUint64(b[batchTimeAt:], uint64(h.Time))
	copy(b[batchPrevAt:], h.Prev[:])
	return &BatchWriter{b: b}
}

// Add packs a record and reports whether it did: false says that it does not fit in what
// is left, and leaves the payload as it was. A key over 65535 bytes never fits.
func (w *BatchWriter) Add(r Record) bool {
	if r.Size() > cap(w.b)-len(w.b) || len(r.Key) > math.MaxUint16 {
		return false
	}
	w.b = appendRecordHead(w.b, r.Op, r.Kind, len(r.Key), len(r.Value))
	w.b = append(w.b, r.Key...)
	w.b = append(w.b, r.Value...)
	w.records++
	binary.BigEndian.PutUint32(w.b[batchCountAt:], w.records)
	return true
}

// Bytes returns the payload so far; it lies in the writer's memory.
func (w *BatchWriter) Bytes() []byte { return w.b }

// Len returns the length of the payload so far in bytes.
func (w *BatchWriter) Len() int { return len(w.b) }

// Records returns how many records were added.
func (w *BatchWriter) Records() int { return int(w.records) }

// ParseBatch reads the payload of one batch tag. The sequence yields the records in
// order; their keys and values lie in b. It ends after the first error, which is
// ErrTruncated, ErrDamaged or ErrVersion; an error of the header is the only thing then.
// A caller must not apply anything before the whole sequence went through.
func ParseBatch(b []byte) (BatchHeader, iter.Seq2[Record, error]) {
	h, count, err := parseBatchHeader(b)
	if err != nil {
		return BatchHeader{}, func(yield func(Record, error) bool) { yield(Record{}, err) }
	}
	return h, func(yield func(Record, error) bool) {
		rest, n := b[BatchHeaderSize:], uint32(0)
		for ; len(rest) > 0; n++ {
			r, err := parseRecord(rest)
			if err != nil {
				yield(Record{}, fmt.Errorf("batch of cut %d, part %d, record %d: %w", h.Cut, h.Part, n, err))
				return
			}
			if !yield(r, nil) {
				return
			}
			rest = rest[r.Size():]
		}
		if n != count {
			yield(Record{}, fmt.Errorf("batch of cut %d, part %d: %d records, want %d: %w", h.Cut, h.Part, n, count, ErrDamaged))
		}
	}
}

func parseBatchHeader(b []byte) (h BatchHeader, count uint32, err error) {
	if len(b) < BatchHeaderSize {
		return h, 0, fmt.Errorf("batch header: %d of %d bytes: %w", len(b), BatchHeaderSize, ErrTruncated)
	}
	be := binary.BigEndian
	h = BatchHeader{
		Version: be.Uint16(b),
		Part:    be.Uint32(b[batchPartAt:]),
		Archive: be.Uint32(b[batchArchiveAt:]),
		Cut:     be.Uint64(b[batchCutAt:]),
		Prefix:  Seq(be.Uint64(b[batchPrefixAt:])),
		Time:    int64(be.Uint64(b[batchTimeAt:])),
		Prev:    Hash(b[batchPrevAt:]),
	}
	if h.Version != BatchVersion || be.Uint16(b[2:]) != 0 {
		return h, 0, fmt.Errorf("batch header: version %d: %w", h.Version, ErrVersion)
	}
	return h, be.Uint32(b[batchCountAt:]), nil
}
