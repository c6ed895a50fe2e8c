package media

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"

	"coffer/chunkfmt"
)

// ErrNoTag: no chunk that the catalog knows holds that sequence number.
var ErrNoTag = errors.New("no such tag in the catalog")

// Chunk is what the catalog knows of one chunk.
type Chunk struct {
	ID       chunkfmt.ChunkID
	Name     string       // on the medium
	First    chunkfmt.Seq // lowest number in it; 0 if it holds no tag
	Last     chunkfmt.Seq // highest number in it
	Tags     int
	Size     int64 // bytes
	Complete bool  // has a valid footer
	Open     bool  // is being written, by who told of it with AddChunk
}

// CatalogOptions configures a catalog. The zero value is ready to use.
type CatalogOptions struct {
	// DirectoryBytes bounds the memory of directories of chunks; 0 means
	// 16 MiB.
	DirectoryBytes int
	// Log gets what the catalog decides by itself, such as to start anew or
	// to leave a chunk out. Nil means slog.Default().
	Log *slog.Logger
}

// Catalog tells in which chunk of a volume, and where in it, a tag lies. It is
// made of chunk names, headers and footers alone, holds no secret, and losing
// it loses nothing.
//
// What it knows of each chunk is its size and the ranges of numbers in it; that
// is in memory, some 200 bytes for each 128 MiB chunk, and in a file that saves
// reading all footers when the volume is opened. The directories themselves are
// read when they are asked for and kept as far as DirectoryBytes goes. Groups
// may lie in chunks of any session and in several at once.
//
// All methods may be called concurrently.
type Catalog struct {
	medium Medium
	volume chunkfmt.VolumeID
	log    *slog.Logger
	cache  *directoryCache
	ctx    context.Context // of the reads that lookups share; ends with Close
	cancel context.CancelFunc

	refreshing sync.Mutex // held by Refresh and Rebuild, all through; mu is taken under it

	mu     sync.RWMutex // guards all below; the cache's lock is taken under it
	chunks map[chunkfmt.ChunkID]*chunk
	open   []*chunk // those being written, the latest last
	spans  spans    // the others
	file   *catalogFile
}

// chunk is one chunk. It never changes, but is replaced by another; only what
// growing points to changes, under Catalog.mu.
type chunk struct {
	Chunk
	ranges  []seqRange
	growing *directory // while it is being written

	loading sync.Mutex // held while the directory is read; the cache's lock is taken under it
}

