package chunkfmt

import (
	"encoding/binary"
	"fmt"
)

// Time is a point in time: seconds since 1970, nanoseconds from 0 to 999999999.
type Time struct {
	Sec  int64
	Nsec uint32
}

const timeSize = 12

func (t Time) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.Sec))
	return binary.BigEndian.AppendUint32(dst, t.Nsec)
}

func parseTime(b []byte) Time {
	return Time{Sec: int64(binary.BigEndian.Uint64(b)), Nsec: binary.BigEndian.Uint32(b[8:])}
}

const second = 1_000_000_000

// since is t counted from u, with 0 ≤ Nsec < a second; the seconds wrap.
func (t Time) since(u Time) Time {
	d := Time{Sec: t.Sec - u.Sec, Nsec: t.Nsec - u.Nsec}
	if t.Nsec < u.Nsec {
		d.Sec--
		d.Nsec += second
	}
	return d
}

// after is the time that is t after u: the reverse of since.
func (t Time) after(u Time) Time {
	s := Time{Sec: t.Sec + u.Sec, Nsec: t.Nsec + u.Nsec}
	if s.Nsec >= second {
		s.Sec++
		s.Nsec -= second
	}
	return s
}

// Attr are the attributes of an inode.
//
//	mode 4 | nlink 4 | uid 4 | gid 4 | rdev 4 | flags 4 | size 8 | blocks 8 |
//	atime 12 | mtime 12 | ctime 12 | btime 12 | parent 8 | next cookie 8
//
// Blocks are counted from those of a file without holes, atime from mtime, and ctime
// from btime: what is left is mostly zeros, and a batch of inodes compresses to less.
type Attr struct {
	Mode       uint32 // S_IFMT and permissions
	Nlink      uint32
	Uid, Gid   uint32
	Rdev       uint32
	Flags      uint32
	Size       uint64 // bytes
	Blocks     uint64 // of 512 bytes
	Atime      Time
	Mtime      Time
	Ctime      Time
	Btime      Time
	Parent     Ino    // directories only
	NextCookie uint64 // directories only: the cookie of the next new entry
}

// AttrSize is the packed length of [Attr] in bytes.
const AttrSize = 6*4 + 2*8 + 4*timeSize + 2*8

// Inode is the value of RecInode: [Attr], then the target of a symbolic link.
type Inode struct {
	Attr
	Target string
}

// MaxTarget is the longest target of a symbolic link, in bytes.
const MaxTarget = 4095

// Append appends the packed inode to dst.
func (i *Inode) Append(dst []byte) []byte {
	be := binary.BigEndian
	for _, v := range [...]uint32{i.Mode, i.Nlink, i.Uid, i.Gid, i.Rdev, i.Flags} {
		dst = be.AppendUint32(dst, v)
	}
	dst = be.AppendUint64(dst, i.Size)
	dst = be.AppendUint64(dst, i.Blocks-blocksOf(i.Size))
	for _, t := range [...]Time{i.Atime.since(i.Mtime), i.Mtime, i.Ctime.since(i.Btime), i.Btime} {
		dst = t.append(dst)
	}
	dst = be.AppendUint64(dst, uint64(i.Parent))
	dst = be.AppendUint64(dst, i.NextCookie)
	return append(dst, i.Target...)
}

// ParseInode reads a packed inode, of which it keeps nothing.
func ParseInode(b []byte) (Inode, error) {
	if len(b) < AttrSize || len(b) > AttrSize+MaxTarget {
		return Inode{}, fmt.Errorf("inode of %d bytes, want %d to %d: %w", len(b), AttrSize, AttrSize+MaxTarget, ErrDamaged)
	}
	be := binary.BigEndian
	i := Inode{Attr: Attr{
		Mode: be.Uint32(b), Nlink: be.Uint32(b[4:]), Uid: be.Uint32(b[8:]), Gid: be.Uint32(b[12:]),
		Rdev: be.Uint32(b[16:]), Flags: be.Uint32(b[20:]),
		Size: be.Uint64(b[24:]), Mtime: parseTime(b[52:]), Btime: parseTime(b[76:]),
		Parent: Ino(be.Uint64(b[88:])), NextCookie: be.Uint64(b[96:]),
	}, Target: string(b[AttrSize:])}
	i.Blocks = be.Uint64(b[32:]) + blocksOf(i.Size)
	atime, ctime := parseTime(b[40:]), parseTime(b[64:])
	for _, t := range [...]Time{atime, i.Mtime, ctime, i.Btime} {
		if t.Nsec > 999999999 {
			return Inode{}, fmt.Errorf("inode with %d nanoseconds: %w", t.Nsec, ErrDamaged)
		}
	}
	i.Atime, i.Ctime = atime.after(i.Mtime), ctime.after(i.Btime)
	return i, nil
}

// blocksOf is how many blocks of 512 bytes a file without holes takes.
func blocksOf(size uint64) uint64 { return size/512 + (size%512+511)/512 }
