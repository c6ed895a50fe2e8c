// Package crowd has several processes work on one file system at the same time. Each has a subtree of its own, in
// which it does random operations on names, files and what hangs on them, and compares every outcome with a model in
// its memory; beside that all of them meet in shared files, with operations whose outcome does not depend on who was
// first. Between rounds the file system is mounted again or killed, and must hold what the models say.
//
// A process is the test binary itself. Start at run in crowd_test.go, which tells the processes what to do, then
// worker.go, which is one of them; model.go says what must come of an operation.
package crowd
