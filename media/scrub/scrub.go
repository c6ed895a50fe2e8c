// Package scrub reads every stored byte of a store and checks it, without a key: the store file and the
// sealed key against their copies, chunk headers, tags, what stands behind tags against its CRC32C,
// footers with the BLAKE3 of their directories, mirror chunks, the catalog, and whether there are bytes
// that belong to nothing.
//
// It tells damage from what a crash leaves: of a chunk without a footer, what was never acknowledged may
// be torn, and what a later session went past is void; one that is being written anew, or was when its cleaner was
// killed, counts for nothing as long as the one before it is there. It repairs nothing, and does not know which group
// belongs to which file: that needs the key (pipeline/check).
//
// Memory is bounded by one read-ahead window, one tag's bytes, one chunk's directory and the list of the
// medium's objects. A store may be written meanwhile.
//
// Start reading at Run, then chunk.go.
package scrub

import (
	"context"
	"fmt"
	"strings"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
)

// Options says how to scrub. The zero value reads everything as fast as it can.
type Options struct {
	Rate int64    // bytes a second; 0: no limit
	From Position // where an earlier scrub was interrupted
	// Volume limits the scrub to the objects of one volume, and leaves out those of the store, unless StoreFiles.
	Volume     *chunkfmt.VolumeID
	StoreFiles bool
	// Skip says of which tags the bytes behind them are not to be read; nil: of none. It is called once with each tag
	// that is whole.
	Skip func(t *chunkfmt.Tag) bool
	// Visit is called with each tag whose bytes were read and fit its CRC; nil: nobody is. The bytes last
	// until it returns. What it returns is a finding's cause, for somebody with a key finds more.
	Visit func(chunk media.Chunk, t *chunkfmt.Tag, at int64, options, sealed []byte) error
	// Progress is called now and then with how far the scrub has come; nil: nobody is.
	Progress func(p Position, done, total int64)
	// Wait waits to keep to the rate; nil: by a timer.
	Wait func(ctx context.Context, d time.Duration) error
}

// Result says what a scrub has read.
type Result struct {
	At       Position // where to go on; past the last object if all was read
	Objects  int
	Bytes    int64 // read from the medium
	Findings int
	Foreign  []string // objects that no store has; at most foreignLimit
}

// foreignLimit bounds the list of foreign objects: somebody may have put his photos there.
const foreignLimit = 100

// Run scrubs a store and calls report for each finding, from its own goroutine. An error is the medium's
// or the context's; then Result.At says where to go on.
func Run(ctx context.Context, m media.Medium, o Options, report func(Finding)) (Result, error) {
	if o.Wait == nil {
		o.Wait = wait
	}
	s := &scrub{medium: m, o: o, report: report}
	s.result.At = o.From
	err := s.run(ctx)
	s.result.Bytes = s.bytes
	return s.result, err
}

// scrub is one run. One goroutine.
type scrub struct {
	medium media.Medium
	o      Options
	report func(Finding)
	result Result
	bytes  int64 // read
	total  int64 // of all objects to be read
	passed int64 // of those read
	buf    []byte
	stored []byte // of one tag
	volume *volume
}

func (s *scrub) run(ctx context.Context) error {
	prefix := ""
	if s.o.Volume != nil {
		prefix = media.VolumePrefix(*s.o.Volume)
	}
	list, err := s.medium.List(ctx, prefix)
	if err != nil {
		return fmt.Errorf("scrub: %w", err)
	}
	largest := int64(sectorSize)
	for _, info := range list {
		if s.o.From.from(info.Name) >= 0 {
			s.total += info.Size
		}
		largest = max(largest, info.Size)
	}
	s.buf = make([]byte, min(windowSize, largest))
	if (s.o.Volume == nil || s.o.StoreFiles) && s.o.From == (Position{}) {
		if err := s.pairs(ctx); err != nil {
			return fmt.Errorf("scrub: %w", err)
		}
	}
	for i, info := range list {
		from := s.o.From.from(info.Name)
		if from < 0 || from > 0 && from >= info.Size {
			continue
		}
		if err := s.object(ctx, list, i, from); err != nil {
			return fmt.Errorf("scrub %s: %w", info.Name, err)
		}
		s.result.Objects++
		s.passed += info.Size
		s.reached(info.Name, info.Size)
	}
	return nil
}

// object checks one object of the list, from an offset on.
func (s *scrub) object(ctx context.Context, list []media.Info, i int, from int64) error {
	name := list[i].Name
	if v, id, ok := media.ParseChunkName(name); ok {
		if s.volume == nil || s.volume.id != v {
			volume, err := s.openVolume(ctx, v, list)
			if err != nil {
				return err
			}
			s.volume = volume
		}
		return s.chunk(ctx, id, list[i], from)
	}
	if isPair(name) {
		return nil // by pairs
	}
	if _, ok := media.ParseBranchName(name); ok {
		return nil // it was read with the chunks
	}
	if v, ok := media.ParseCatalogName(name); ok {
		origin, err := media.Origin(ctx, s.medium, v)
		if err != nil {
			return err
		}
		return s.catalog(ctx, origin, list[i])
	}
	if len(s.result.Foreign) < foreignLimit {
		s.result.Foreign = append(s.result.Foreign, name)
	}
	return nil
}

// reached notes that everything before a place was checked.
func (s *scrub) reached(object string, off int64) {
	s.result.At = Position{object, off}
	if s.o.Progress != nil {
		s.o.Progress(s.result.At, s.passed, s.total)
	}
}

func (s *scrub) found(f Finding) {
	s.result.Findings++
	if v, id, ok := media.ParseChunkName(f.Object); ok {
		f.Volume, f.Chunk = v.String(), id
	}
	f.Cause = strings.TrimSpace(f.Cause)
	s.report(f)
}

func (s *scrub) window(ctx context.Context, name string) *window {
	return &window{ctx: ctx, s: s, name: name, buf: s.buf}
}
