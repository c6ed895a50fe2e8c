// Package dump writes what an archive holds as a tar: the interchange format of POSIX
// (pax), with nanoseconds, extended attributes and ACLs as star and GNU tar write them,
// hard links, devices, and holes as GNU tar does (format 1.0).
//
// What is damaged can't be taken back once its header is written. So a file is written
// only after all of it has been read and found sound: small ones are kept in memory
// meanwhile, large ones are read twice.
//
// It knows no medium and no key. Start reading at Write in dump.go; prepare.go is what is
// done ahead for many files at a time, header.go the format.
package dump
