package main

import (
	"os"
	"runtime/debug"
)

const (
	// dedupBytes is the limit of the table of known blocks. Beyond it, about 1.5 TiB of blocks, it keeps a
	// sample.
	dedupBytes = 64 << 20
	// heapBytes is what all else on the heap gets along with: 25 MiB of encoders, 45 of clean inodes, changes that are
	// not stable yet, requests, and what is garbage until the collector comes.
	heapBytes = 132 << 20
)

// spendHeap has the collector come seldom, as long as there is room below a limit: for a process that does one thing
// and ends.
func spendHeap() {
	if os.Getenv("GOMEMLIMIT") == "" && os.Getenv("GOGC") == "" {
		debug.SetMemoryLimit(2 * heapBytes)
		debug.SetGCPercent(400)
	}
}

// spareMemory is for a process that works beside others of the user's, often and for long. The collector comes sooner; what
// is not in the index yet is put there sooner, and what is mapped of the index given back; encoders are small; and the pipe
// into a store that is here has a buffer in its head's third for each of the readers and three for what waits for them (that
// towards a server holds what is on its way).
func spareMemory(o *volumeOptions, readers int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(25)
	}
	o.spare, o.dirty = true, 12<<20
	if o.buffers == 0 && !isAddress(o.store) {
		o.buffers = 3 * (readers + 3)
	}
}

// limitHeap has the collector work harder before the heap gets larger than it has to be beside a table of known
// blocks of so many bytes. The table is part of the heap but never garbage: a limit that did not grow with it would
// leave the less room the more blocks there are, until the collector begins again as soon as it has ended. The pipe's
// segment and the cache of groups are not on the heap and have limits of their own, so this bounds the process.
// Who sets GOMEMLIMIT knows better.
func limitHeap(table uint64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapBytes + int64(table))
	}
}
