// Package fusefs is the FUSE face of the live tree: it mounts a directory and turns each request of the
// kernel into one call of fusefs/tree. It holds no state of files but which are open and how they are cached.
//
// It knows nothing of blocks, cuts or the pipe, checks no permissions (the kernel does, for
// default_permissions is set) and keeps no locks (flock and fcntl locks stay in the kernel, which sees every
// opener, for there is one mount). Node ids are inode numbers, so FORGET needs no
// bookkeeping but of inodes that were removed: the tree keeps what they were.
//
// The bytes of a request belong to fusefs/device and are reused when the handler returns. One reader answers
// quick requests one after the other; a handler that asks its context for Done is going to wait, and another reader
// goes on. What may wait is WRITE (for buffers), READ (for the medium), FSYNC (for an acknowledgement) and
// the last CLOSE. A write that has begun is not called off by a signal: applications take a short write
// for a full disk, and the Go runtime signals its own threads all the time.
//
// Start reading at Mount in mount.go; node.go, dir.go, file.go and xattr.go are the requests, cache.go is
// why a reader never keeps seeing what a writer has replaced.
package fusefs
