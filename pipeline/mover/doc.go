// Package mover puts a source mover together: the program half that owns the
// writing end of a pipe. Given a medium, the master key and the name of a
// volume it reads the log, proves that the log goes on from what this machine
// last acknowledged, brings the index up to date, opens a session and starts
// the pipe; what it hands out is what a head needs to write and to read.
//
// It knows no file tree and no FUSE: fusefs/tree sits on the collector, the
// groups and the index that a Source gives it.
//
// Start reading at OpenSource in source.go; log.go finds sessions, begun.go
// those whose header is damaged, replay.go reads batches, recover.go finds where a torn log ends, head.go remembers
// the last acknowledged head.
package mover
