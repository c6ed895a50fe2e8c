package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
)

// Records is what the index knows of groups.
type Records interface {
	// Group gives the record of group seq and a hint where it lies, which may
	// be zero or wrong; false if there is none.
	Group(seq chunkfmt.Seq) (chunkfmt.GroupRecord, chunkfmt.Location, bool, error)
	// Known calls f with the groups whose numbers are first or above, ascending, until f returns false.
	Known(first chunkfmt.Seq, f func(chunkfmt.GroupRecord, chunkfmt.Location) bool) error
	// Healed gives the blocks of group seq that other groups hold, because seq is
	// damaged or was given up, ascending by their offset; nearly always none. Called at each read.
	Healed(seq chunkfmt.Seq) ([]chunkfmt.Healed, error)
}

// Locator finds groups on the medium, without hints; *media.Catalog does.
type Locator interface {
	// Places gives all places of group seq, at least one; media.ErrNoTag if there is none.
	Places(seq chunkfmt.Seq) ([]chunkfmt.Location, error)
}

// Renewer is a Locator that does not learn by itself of groups that are moved.
type Renewer interface {
	// Renew has it look at the medium again.
	Renew(ctx context.Context) error
}

// Reader reads named objects of a medium.
type Reader interface {
	ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error)
}

// GroupsConfig configures NewGroups. All fields but CacheBytes are needed.
type GroupsConfig struct {
	Keys    *chunkfmt.VolumeKeys
	Flight  *Flight
	Records Records
	Locator Locator
	Medium  Reader
	// Sealer gives the sealer of the session of that ordinal. Called at each
	// group that is opened, concurrently.
	Sealer func(ordinal uint32) (*chunkfmt.Sealer, error)
	// CacheBytes limits the plaintext of groups that is kept; 0: 64 MiB.
	CacheBytes int64
	// Moved reads a group that no medium has any more of those that the index knows, where its blocks may have been
	// moved to others since there was this index. Nil: the index is up to date.
	Moved func(ctx context.Context, seq chunkfmt.Seq, p []byte, off uint32) error
}

// Groups reads whole groups of a volume, wherever they are, checks them and
// keeps the last read ones. Methods are safe for concurrent use.
type Groups struct {
	cfg   GroupsConfig
	cache *cache
	walks walks

	stop  context.CancelFunc
	life  context.Context // of prefetches
	wg    sync.WaitGroup
	mu    sync.Mutex // guards what follows, and done against wg.Add; nothing is locked after it
	done  bool
	under int // prefetches under way
	ahead ahead
}

// NewGroups makes a reader of groups. ctx ends its prefetches, as Close does.
// It fails if there is no memory for the cache.
func NewGroups(ctx context.Context, cfg GroupsConfig) (*Groups, error) {
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 64 << 20
	}
	cache, err := newCache(cfg.CacheBytes)
	if err != nil {
		return nil, err
	}
	g := &Groups{cfg: cfg, cache: cache, ahead: newAhead()}
	cache.foreseen = g.foreseen
	g.life, g.stop = context.WithCancel(ctx)
	return g, nil
}

// Group is the record of group seq, in flight or in the index, which makes
// Groups the source of package dedup.
func (g *Groups) Group(seq chunkfmt.Seq) (chunkfmt.GroupRecord, chunkfmt.Location, bool, error) {
	if e := g.cfg.Flight.entry(seq); e != nil {
		rec := e.record()
		l, _ := g.cfg.Flight.Location(seq)
		return rec, l, true, nil
	}
	return g.cfg.Records.Group(seq)
}

// ReadAt fills p with the plaintext of group seq from byte off on. Each group
// is read, authenticated and checked against the fingerprints of all its blocks
// once, also if many ask for it at the same time. Blocks that another group holds
// instead are read there. Damage wraps ErrDamaged, a read beyond the
// group ErrRange, bytes lost with their pipe ErrClosed.
func (g *Groups) ReadAt(ctx context.Context, seq chunkfmt.Seq, p []byte, off uint32) error {
	err := g.ReadKnown(ctx, seq, p, off)
	if !errors.Is(err, media.ErrNoTag) || ctx.Err() != nil {
		return err
	}
	if g.cfg.Moved != nil {
		return g.cfg.Moved(ctx, seq, p, off)
	}
	return g.ReadKnown(ctx, seq, p, off) // it may have gone since the index was asked where its blocks are
}

