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

// spareHeap has the collector come sooner: for a process that works beside others of the user's, often and for long, and
// whose heap is small.
func spareHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
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
