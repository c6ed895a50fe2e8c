package stage

import (
	"fmt"
	"log/slog"
	"time"

	"coffer/chunkfmt"
	"coffer/index/dedup"
	"coffer/media"
	"coffer/pipeline"
)

// Config configures one writing session. Store, Keys, Sealer, Session, Ordinal,
// Archive, Medium, Catalog, Flight and Groups are needed.
type Config struct {
	Store  chunkfmt.StoreID
	Keys   *chunkfmt.VolumeKeys
	Sealer *chunkfmt.Sealer // of this session

	Session chunkfmt.SessionID
	Ordinal uint32 // of the session, from 1
	// Prev is the head that this session goes on from: the last number that
	// counts, of whichever session, and the chain there. Zero for the first
	// session of a volume.
	Prev Head
	// Info is the payload of the session header, a packed
	// chunkfmt.SessionInfo whose chain is that of Prev. It is sealed.
	Info []byte
	// Archive is the number of the archive that is open, from 1.
	Archive uint32

	Medium  media.Medium
	Catalog Catalog
	// Chunk is the number behind which those of the session's chunks begin; 0 as a rule.
	Chunk uint32
	// OnAcked is told that all up to a number is stable. It must be quick. One call at a time. nil: nobody is.
	OnAcked func(upTo chunkfmt.Seq)
	// Tail makes the last stage of the pipe, which ships to another machine what it receives; see Shipment. nil: the
	// stage that stores on Medium. With Tail, Catalog is not needed.
	Tail func(*Writer) pipeline.StageSpec
	// Dedup is used by one goroutine of the pipe, and by Detach. Its source
	// is Groups. nil: nothing is known.
	Dedup *dedup.Table
	// Lost is used by one goroutine of the pipe: what is written heals the groups
	// that have lost it. nil: nothing heals by itself.
	Lost   *Lost
	Flight *Flight
	Groups *Groups

	// Instances of each multi-instance stage; 0: 2.
	Instances int
	// Buffers in the segment, at least MinBuffers; 0: 64.
	Buffers int
	// ChunkSize in bytes over which a chunk does not grow, but for what one
	// buffer holds; 0: 128 MiB.
	ChunkSize int64
	// Reserve is the space in bytes that is left free on the medium for
	// metadata; 0: 64 MiB.
	Reserve     uint64
	Compression Compression
	// Clock gives the time of batches; nil: time.Now.
	Clock func() time.Time
	// Log; nil: slog.Default().
	Log *slog.Logger
	// Faults is for crash suites that must prove that they can fail.
	Faults Faults
}

// MinBuffers is the smallest number of buffers that a pipe can work with.
const MinBuffers = 6

// Faults break a promise on purpose. A suite that finds no loss with one of
// them set does not look.
type Faults struct {
	// BatchFirst writes and acknowledges a batch before the last data that it
	// names.
	BatchFirst bool
	// NoSync acknowledges without syncing.
	NoSync bool
	// FailSync breaks nothing: it has every eighth sync of a pipe fail, as that of a disk does that is about to.
	FailSync bool
}

// Catalog records which groups lie in which chunk; *media.Catalog does.
// Methods are called by two goroutines at once.
type Catalog interface {
	// AddChunk records a chunk that was just created.
	AddChunk(h chunkfmt.ChunkHeader) error
	// Extend records tags appended to the chunk, their Offset set. It must
	// not keep the slice.
	Extend(id chunkfmt.ChunkID, tags []chunkfmt.Tag)
	// SealChunk records that the chunk is complete, with its footer, and
	// stable, and size bytes long.
	SealChunk(id chunkfmt.ChunkID, size int64) error
	// LeaveChunk records that the chunk gets no more tags and no footer.
	LeaveChunk(id chunkfmt.ChunkID) error
}

func (cfg *Config) setDefaults() error {
	switch {
	case cfg.Keys == nil || cfg.Sealer == nil || cfg.Medium == nil || cfg.Catalog == nil && cfg.Tail == nil || cfg.Flight == nil || cfg.Groups == nil:
		return fmt.Errorf("writing session: keys, sealer, medium, catalog, flight or groups are missing: %w", ErrConfig)
	case cfg.Ordinal == 0 || cfg.Ordinal <= cfg.Prev.Ordinal || cfg.Ordinal > chunkfmt.MaxOrdinal:
		return fmt.Errorf("writing session %d after %d: %w", cfg.Ordinal, cfg.Prev.Ordinal, ErrConfig)
	case cfg.Buffers != 0 && cfg.Buffers < MinBuffers:
		return fmt.Errorf("writing session: %d buffers, at least %d: %w", cfg.Buffers, MinBuffers, ErrConfig)
	}
	setDefault(&cfg.Instances, 2)
	setDefault(&cfg.Buffers, 64)
	setDefault(&cfg.ChunkSize, 128<<20)
	setDefault(&cfg.Reserve, 64<<20)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