// ReadKnown is ReadAt where the index knows the group to be.
func (g *Groups) ReadKnown(ctx context.Context, seq chunkfmt.Seq, p []byte, off uint32) error {
	blocks, err := g.cfg.Records.Healed(seq)
	if err != nil {
		return err
	}
	if len(blocks) > 0 {
		return g.readHealed(ctx, seq, blocks, p, off)
	}
	return g.stored(ctx, seq, p, off)
}

// stored is ReadAt of a group that is read where it is stored.
func (g *Groups) stored(ctx context.Context, seq chunkfmt.Seq, p []byte, off uint32) error {
	if e := g.cfg.Flight.entry(seq); e != nil {
		if ok, err := e.readPlain(p, off); ok {
			return err
		}
	}
	if g.walks.read(seq) {
		g.prefetchNear(seq)
	}
	it, err := g.item(ctx, seq)
	if err != nil {
		return err
	}
	defer g.cache.release(it)
	if uint64(off)+uint64(len(p)) > uint64(len(it.data)) {
		return fmt.Errorf("group %v of %d bytes, read %d at %d: %w", seq, len(it.data), len(p), off, ErrRange)
	}
	copy(p, it.data[off:])
	return nil
}

// item gives the group in the cache, pinned.
func (g *Groups) item(ctx context.Context, seq chunkfmt.Seq) (*item, error) {
	return g.cache.get(ctx, seq, g.loader(ctx, seq))
}

// loader is what the cache calls for a group that it does not have.
func (g *Groups) loader(ctx context.Context, seq chunkfmt.Seq) func(room func(int) []byte) error {
	return func(room func(int) []byte) error { return g.load(ctx, seq, room) }
}

// Prefetch reads groups into the cache in the background, as far as there is
// capacity for it now; others it leaves out.
func (g *Groups) Prefetch(seqs ...chunkfmt.Seq) {
	for _, seq := range seqs {
		if g.cache.has(seq) {
			continue
		}
		if blocks, err := g.cfg.Records.Healed(seq); err != nil || len(blocks) > 0 {
			continue // there is nothing in its own place
		}
		if e := g.cfg.Flight.entry(seq); e != nil {
			continue // in memory, or in the page cache
		}
		if !g.prefetch(seq) {
			return
		}
	}
}

// prefetchNear prefetches groups that are near seq in the log, the nearest first.
func (g *Groups) prefetchNear(seq chunkfmt.Seq) {
	g.mu.Lock()
	g.ahead.earn(creditStep)
	most := g.ahead.near()
	if g.under >= g.ahead.width {
		most = 0
	}
	g.mu.Unlock()
	if most == 0 {
		return
	}
	var before, behind []chunkfmt.Seq
	first := seq - min(seq, walkStep)
	err := g.cfg.Records.Known(first, func(rec chunkfmt.GroupRecord, _ chunkfmt.Location) bool {
		switch {
		case rec.Seq < seq:
			before = append(before, rec.Seq)
		case rec.Seq > seq:
			behind = append(behind, rec.Seq)
		}
		return len(behind) < most
	})
	if err != nil {
		return // it shows to who needs them
	}
	near := make([]chunkfmt.Seq, 0, len(before)+len(behind))
	for i := range max(len(before), len(behind)) {
		if i < len(behind) {
			near = append(near, behind[i])
		}
		if i < len(before) {
			near = append(near, before[len(before)-1-i])
		}
	}
	near = slices.DeleteFunc(near, func(seq chunkfmt.Seq) bool { return !g.cache.wants(seq) })
	g.Prefetch(near[:min(len(near), most)]...)
}

// prefetch says whether there is capacity for it.
func (g *Groups) prefetch(seq chunkfmt.Seq) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.done || g.under >= g.ahead.width {
		return false
	}
	g.under++
	g.wg.Go(func() {
		start := time.Now()
		// Whoever needs the group will get the error.
		loaded := g.cache.foresee(seq, g.loader(g.life, seq))
		g.mu.Lock()
		defer g.mu.Unlock()
		g.under--
		if loaded {
			g.ahead.took(time.Since(start))
		}
	})
	return true
}

// foreseen is told of a group that was read ahead whether it was used, once.
func (g *Groups) foreseen(used bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if used {
		g.ahead.earn(creditUsed)
	} else {
		g.ahead.lose(creditUnused)
	}
}

// Close ends prefetches, waits for them and for reads under way, and gives the
// memory of the cache back. Later reads fail with ErrClosed. Called once.
func (g *Groups) Close() error {
	g.mu.Lock()
	g.done = true
	g.mu.Unlock()
	g.stop()
	g.wg.Wait()
	return g.cache.close()
}
