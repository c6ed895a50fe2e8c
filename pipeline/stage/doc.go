// Package stage is the way of the data: the stages of the pipe that take what
// is written to the tree and bring it, in order, sealed, to a medium, and the
// reader that finds every byte again, wherever on that way it is.
//
//	collect ▶ fingerprint×p ▶ pack ▶ compress×p ▶ seal×p ▶ store
//
// It is not for: what a file tree is (package tree), how buffers move (package
// pipeline), what bytes on a medium look like (package chunkfmt).
//
// Start reading at Writer, which puts one writing session together; then
// Collector, which takes the bytes in; Block and Run, which say where they are
// now; and Groups, which reads them back.
//
// # Where a byte is
//
// A byte that was written lies in a collect buffer (the open part of a Run),
// then in a Block whose plaintext is still in the pipe, then in a sealed group
// that Flight holds, then in a chunk on the medium. Each change from one form
// to the next is made under the lock of what changes, the new form being there
// before the old one goes. A reader that finds one form gone finds the next.
//
// # Locks
//
// In this order, each may be held when one to its right is taken:
//
//	Collector.gate ▶ Stream.mu ▶ Collector.mu ▶ Run.mu ▶ entry.mu ▶ Block.mu
//
// None is held while waiting for a buffer, for the medium, or for another
// stage. Flight.mu and the locks of Groups guard a map for an instant and are
// never held when another is taken.
package stage
