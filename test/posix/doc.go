// Package posix holds a suite of what POSIX and Linux promise of a file system, system call by system
// call, as root and as ordinary users. It knows nothing of Coffer: the same assertions run on ext4 and
// tmpfs, which are the control, and on a mount.
//
// Set COFFER_POSIX_DIR to run it on a directory of any other file system. What a file system may do
// either way is written as a set of allowed answers; where Linux leaves no choice there is one.
//
// Start at world_test.go, which has where the suite runs and what a case is given, then caller_test.go,
// which has on whose behalf calls are made; paths_test.go has the errors that all calls with a path share,
// and each other file one family of calls.
package posix
