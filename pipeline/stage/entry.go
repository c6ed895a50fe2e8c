package stage

import (
	"fmt"
	"sync"

	"coffer/chunkfmt"
)

// form is where the bytes of a group are.
type form uint8

const (
	formPlain  form = iota // in its blocks
	formSealed             // in an output buffer
	formStored             // on the medium
)

// entry is a group in Flight.
type entry struct {
	seq chunkfmt.Seq
	mem *memory

	// mu guards what follows. memory.mu and Block.mu may be taken after it.
	// Whoever reads sealed bytes holds it meanwhile, so that the buffer stays.
	mu       sync.RWMutex
	form     form
	length   uint32 // of the plaintext
	records  []chunkfmt.BlockRecord
	blocks   []*Block // while plain
	tag      chunkfmt.Tag
	options  []byte
	sealed   []byte // while sealed
	location chunkfmt.Location
}

// add appends a block to a group that pack fills, and returns its offset.
func (e *entry) add(b *Block) uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	off := e.length
	e.blocks = append(e.blocks, b)
	e.records = append(e.records, chunkfmt.BlockRecord{Fingerprint: b.fp, Length: uint32(b.n)})
	e.length += uint32(b.n)
	return off
}

func (e *entry) record() chunkfmt.GroupRecord {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return chunkfmt.GroupRecord{Seq: e.seq, RawLen: e.length, Blocks: e.records[:len(e.records):len(e.records)]}
}

// seal says that the group is sealed, and lets its plaintext go: when it
// returns, nobody reads it any more.
func (e *entry) seal(tag chunkfmt.Tag, options, sealed []byte) {
	e.mu.Lock()
	blocks := e.blocks
	e.form, e.blocks = formSealed, nil
	e.tag, e.options, e.sealed = tag, options, sealed
	e.mu.Unlock()
	for _, b := range blocks {
		b.drop()
	}
}

// store says where the group is stored: when it returns, nobody reads the
// sealed bytes in memory any more.
func (e *entry) store(l chunkfmt.Location) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.form, e.location = formStored, l
	e.sealed, e.options = nil, nil
}

// readPlain fills p from the blocks; false if they have gone.
func (e *entry) readPlain(p []byte, off uint32) (bool, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.form != formPlain {
		return false, nil
	}
	if uint64(off)+uint64(len(p)) > uint64(e.length) {
		return true, fmt.Errorf("group %v of %d bytes, read %d at %d: %w", e.seq, e.length, len(p), off, ErrRange)
	}
	// Blocks drop their bytes only after the form has changed, which waits
	// for this lock; so if one has none, the pipe is gone.
	at := uint32(0)
	for _, b := range e.blocks {
		end := at + uint32(b.n)
		if off < end && len(p) > 0 {
			n := min(len(p), int(end-off))
			if !b.copyPlain(p[:n], int(off-at)) {
				return true, fmt.Errorf("group %v was not stored: %w", e.seq, ErrClosed)
			}
			p, off = p[n:], off+uint32(n)
		}
		at = end
	}
	return true, nil
}

// sealedBytes lets f open the sealed bytes in memory; false if they have gone.
func (e *entry) sealedBytes(f func(tag *chunkfmt.Tag, options, sealed []byte) error) (bool, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.form != formSealed {
		return false, nil
	}
	if !e.mem.enter() {
		return true, fmt.Errorf("group %v was not stored: %w", e.seq, ErrClosed)
	}
	defer e.mem.leave()
	return true, f(&e.tag, e.options, e.sealed)
}
