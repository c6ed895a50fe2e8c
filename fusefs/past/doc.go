// Package past shows a volume as it was: the tree of any archive, read-only, out of
// the index and the groups of the log, without a live tree. It is what a mount shows
// below .snapshots, and what commands read that need no mount.
//
// It knows no FUSE, no medium and no key, and keeps nothing in memory but where the
// last read of an open file ended: looking at an archive costs the same whatever the
// size of the volume and the number of archives. Errors that POSIX names are (or
// wrap) a unix.Errno.
//
// Start reading at State, one archive by inode numbers; then Snapshots, the directory
// of all archives with a number of its own for each file of each archive; name.go
// says what archives are called.
package past
