package mover

import (
	"context"
	"log/slog"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline/stage"
)

// Options says which volume a Source opens and with which limits. Zero values
// of the limits mean the defaults named beside them.
type Options struct {
	Medium   media.Medium     // where the store is; not closed by the Source
	Far      *Far             // how to write where Medium only reads; nil: Medium is here
	Spool    *Spool           // stands in front of Far; nil: what is written goes there at once
	Store    chunkfmt.StoreID // from media.OpenStore
	Master   [32]byte         // the master key
	Volume   string           // the volume's name
	StateDir string           // the user's state folder of this volume, 0700; made if missing
	// CatalogPath is the file of the catalog, beside the media; "" keeps it in memory.
	CatalogPath string
	Holder      string // who takes the volume's lock, for the message to others
	Program     string // program and version, for the session header

	Buffers    int   // buffers of the segment, 1 MiB each; 64
	CacheBytes int64 // limit of the group cache; 64 MiB
	DedupBytes int64 // limit of the dedup table; 64 MiB
	// DedupResized is told how large the dedup table is, in bytes, whenever that changes; nil: nobody is.
	DedupResized func(bytes uint64)
	// Spare takes less memory and more time: the index is spared, see index.Index.Spare, and groups are compressed with
	// small tables, see stage.CompressLight.
	Spare      bool
	ChunkBytes int64 // length at which a chunk is closed; 128 MiB
	Instances  int   // instances of each parallel stage; one a processor

	// Follow is for a Reader whose view is to be brought up to date.
	Follow bool
	// CheckpointAfter is how many bytes of log, as they are before compression, are too few to be worth a
	// checkpoint; 32 MiB.
	CheckpointAfter uint64
	// FromLog leaves checkpoints alone where an index is made.
	FromLog bool
	// Copied gives a Reader what OpenReader was given, anew: it needs a newer state too where groups are moved while
	// it reads. Nil: there is none.
	Copied func(context.Context) (path string, err error)

	AcceptRollback bool         // go on with a store that does not extend what was acknowledged here
	Faults         stage.Faults // deliberate defects, for negative controls of crash tests only
	Clock          func() time.Time
	Log            *slog.Logger

	indexPatience time.Duration // how long an index is waited for that another process has; 10 s
}
