// Package spool is a medium in front of another one: what is written to a volume goes to a medium near by at once, and
// from there to the one far away when there is time. Near is the first, with a limit at which writers wait; Tiers are
// both as one volume, as whoever reads it sees them.
//
// It moves nothing: pipeline/forward does, and tells Near what it need not keep any longer.
//
// Chunks of the two are told apart by their numbers: those near by are counted from FirstNumber on, where no server ever
// comes. The tags are the same, in other chunks, and for a while in both.
//
// Start reading at Near.
package spool

import "coffer/chunkfmt"

// FirstNumber is what the numbers of chunks near by begin behind, in each session.
const FirstNumber = 1 << 30

// IsNear says whether a chunk is one near by.
func IsNear(id chunkfmt.ChunkID) bool { return id.Number() > FirstNumber }
