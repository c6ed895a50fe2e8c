package stage

import (
	"context"
	"fmt"
	"sort"
	"sync"
)

// Run is a contiguous stretch of one file as the Collector took it in. It
// grows at its end and is cut into blocks as it goes. Offsets in a run count
// from its first byte. Methods are safe for concurrent use.
type Run struct {
	mem *memory

	// mu guards what follows. Block.mu may be taken after it.
	mu     sync.RWMutex
	blocks []runBlock // without gaps from offset 0 to openAt
	openAt int64
	open   []byte // the unfinished rest, in the stream's buffer
}

type runBlock struct {
	off int64
	b   *Block
}

// Len is the number of bytes in the run.
func (r *Run) Len() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.openAt + int64(len(r.open))
}

// ReadAt fills p with the bytes of the run from off on. A read beyond its end
// is ErrRange; else errors are those of Block.ReadAt.
func (r *Run) ReadAt(ctx context.Context, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := r.readSome(ctx, p, off)
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func (r *Run) readSome(ctx context.Context, p []byte, off int64) (int, error) {
	r.mu.RLock()
	if off >= r.openAt {
		n, err := r.readOpen(p, off-r.openAt)
		r.mu.RUnlock()
		return n, err
	}
	i := r.find(off)
	if i < 0 {
		r.mu.RUnlock()
		return 0, fmt.Errorf("run, read at %d: %w", off, ErrRange)
	}
	rb := r.blocks[i]
	r.mu.RUnlock()
	at := int(off - rb.off)
	n := min(len(p), rb.b.Len()-at)
	return n, rb.b.ReadAt(ctx, p[:n], at)
}

// readOpen copies from the unfinished rest; r.mu is held.
func (r *Run) readOpen(p []byte, at int64) (int, error) {
	if at >= int64(len(r.open)) {
		return 0, fmt.Errorf("run, read %d at %d beyond its end: %w", len(p), at, ErrRange)
	}
	if !r.mem.enter() {
		return 0, fmt.Errorf("bytes that were not stored: %w", ErrClosed)
	}
	defer r.mem.leave()
	return copy(p, r.open[at:]), nil
}

// find gives the index of the block that off lies in, for 0 ≤ off < openAt.
func (r *Run) find(off int64) int {
	return sort.Search(len(r.blocks), func(i int) bool { return r.blocks[i].off > off }) - 1
}

// Blocks calls f, in order, for each block that bytes [off, off+n) of the run
// touch; runOff is where the block begins in the run. Meant for batch time:
// after a cut all bytes of before it that were not told as Tail are in blocks.
// Bytes that are not in a block yet are left out.
func (r *Run) Blocks(off, n int64, f func(runOff int64, b *Block)) {
	r.mu.RLock()
	var touched []runBlock
	if off >= 0 && off < r.openAt {
		i := r.find(off)
		j := i
		for j < len(r.blocks) && r.blocks[j].off < off+n {
			j++
		}
		touched = r.blocks[i:j] // blocks are only ever appended
	}
	r.mu.RUnlock()
	for _, rb := range touched {
		f(rb.off, rb.b)
	}
}

// end makes blocks of the first open bytes; open is what remains of them,
// perhaps moved to another buffer.
func (r *Run) end(blocks []*Block, open []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range blocks {
		r.blocks = append(r.blocks, runBlock{r.openAt, b})
		r.openAt += int64(b.n)
	}
	r.open = open
}

// grow shows readers the open bytes, which now are open.
func (r *Run) grow(open []byte) {
	r.mu.Lock()
	r.open = open
	r.mu.Unlock()
}

// overlay replaces open bytes from at on.
func (r *Run) overlay(p []byte, at int) {
	r.mu.Lock()
	copy(r.open[at:], p)
	r.mu.Unlock()
}
