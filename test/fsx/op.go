package fsx

import (
	"fmt"
	"math/rand/v2"
)

type kind string

// What an operation can be. Those on a handle open it if it is not.
const (
	opRead     kind = "read"
	opWrite    kind = "write"
	opMapRead  kind = "mapread"
	opMapWrite kind = "mapwrite"
	opMap      kind = "map"   // keeps a mapping, which the two above use then
	opUnmap    kind = "unmap" // with or without msync
	opTruncate kind = "truncate"
	opAlloc    kind = "falloc"
	opKeep     kind = "falloc-keep"
	opPunch    kind = "punch"
	opZero     kind = "zero"
	opZeroKeep kind = "zero-keep"
	opCollapse kind = "collapse"
	opInsert   kind = "insert"
	opCopy     kind = "copy" // to the same file or the other one
	opSeek     kind = "seek"
	opSync     kind = "fsync"
	opClose    kind = "close"
	opCloseAll kind = "closeall"
	opForget   kind = "dontneed" // clean pages
	opDrop     kind = "dropcaches"
	opCheck    kind = "check" // all of the file
	opRemount  kind = "remount"
	opCrash    kind = "crash" // after an fsync
)

// access is a way to have a file open; each file has at most one handle of each.
type access string

const (
	readWrite access = "rw"
	readOnly  access = "ro"
	writeOnly access = "wo"
	appending access = "append"
	direct    access = "direct"
	synced    access = "sync"
)

// op is one operation, with all that is needed to do it again.
type op struct {
	Kind   kind
	File   int
	By     access
	Off, N int
	To     int // copy: the other file
	ToBy   access
	ToOff  int
	Seed   uint64 // of what is written
}

func (o op) String() string {
	s := fmt.Sprintf("%-11s file %d %-6s [%d, %d)", o.Kind, o.File, o.By, o.Off, o.Off+o.N)
	if o.Kind == opCopy {
		s += fmt.Sprintf(" to file %d %s %d", o.To, o.ToBy, o.ToOff)
	}
	if o.Kind == opWrite || o.Kind == opMapWrite {
		s += fmt.Sprintf(" seed %d", o.Seed)
	}
	return s
}

// weights say how often each kind is drawn.
var weights = []struct {
	kind   kind
	weight int
}{
	{opRead, 320}, {opWrite, 400}, {opMapRead, 120}, {opMapWrite, 120}, {opMap, 20}, {opUnmap, 20},
	{opTruncate, 80}, {opAlloc, 30}, {opKeep, 20}, {opPunch, 80}, {opZero, 40}, {opZeroKeep, 30},
	{opCollapse, 20}, {opInsert, 20}, {opCopy, 100}, {opSeek, 100}, {opSync, 8}, {opClose, 120}, {opCloseAll, 40},
	{opForget, 60}, {opCheck, 16}, {opDrop, 2}, {opRemount, 2}, {opCrash, 2},
}

func drawKind(rng *rand.Rand, lacks []kind) kind {
	sum := 0
	for _, w := range weights {
		sum += w.weight
	}
	for {
		at := rng.IntN(sum)
		for _, w := range weights {
			if at -= w.weight; at >= 0 {
				continue
			}
			if has(lacks, w.kind) {
				break
			}
			return w.kind
		}
	}
}

func has(list []kind, k kind) bool {
	for _, l := range list {
		if l == k {
			return true
		}
	}
	return false
}

