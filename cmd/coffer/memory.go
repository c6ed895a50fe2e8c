package main

import (
	"os"
	"runtime/debug"
)

const (
	// dedupBytes is the limit of the table of known blocks. Beyond it, about 1.5 TiB of blocks, it keeps a
	// sample.
	dedupBytes = 64 << 20
	// heapBytes is what all else on the heap gets along with: changes that are not stable yet, inodes,
	// requests, encoders.
	heapBytes = 72 << 20
)

// limitHeap has the collector work harder before the heap gets larger than it has to be. The pipe's
// segment and the cache of groups are not on the heap and have limits of their own, so this bounds the process.
// Who sets GOMEMLIMIT knows better.
func limitHeap() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(dedupBytes + heapBytes)
	}
}
