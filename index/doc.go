// Package index is the queryable view of a volume's log: today's tree, every
// sealed archive of it, and what the groups of the log contain.
//
// It is a bbolt file that lives with the writer. The log is the truth and the
// index a view: it holds nothing that cannot be had again by applying the log's
// batches from the first to the last, and a damaged one is thrown away
// (ErrRebuild) and not repaired. It reads and writes no media, knows no keys and
// starts no goroutines.
//
// The present and the past are apart, so that today's tree costs nothing for its
// history. A bucket holds the current version of each key with the archive that
// it dates from; when a version from an earlier archive is superseded, it goes to
// the bucket's history with the interval of archives that it was true for. A
// change within one archive overwrites.
//
// Start reading at Index and its Apply (apply.go), then Reader, which answers the
// same questions of the present and of any archive. Values are described in
// value.go, the way of extents in extents.go, the check of the file in check.go.
package index
