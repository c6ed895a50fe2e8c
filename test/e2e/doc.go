// Package e2e uses coffer as a user does: real mounts, real programs that copy into them, and a look at
// what is there afterwards. What happens when a process or a machine dies is for test/crash.
//
// It has no code of its own but what several tests share; each file of tests is one promise to a user.
// Start at tree_test.go.
package e2e
