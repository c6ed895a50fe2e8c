package media

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"unsafe"

	"coffer/chunkfmt"
)

// directory tells where in one chunk its tags are.
type directory struct {
	entries []entry // by seq; equal ones in the order of their places
	end     int64   // where the last tag with its bytes ends
}

type entry struct {
	seq    chunkfmt.Seq
	offset uint64 // of the tag, from the start of the chunk
	length uint32 // of options and sealed bytes after the tag
}

// add notes a tag that lies at a place. Header transfers carry no number and
// are left out, void and gone tags nothing that could be read.
func (d *directory) add(t *chunkfmt.Tag, at int64) {
	d.end = max(d.end, at+int64(chunkfmt.TagSize+t.StoredLen()))
	if t.Seq == 0 || t.Flags&(chunkfmt.FlagHeaderTransfer|chunkfmt.FlagVoid) != 0 || t.Kind == chunkfmt.KindGone {
		return
	}
	e := entry{seq: t.Seq, offset: uint64(at), length: uint32(t.StoredLen())}
	// Nearly always the end: only moved groups come in another order.
	i, _ := slices.BinarySearchFunc(d.entries, e.seq+1, compareSeq)
	d.entries = slices.Insert(d.entries, i, e)
}

func (d *directory) find(seq chunkfmt.Seq) (entry, bool) {
	i, ok := slices.BinarySearchFunc(d.entries, seq, compareSeq)
	if !ok {
		return entry{}, false
	}
	return d.entries[i], true
}

func compareSeq(e entry, seq chunkfmt.Seq) int { return cmp.Compare(e.seq, seq) }

func (d *directory) ranges() []seqRange {
	return makeRanges(func(yield func(chunkfmt.Seq) bool) {
		for _, e := range d.entries {
			if !yield(e.seq) {
				return
			}
		}
	})
}

// describe fills in what the directory tells of its chunk.
func (d *directory) describe(k Chunk) Chunk {
	k.Size, k.Tags = d.end, len(d.entries)
	if n := len(d.entries); n > 0 {
		k.First, k.Last = d.entries[0].seq, d.entries[n-1].seq
	}
	return k
}

// readDirectory reads the footer of a chunk, or scans it if it has none or a
// damaged one. Complete tells which.
func readDirectory(ctx context.Context, m Medium, info Info, log *slog.Logger) (d *directory, complete bool, err error) {
	r := Reader(ctx, m, info.Name)
	d = &directory{}
	tags, err := chunkfmt.ReadFooter(r, info.Size)
	if err == nil {
		d.entries = make([]entry, 0, len(tags))
		for at, t := range chunkfmt.Places(tags) {
			d.add(t, at)
		}
		return d, true, nil
	}
	if !errors.Is(err, chunkfmt.ErrNoFooter) {
		log.Warn("chunk footer cannot be used, scanning the chunk", "chunk", info.Name, "err", err)
	}
	s := chunkfmt.NewScanner(r, info.Size)
	for {
		e, err := s.Next()
		switch damage := (*chunkfmt.DamageError)(nil); {
		case err == nil:
			d.add(&e.Tag, e.At)
		case errors.Is(err, io.EOF):
			return d, false, nil
		case errors.As(err, &damage):
			log.Warn("chunk is damaged", "chunk", info.Name, "from", damage.From, "to", damage.To)
		default:
			return nil, false, fmt.Errorf("scan %s: %w", info.Name, err)
		}
	}
}

// directoryCache keeps the directories used last, as far as its limit goes.
type directoryCache struct {
	limit int // bytes

	mu      sync.Mutex // guards all below; nothing is locked under it
	size    int        // bytes
	byChunk map[*chunk]*list.Element
	recent  list.List // of *cached, the latest in front
}

type cached struct {
	chunk     *chunk
	directory *directory
}

// bytes is what a directory takes, with its place in the cache.
func (c *cached) bytes() int {
	return cap(c.directory.entries)*int(unsafe.Sizeof(entry{})) + 200
}

func newDirectoryCache(limit int) *directoryCache {
	return &directoryCache{limit: limit, byChunk: make(map[*chunk]*list.Element)}
}

func (c *directoryCache) get(k *chunk) *directory {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byChunk[k]
	if !ok {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*cached).directory
}

// add keeps d, at least until the next add.
func (c *directoryCache) add(k *chunk, d *directory) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byChunk[k]; ok {
		return
	}
	kept := &cached{k, d}
	c.byChunk[k] = c.recent.PushFront(kept)
	c.size += kept.bytes()
	for c.size > c.limit && c.recent.Len() > 1 {
		c.remove(c.recent.Back())
	}
}

func (c *directoryCache) drop(k *chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byChunk[k]; ok {
		c.remove(e)
	}
}

func (c *directoryCache) remove(e *list.Element) {
	old := c.recent.Remove(e).(*cached)
	delete(c.byChunk, old.chunk)
	c.size -= old.bytes()
}
