package tree

import (
	"time"

	"coffer/chunkfmt"
)

// Ino is an inode number; RootIno is the root's, 0 is none.
type Ino = chunkfmt.Ino

// RootIno is the inode number of the root directory.
const RootIno Ino = 1

// Attr are the attributes of an inode.
type Attr = chunkfmt.Attr

// Time is a time stamp of an inode.
type Time = chunkfmt.Time

// MakeTime converts t.
func MakeTime(t time.Time) Time {
	return Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

// NameMax is the length in bytes of the longest name of an entry.
const NameMax = 255

// XattrMax is the length in bytes of the longest value of an extended attribute.
const XattrMax = 64 << 10

// TargetMax is the length in bytes of the longest target of a symbolic link.
const TargetMax = 4095

// WriteMax is the most that goes to the collector in one step, in bytes.
// Handle.Write takes any length and divides it.
const WriteMax = 1 << 20

// Caller says on whose behalf something is created.
type Caller struct {
	Uid, Gid, Pid uint32
	// Umask is applied to the mode of what is created, unless the directory
	// has a default ACL. Give 0 if it was applied already.
	Umask uint32
}

// Entry is an inode and its attributes.
type Entry struct {
	Ino  Ino
	Attr Attr
}

// Dirent is an entry of a directory as ReadDir gives it.
type Dirent struct {
	Ino    Ino
	Type   uint8  // DT_*
	Cookie uint64 // give it to ReadDir to go on after this entry
}

// Valid says which fields of a SetAttr are to be set.
type Valid uint32

// Bits of Valid.
const (
	SetMode Valid = 1 << iota
	SetUid
	SetGid
	SetSize
	SetAtime
	SetMtime
	SetCtime
	SetAtimeNow // Atime from the tree's clock
	SetMtimeNow // Mtime from the tree's clock
	// KillSuidgid clears set-user-id, set-group-id of group executables, and
	// file capabilities, with or without a change of size. A change of owner
	// always clears them.
	KillSuidgid
)

// SetAttr is a change of attributes.
type SetAttr struct {
	Valid               Valid
	Mode                uint32 // permission and set-id bits; the type is not changed
	Uid, Gid            uint32
	Size                uint64
	Atime, Mtime, Ctime Time
}

// Space says how much room the medium has, in bytes.
type Space struct {
	Free, Total uint64
}

// Stat is what Statfs tells.
type Stat struct {
	Space
	Inodes uint64 // inodes of the live tree
	Bytes  uint64 // bytes in its regular files
}

// Status is the state of a tree for people to look at.
type Status struct {
	Epoch      uint64        // number of the open epoch
	Dirty      int64         // bytes of memory in changes not yet in the index
	DirtyLimit int64         // writers wait beyond this
	Cuts       uint64        // cuts taken
	Unacked    int           // cuts not yet acknowledged
	Unapplied  int           // cuts acknowledged, not yet in the index
	Inodes     int           // inodes in memory
	Handles    int64         // open handles
	Scattered  int           // windows of files known to be in pieces, to be written again
	LastStable time.Time     // when the last cut became stable; zero: none yet
	DirtyFor   time.Duration // age of the oldest change that no cut holds yet
	Failed     string        // why changes are refused; empty: they are not
}
