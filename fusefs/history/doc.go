// Package history tells how a volume came to be what it is: what lies between two of
// its states (Diff), and what a path was at each archive (Of). It finds what was
// renamed by inode numbers, which are never used twice, and counts the bytes that
// differ from where they lie in the log, without reading any.
//
// It writes nothing and reads no content. Memory does not grow with the trees.
package history
