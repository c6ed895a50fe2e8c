package media

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"coffer/chunkfmt"
)

// readers is how many footers Refresh reads at once: disks and servers answer
// several sooner than one after the other.
const readers = 8

// AddChunk tells of a chunk that the caller has created and is about to fill.
// It fails with ErrExist if the chunk is being written or complete. A Refresh
// between the creation and this call may have found it already.
func (c *Catalog) AddChunk(h chunkfmt.ChunkHeader) error {
	if h.Volume != c.volume {
		return fmt.Errorf("catalog: chunk %v is of volume %v, want %v", h.Chunk, h.Volume, c.volume)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.chunks[h.Chunk]; old != nil {
		if old.growing != nil || old.Complete {
			return fmt.Errorf("catalog: add chunk %v: %w", h.Chunk, ErrExist)
		}
		c.forget(old)
		c.spans = c.spans.remove(old)
	}
	k := &chunk{
		Chunk:   Chunk{ID: h.Chunk, Name: ChunkName(c.volume, h.Chunk)},
		growing: &directory{end: chunkfmt.ChunkHeaderSize},
	}
	c.chunks[h.Chunk] = k
	c.open = append(c.open, k)
	return nil
}

// Extend tells of tags appended to a chunk given to AddChunk, with their Offset
// set. They can be looked up when it has returned. Tags are not retained. For
// any other chunk it does nothing: Refresh will find the tags.
func (c *Catalog) Extend(id chunkfmt.ChunkID, tags []chunkfmt.Tag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.chunks[id]; k != nil && k.growing != nil {
		for i := range tags {
			k.growing.add(&tags[i], int64(tags[i].Offset))
		}
	}
}

// SealChunk tells that a chunk given to AddChunk is size bytes long, its footer
// included, and on stable storage. It fails only if the chunk is not being
// written: a catalog file that cannot be written is put right by a later
// Refresh.
func (c *Catalog) SealChunk(id chunkfmt.ChunkID, size int64) error {
	return c.finish(id, size, true)
}

// LeaveChunk tells that a chunk given to AddChunk gets no more tags and no
// footer, because it is torn. What it holds can be looked up on.
func (c *Catalog) LeaveChunk(id chunkfmt.ChunkID) error {
	return c.finish(id, 0, false)
}

func (c *Catalog) finish(id chunkfmt.ChunkID, size int64, complete bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.chunks[id]
	if old == nil || old.growing == nil {
		return fmt.Errorf("catalog: chunk %v is not being written", id)
	}
	c.open = slices.DeleteFunc(c.open, func(k *chunk) bool { return k == old })
	d := old.growing
	k := &chunk{Chunk: d.describe(old.Chunk), ranges: d.ranges()}
	if complete {
		k.Size, k.Complete = size, true
	}
	c.chunks[id] = k
	c.spans = c.spans.insert(k)
	c.cache.add(k, d)
	if complete {
		c.file.put(k.record())
	}
	return nil
}

// RemoveChunk tells that a chunk was removed from the medium.
func (c *Catalog) RemoveChunk(id chunkfmt.ChunkID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.chunks[id]
	if !ok {
		return
	}
	c.forget(k)
	c.spans = c.spans.remove(k)
}

// forget takes a chunk out, but not out of the spans; c.mu is held.
func (c *Catalog) forget(k *chunk) {
	delete(c.chunks, k.ID)
	c.open = slices.DeleteFunc(c.open, func(o *chunk) bool { return o == k })
	c.cache.drop(k)
	c.file.drop(k.ID)
}

// Rebuild forgets all but the chunks being written, and refreshes.
func (c *Catalog) Rebuild(ctx context.Context) error {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	c.mu.Lock()
	for _, k := range c.chunks {
		if k.growing == nil {
			c.forget(k)
		}
	}
	c.index()
	c.mu.Unlock()
	return c.refresh(ctx)
}

// Refresh lists the medium and reads the footer of every chunk that is unknown
// or has another length than before; one without a footer is scanned. Chunks
// that are gone are dropped. A chunk that cannot be read is logged, left out
// and tried again at the next Refresh: what can be read stays readable. The
// catalog's file is put in order if it was not.
func (c *Catalog) Refresh(ctx context.Context) error {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	return c.refresh(ctx)
}

func (c *Catalog) refresh(ctx context.Context) error {
	c.mu.RLock()
	before := maps.Clone(c.chunks)
	c.mu.RUnlock()
	list, err := c.medium.List(ctx, VolumePrefix(c.volume))
	if err != nil {
		return fmt.Errorf("refresh catalog: %w", err)
	}
	gone := maps.Clone(before)
	var changed []Info
	for _, info := range list {
		v, id, ok := ParseChunkName(info.Name)
		if !ok || v != c.volume {
			continue
		}
		delete(gone, id)
		if k := before[id]; k == nil || k.growing == nil && k.Size != info.Size {
			changed = append(changed, info)
		}
	}
	read, err := c.readChunks(ctx, changed)
	if err != nil {
		return fmt.Errorf("refresh catalog: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Whatever was told of a chunk since before the listing is newer.
	for _, k := range read {
		if c.chunks[k.ID] == before[k.ID] {
			c.cache.drop(before[k.ID])
			c.chunks[k.ID] = k
			c.file.put(k.record())
		}
	}
	for id, k := range gone {
		if c.chunks[id] == k && k.growing == nil {
			c.forget(k)
		}
	}
	c.index()
	c.file.tidy(len(c.chunks), c.records)
	return nil
}

// readChunks reads what the directories of chunks tell.
func (c *Catalog) readChunks(ctx context.Context, list []Info) ([]*chunk, error) {
	var mu sync.Mutex // guards read
	var read []*chunk
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, info := range list {
		g.Go(func() error {
			k, err := c.readChunk(ctx, info)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, ErrNotExist):
				return nil // removed since it was listed
			case err != nil:
				c.log.Warn("chunk cannot be read and is left out of the catalog", "chunk", info.Name, "err", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			read = append(read, k)
			return nil
		})
	}
	err := g.Wait()
	return read, err
}

func (c *Catalog) readChunk(ctx context.Context, info Info) (*chunk, error) {
	d, complete, err := readDirectory(ctx, c.medium, info, c.log)
	if err != nil {
		return nil, err
	}
	_, id, _ := ParseChunkName(info.Name)
	k := &chunk{Chunk: d.describe(Chunk{ID: id, Name: info.Name}), ranges: d.ranges()}
	k.Size, k.Complete = info.Size, complete
	return k, nil
}

// records gives all that belongs into the file; c.mu is held.
func (c *Catalog) records() []record {
	var list []record
	for _, k := range c.chunks {
		if k.growing == nil {
			list = append(list, k.record())
		}
	}
	return list
}

func (k *chunk) record() record {
	return record{id: k.ID, size: k.Size, tags: uint32(k.Tags), complete: k.Complete, ranges: k.ranges}
}

func (c *Catalog) fromRecord(r record) *chunk {
	k := &chunk{
		Chunk: Chunk{
			ID: r.id, Name: ChunkName(c.volume, r.id),
			Tags: int(r.tags), Size: r.size, Complete: r.complete,
		},
		ranges: r.ranges,
	}
	if n := len(r.ranges); n > 0 {
		k.First, k.Last = r.ranges[0].first, r.ranges[n-1].last
	}
	return k
}
