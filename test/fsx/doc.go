// Package fsx does random operations on two files, in every way that Linux has to read and change one, and
// compares each outcome with a model in memory: pread, pwrite, O_APPEND, O_DIRECT, shared mappings, truncate,
// fallocate in its modes, copy_file_range, SEEK_DATA and SEEK_HOLE, with files closed and opened anew, caches
// dropped, the file system mounted again and its server killed between.
//
// It knows paths and system calls only, so it runs on any file system: on those of the kernel to see that the
// model is right, and on a mount. One process does one operation at a time; what many do at once is for
// test/crowd.
//
// Start at Tester in tester.go, then op.go for what an operation can be and model.go for what must come of it.
package fsx
