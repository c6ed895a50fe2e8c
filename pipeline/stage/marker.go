package stage

import "coffer/chunkfmt"

// MarkerKind says what happens when a Marker's turn comes.
type MarkerKind uint8

const (
	// MarkCut journals a batch.
	MarkCut MarkerKind = iota + 1
	// MarkArchive journals a batch, seals the archive and opens the next.
	MarkArchive
	// MarkEnd journals a batch and ends the session with its footer. Nothing
	// can be written after it.
	MarkEnd
)

// Marker goes through the pipe behind all data written before its cut. When
// pack receives it, every earlier block has its place; the batch is encoded
// and stands in the log behind all groups that it names.
type Marker struct {
	Kind MarkerKind
	// Batch gives the records; nil means none.
	Batch BatchSource
	// Journalled is called once, by pack in its own goroutine, when the batch
	// has got its place in the log, before Acked. It must be quick. May be nil.
	Journalled func(Journal)
	// Acked is called once: with nil when the batch and all before it are on
	// stable storage, with an error when that failed or will not come soon
	// (media.ErrFull: the medium is full; the batch stays queued and may
	// still become stable later, which the next marker's nil then tells). It
	// is called from a goroutine of the pipe or from CutSlot.Release, must be
	// quick and must not call into the Collector. May be nil.
	Acked func(error)
	// Archive fills in the archive record when Kind is MarkArchive. Number,
	// Stored and Last are set by pack.
	Archive chunkfmt.ArchiveRecord
}

// Journal says what a marker put into the log.
type Journal struct {
	// Head is the state of the log up to and including the marker's batch.
	Head Head
	// Batches are the parts of the marker's batch, with the records of the
	// groups before it: what the index is to apply once it is acknowledged.
	// Owned by the receiver. Empty if there was nothing to journal.
	Batches []Batch
}

// Batch is one part of a journalled batch, as the index applies it. Record
// keys and values are not to be changed.
type Batch struct {
	Seq     chunkfmt.Seq
	Header  chunkfmt.BatchHeader
	Records []chunkfmt.Record
}

// Head is a place in the log of a volume: the last batch and the chain there.
type Head struct {
	Session chunkfmt.SessionID
	Ordinal uint32
	Seq     chunkfmt.Seq
	Chain   chunkfmt.Hash
}

// BatchSource encodes what a cut has frozen.
type BatchSource interface {
	// Encode adds all records of the cut to w, in the order in which they are
	// to take effect. It is called once, by pack, in pack's goroutine: all
	// blocks written before the cut answer Block.Place. That may be before Cut
	// has returned. An error stops the pipe. It must not wait for anything
	// that waits for the pipe.
	Encode(w RecordSink) error
}

// RecordSink takes the records of a batch.
type RecordSink interface {
	// Add journals r. Key and value are copied.
	Add(r chunkfmt.Record) error
}
