package stage

import (
	"context"
	"fmt"
	"sync"

	"coffer/chunkfmt"
)

// Block is one content-defined block of a file, on its way. All methods are
// safe for concurrent use with the stages that move it.
type Block struct {
	n      int
	mem    *memory
	groups *Groups // reads the block when its plaintext has left memory

	// Only for the stage that has the buffer: no lock.
	at   int // of the bytes in the buffer's data
	fp   chunkfmt.Fingerprint
	zero bool
	anew bool // it is stored even if it is known

	// mu guards what follows; it is the last in the order of locks. Readers
	// copy from plain under RLock, so that whoever moves, drops or seals the
	// bytes waits for them.
	mu    sync.RWMutex
	state blockState
	off   uint32
	group chunkfmt.Seq
	plain []byte // in a pipe buffer; nil once they have gone
}

type blockState uint8

const (
	unplaced blockState = iota
	placed
	hole
)

// Len is the length of the block in bytes, from 1 to BufferSize.
func (b *Block) Len() int { return b.n }

// Place says where the block is in the log: in the group of sequence number g
// from byte off on, or nowhere because it is all zeros (isHole). ok is false as
// long as pack has not decided, and true for ever after.
func (b *Block) Place() (g chunkfmt.Seq, off uint32, isHole, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.group, b.off, b.state == hole, b.state != unplaced
}

// ReadAt fills p with the block's bytes from off on. A read outside of the
// block is ErrRange. Bytes that have left memory are read through Groups, with
// its errors. Bytes that were lost with their pipe are ErrClosed.
func (b *Block) ReadAt(ctx context.Context, p []byte, off int) error {
	if off < 0 || off > b.n || len(p) > b.n-off {
		return fmt.Errorf("block of %d bytes, read %d at %d: %w", b.n, len(p), off, ErrRange)
	}
	if b.copyPlain(p, off) {
		return nil
	}
	b.mu.RLock()
	state, group, at := b.state, b.group, b.off
	b.mu.RUnlock()
	switch state {
	case hole:
		clear(p)
		return nil
	case placed:
		return b.groups.ReadAt(ctx, group, p, at+uint32(off))
	default:
		return fmt.Errorf("block that was not stored: %w", ErrClosed)
	}
}

// copyPlain copies from the plaintext if it is still in memory.
func (b *Block) copyPlain(p []byte, off int) bool {
	if !b.mem.enter() {
		return false
	}
	defer b.mem.leave()
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.plain == nil {
		return false
	}
	copy(p, b.plain[off:])
	return true
}

// place gives the block its place in group g. Its bytes are moved to plain, a
// part of the same buffer; nil drops them.
func (b *Block) place(g chunkfmt.Seq, off uint32, plain []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if plain != nil && &plain[0] != &b.plain[0] {
		copy(plain, b.plain)
	}
	b.plain, b.state, b.group, b.off = plain, placed, g, off
}

// placeHole drops the bytes of an all-zero block.
func (b *Block) placeHole() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plain, b.state = nil, hole
}

// drop forgets the plaintext: the block is read through Groups from now on.
func (b *Block) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plain = nil
}