// OpenCatalog opens the catalog of a volume kept in the file at path. A file
// that is missing, or damaged, or of another volume, counts as empty from there
// on; one that cannot be written is done without; an empty path keeps the
// catalog in memory only. Call Refresh before the first Lookup. The context
// gives its values to the reads of lookups but does not end them; Close does.
func OpenCatalog(ctx context.Context, path string, m Medium, v chunkfmt.VolumeID, o CatalogOptions) (*Catalog, error) {
	if o.DirectoryBytes <= 0 {
		o.DirectoryBytes = 16 << 20
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	c := &Catalog{
		medium: m,
		volume: v,
		log:    o.Log.With("volume", v.String()),
		cache:  newDirectoryCache(o.DirectoryBytes),
		chunks: make(map[chunkfmt.ChunkID]*chunk),
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.file = openCatalogFile(path, v, c.log)
	for _, r := range c.file.load() {
		c.chunks[r.id] = c.fromRecord(r)
	}
	c.index()
	return c, nil
}

// Lookup returns a place of the tag of seq, ErrNoTag if none is known. A mirror
// chunk answers only if no other does. As a rule it reads nothing: only the
// first lookup in a chunk for some time reads that chunk's footer.
func (c *Catalog) Lookup(seq chunkfmt.Seq) (chunkfmt.Location, error) {
	places, err := c.places(seq, 1)
	if len(places) > 0 {
		return places[0], nil
	}
	return chunkfmt.Location{}, fmt.Errorf("look up %v: %w", seq, errors.Join(ErrNoTag, err))
}

// Places returns all known places of the tag of seq, those in mirror chunks
// last, for a reader who found the first one damaged. It fails with ErrNoTag if
// there is none.
func (c *Catalog) Places(seq chunkfmt.Seq) ([]chunkfmt.Location, error) {
	places, err := c.places(seq, math.MaxInt)
	if len(places) > 0 {
		return places, nil
	}
	return nil, fmt.Errorf("look up %v: %w", seq, errors.Join(ErrNoTag, err))
}

// places returns up to limit places, and why it could not look into some chunk.
func (c *Catalog) places(seq chunkfmt.Seq, limit int) (found []chunkfmt.Location, err error) {
	for {
		var gone bool
		if found, gone, err = c.look(seq, limit); len(found) > 0 || !gone {
			return found, err
		}
	}
}

// look is places once. It says whether a chunk into which it could not look has gone meanwhile, as what it held was
// put elsewhere before: then there is more to be found.
func (c *Catalog) look(seq chunkfmt.Seq, limit int) (found []chunkfmt.Location, gone bool, err error) {
	for _, k := range c.candidates(seq) {
		if len(found) == limit {
			break
		}
		e, ok, failed := c.find(k, seq)
		if failed != nil {
			err = errors.Join(err, failed)
			gone = gone || errors.Is(failed, ErrNotExist) && !c.has(k)
		}
		if ok {
			found = append(found, chunkfmt.Location{Chunk: k.ID, Offset: e.offset, Length: e.length})
		}
	}
	return found, gone, err
}

// has says whether a chunk is known as it was.
func (c *Catalog) has(k *chunk) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.chunks[k.ID] == k
}

// candidates returns the chunks that may hold seq, mirror chunks last.
func (c *Catalog) candidates(seq chunkfmt.Seq) []*chunk {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]*chunk, 0, 4)
	for _, k := range slices.Backward(c.open) {
		list = append(list, k)
	}
	list = c.spans.holding(list, seq)
	slices.SortStableFunc(list, func(a, b *chunk) int {
		switch {
		case a.ID.Mirror() == b.ID.Mirror():
			return 0
		case a.ID.Mirror():
			return 1
		}
		return -1
	})
	return list
}

// find looks into the directory of one chunk.
func (c *Catalog) find(k *chunk, seq chunkfmt.Seq) (entry, bool, error) {
	c.mu.RLock()
	if k.growing != nil {
		defer c.mu.RUnlock()
		e, ok := k.growing.find(seq)
		return e, ok, nil
	}
	c.mu.RUnlock()
	d, err := c.directory(k)
	if err != nil {
		return entry{}, false, err
	}
	e, ok := d.find(seq)
	return e, ok, nil
}

// directory returns the directory of a chunk that is not being written. Those
// who want the same one wait for one read.
func (c *Catalog) directory(k *chunk) (*directory, error) {
	if d := c.cache.get(k); d != nil {
		return d, nil
	}
	k.loading.Lock()
	defer k.loading.Unlock()
	if d := c.cache.get(k); d != nil {
		return d, nil
	}
	d, _, err := readDirectory(c.ctx, c.medium, Info{Name: k.Name, Size: k.Size}, c.log)
	if err != nil {
		return nil, err
	}
	c.cache.add(k, d)
	return d, nil
}

// Chunks returns what is known, in the order of chunkfmt.ChunkID.Compare.
func (c *Catalog) Chunks() []Chunk {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]Chunk, 0, len(c.chunks))
	for _, k := range c.chunks {
		known := k.Chunk
		if k.growing != nil {
			known = k.growing.describe(known)
			known.Open = true
		}
		list = append(list, known)
	}
	slices.SortFunc(list, func(a, b Chunk) int { return a.ID.Compare(b.ID) })
	return list
}

// Close ends reads under way and closes the file, to which everything was
// written before.
func (c *Catalog) Close() error {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.file.close()
}

// index builds the spans anew; c.mu is held or nobody else knows c.
func (c *Catalog) index() {
	c.spans = nil
	for _, k := range c.chunks {
		if k.growing == nil {
			c.spans = c.spans.append(k)
		}
	}
	c.spans.sort()
}
