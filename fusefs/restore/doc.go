// Package restore writes what an archive holds into a directory, without a mount: every
// kind of file with all its attributes, many at a time.
//
// A run may be killed at any instant and run again. A file gets its name when it is
// complete, so what has a name need not be written again; a directory that is not
// complete has a mode that nobody gives one (unfinished). Nothing that was there before
// is replaced unless that is asked for. What can't be restored is told and left out,
// and the rest goes on.
//
// Files are taken in the order in which their bytes lie in the log, some thousands at a
// time, so that each group is read about once; memory does not grow with the tree.
// Links to files that have a name already are made, and the attributes of directories
// set, in a second walk.
//
// It knows no medium, no key and no terminal. Start reading at Run in run.go; plan.go is
// the walk, batch.go the order, regular.go and special.go make files, draft.go gives
// them their names, finish.go is the second walk.
package restore