// draw makes the next operation, one that is possible as things stand.
func (t *Tester) draw() op {
	rng := t.rng
	o := op{Kind: drawKind(rng, t.lacks), Seed: rng.Uint64() % 1000}
	if rng.IntN(4) == 0 {
		o.File = 1
	}
	size := t.files[o.File].size()
	o.Off, o.N = drawRange(rng, size, t.limit)
	switch o.Kind {
	case opRead:
		o.By = pick(rng, readWrite, readWrite, readOnly, readOnly, direct)
	case opWrite:
		o.By = pick(rng, readWrite, readWrite, writeOnly, writeOnly, writeOnly, appending, direct, synced)
		if o.By == synced {
			o.N = min(o.N, 4*block) // each waits for the medium
		}
		if o.By == appending {
			o.Off = size
			o.N = min(o.N, t.limit-size)
		}
	case opMapRead, opMapWrite:
		if size == 0 {
			o.Kind, o.By = opWrite, readWrite
			break
		}
		o.By = readWrite
		o.Off %= size
		o.N = min(o.N, size-o.Off)
	case opTruncate:
		o.By = pick(rng, readWrite, writeOnly, "") // "": by path
		o.N = 0
		if rng.IntN(3) > 0 {
			o.Off = min(o.Off, size+8*block) // a file that is always long has few ends
		}
	case opAlloc, opKeep, opPunch, opZero, opZeroKeep, opSync:
		o.By = pick(rng, readWrite, writeOnly, direct)
	case opCollapse, opInsert:
		o.By = readWrite
		o.Off, o.N = o.Off/block*block, max(o.N/block*block, block)
		if o.Kind == opCollapse && o.Off+o.N >= size || o.Kind == opInsert && (o.Off >= size || size+o.N > t.limit) {
			o.Kind = opSeek
		}
	case opCopy:
		// Not direct: what the kernel does by splicing must be aligned then.
		o.By, o.ToBy = pick(rng, readWrite, readOnly), pick(rng, readWrite, writeOnly)
		o.To = rng.IntN(2)
		o.ToOff, _ = drawRange(rng, t.files[o.To].size(), t.limit)
		o.N = min(o.N, t.limit-o.ToOff)
		if rng.IntN(2) == 0 {
			o.Off, o.ToOff, o.N = o.Off/block*block, o.ToOff/block*block, (o.N+block-1)/block*block
			o.N = min(o.N, t.limit-o.ToOff)
		}
	case opSeek:
		o.By = pick(rng, readWrite, readOnly, writeOnly)
	case opClose:
		o.By = pick(rng, readWrite, readOnly, writeOnly, appending, direct, synced)
	case opForget, opCheck:
		o.By = pick(rng, readWrite, readOnly)
	}
	if o.By == direct && (o.Kind == opRead || o.Kind == opWrite) {
		o.Off, o.N = o.Off/sector*sector, max(o.N/sector*sector, sector)
	}
	return o
}

// sector is what O_DIRECT is to be aligned to.
const sector = 512

func pick(rng *rand.Rand, from ...access) access { return from[rng.IntN(len(from))] }

// drawRange draws a range, often about the end of the file, and often of whole blocks.
func drawRange(rng *rand.Rand, size, limit int) (off, n int) {
	switch rng.IntN(8) {
	case 0, 1, 2, 3, 4:
		n = 1 + rng.IntN(3*block)
	case 5, 6:
		n = 1 + rng.IntN(64<<10)
	default:
		n = 1 + rng.IntN(limit/4)
	}
	switch rng.IntN(6) {
	case 0:
		off = max(0, size-rng.IntN(2*block))
	case 1:
		off = rng.IntN(limit)
	default:
		off = rng.IntN(size + 1)
	}
	if rng.IntN(3) == 0 {
		off, n = off/block*block, (n+block-1)/block*block
	}
	off = min(off, limit-1)
	return off, min(n, limit-off)
}

// fill makes what an operation writes: noise, noise seen before, one byte over and over, or zeros.
func fill(seed uint64, p []byte) {
	switch {
	case seed%10 == 0:
		clear(p)
	case seed%10 == 1:
		for k := range p {
			p[k] = byte(seed) | 1
		}
	default:
		src := rand.NewPCG(seed, uint64(len(p)))
		for k := 0; k < len(p); k += 8 {
			v := src.Uint64()
			for j := k; j < min(k+8, len(p)); j++ {
				p[j] = byte(v)
				v >>= 8
			}
		}
	}
}
