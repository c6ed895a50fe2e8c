// Package walk is the head behind `coffer put`: it walks directories of this machine and brings a
// volume's live tree in line with them, in process, past the kernel and past FUSE.
//
// What it carries over is what `cp -a` does: content, kind, mode, owner, modification and access times to
// the nanosecond, symbolic and hard links, extended attributes with the ACLs among them, device nodes, FIFOs,
// sockets and holes. What it read is remembered in each archived file (see Signature), so that the next
// run reads only what changed. A source that can't be read is reported and the rest goes on; an error of the
// tree, such as a full medium, ends the run.
//
// It is not a head of the pipe by itself: bytes go through the tree, as those of a mount do, and the
// same cuts make them stable. It takes no cut; the caller does that when Put has returned.
//
// Memory is bounded by Options.Parallel, the depth of the tree, and the hard links of which not all names
// have been met; directories are streamed, not listed.
//
// Start reading at Put in put.go; walker.go is the walk, entry.go what is done with one name.
package walk
