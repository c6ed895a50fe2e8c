package chunkfmt

import (
	"encoding/binary"
	"fmt"
	"math"
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

// Attr are the attributes of an inode.
//
//	mode 4 | nlink 4 | uid 4 | gid 4 | rdev 4 | flags 4 | size 8 | blocks 8 |
//	atime 12 | mtime 12 | ctime 12 | btime 12 | parent 8 | next cookie 8
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
	dst = be.AppendUint64(dst, i.Blocks)
	for _, t := range [...]Time{i.Atime, i.Mtime, i.Ctime, i.Btime} {
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
		Size: be.Uint64(b[24:]), Blocks: be.Uint64(b[32:]),
		Atime: parseTime(b[40:]), Mtime: parseTime(b[52:]), Ctime: parseTime(b[64:]), Btime: parseTime(b[76:]),
		Parent: Ino(be.Uint64(b[88:])), NextCookie: be.Uint64(b[96:]),
	}, Target: string(b[AttrSize:])}
	for _, t := range [...]Time{i.Atime, i.Mtime, i.Ctime, i.Btime} {
		if t.Nsec > 999999999 {
			return Inode{}, fmt.Errorf("inode with %d nanoseconds: %w", t.Nsec, ErrDamaged)
		}
	}
	return i, nil
}

// Dirent is the value of RecDirent: ino 8 | type 1 | cookie 8.
type Dirent struct {
	Ino    Ino
	Type   uint8  // DT_ value
	Cookie uint64 // place of the entry in its directory: 63 bits, from 3
}

// DirentSize is the packed length of [Dirent] in bytes.
const DirentSize = 17

// FirstCookie is the lowest cookie of an entry; 1 and 2 are those of "." and "..".
const FirstCookie = 3

// Append appends the packed entry to dst.
func (d *Dirent) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(d.Ino))
	dst = append(dst, d.Type)
	return binary.BigEndian.AppendUint64(dst, d.Cookie)
}

// ParseDirent reads a packed entry, of which it keeps nothing.
func ParseDirent(b []byte) (Dirent, error) {
	if len(b) != DirentSize {
		return Dirent{}, fmt.Errorf("directory entry of %d bytes, want %d: %w", len(b), DirentSize, ErrDamaged)
	}
	d := Dirent{Ino: Ino(binary.BigEndian.Uint64(b)), Type: b[8], Cookie: binary.BigEndian.Uint64(b[9:])}
	if d.Ino == 0 || d.Cookie < FirstCookie || d.Cookie > math.MaxInt64 {
		return Dirent{}, fmt.Errorf("directory entry of inode %d with cookie %d: %w", d.Ino, d.Cookie, ErrDamaged)
	}
	return d, nil
}

// Extent is the value of RecExtent: offset 8 | length 8 | group 8 | offset in group 4.
// As a record it is a delta: it replaces these bytes of the file. A hole that reaches
// math.MaxInt64 or beyond truncates.
type Extent struct {
	Offset      uint64 // in the file, bytes
	Length      uint64 // bytes
	Group       Seq    // 0: a hole
	GroupOffset uint32 // of the extent's first byte in the group's plaintext
}

// ExtentSize is the packed length of [Extent] in bytes.
const ExtentSize = 28

// End returns the offset after the extent's last byte. Parsed extents do not overflow.
func (e *Extent) End() uint64 { return e.Offset + e.Length }

// Append appends the packed extent to dst.
func (e *Extent) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, e.Offset)
	dst = binary.BigEndian.AppendUint64(dst, e.Length)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Group))
	return binary.BigEndian.AppendUint32(dst, e.GroupOffset)
}

// ParseExtent reads a packed extent, of which it keeps nothing.
func ParseExtent(b []byte) (Extent, error) {
	if len(b) != ExtentSize {
		return Extent{}, fmt.Errorf("extent of %d bytes, want %d: %w", len(b), ExtentSize, ErrDamaged)
	}
	be := binary.BigEndian
	e := Extent{Offset: be.Uint64(b), Length: be.Uint64(b[8:]), Group: Seq(be.Uint64(b[16:])), GroupOffset: be.Uint32(b[24:])}
	if e.Offset > math.MaxInt64 || e.Length > math.MaxInt64 ||
		e.Group == 0 && e.GroupOffset != 0 || e.Group != 0 && uint64(e.GroupOffset)+e.Length > MaxRaw {
		return Extent{}, fmt.Errorf("extent at %d of %d bytes in %v at %d: %w", e.Offset, e.Length, e.Group, e.GroupOffset, ErrDamaged)
	}
	return e, nil
}

// BlockRecord names one block of a group: fingerprint 16 | length 4.
type BlockRecord struct {
	Fingerprint Fingerprint
	Length      uint32 // bytes
}

// BlockRecordSize is the packed length of [BlockRecord] in bytes.
const BlockRecordSize = 20

// GroupRecord is the value of RecGroup: raw length 4, then the blocks in order. The
// sequence number is the key.
type GroupRecord struct {
	Seq    Seq
	RawLen uint32 // bytes of plaintext, the sum of the blocks' lengths
	Blocks []BlockRecord
}

// Append appends the packed group to dst.
func (g *GroupRecord) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, g.RawLen)
	for i := range g.Blocks {
		dst = append(dst, g.Blocks[i].Fingerprint[:]...)
		dst = binary.BigEndian.AppendUint32(dst, g.Blocks[i].Length)
	}
	return dst
}

// ParseGroup reads the packed group of that key, of which it keeps nothing.
func ParseGroup(seq Seq, b []byte) (GroupRecord, error) {
	n := (len(b) - 4) / BlockRecordSize
	if len(b) < 4+BlockRecordSize || 4+n*BlockRecordSize != len(b) || n > math.MaxUint16 {
		return GroupRecord{}, fmt.Errorf("group %v of %d bytes: %w", seq, len(b), ErrDamaged)
	}
	g := GroupRecord{Seq: seq, RawLen: binary.BigEndian.Uint32(b), Blocks: make([]BlockRecord, n)}
	var sum uint64
	for i := range g.Blocks {
		p := b[4+i*BlockRecordSize:]
		g.Blocks[i] = BlockRecord{Fingerprint: Fingerprint(p), Length: binary.BigEndian.Uint32(p[16:])}
		sum += uint64(g.Blocks[i].Length)
	}
	if sum != uint64(g.RawLen) || g.RawLen > MaxRaw {
		return GroupRecord{}, fmt.Errorf("group %v of %d bytes with blocks of %d: %w", seq, g.RawLen, sum, ErrDamaged)
	}
	return g, nil
}

// ArchiveRecord is the value of RecArchive, and the payload of an archive footer after its
// number: time 8 | files 8 | bytes 8 | stored 8 | last 8 | label. The number is the key.
type ArchiveRecord struct {
	Number uint32
	Time   int64  // when it was sealed, nanoseconds since 1970
	Label  string // at most MaxLabel bytes
	Files  uint64 // inodes
	Bytes  uint64 // sum of the files' sizes
	Stored uint64 // bytes that the archive added to the media
	Last   Seq    // last sequence number that belongs to it
}

// MaxLabel is the longest label of an archive, and the longest of any text in session
// and archive payloads, in bytes.
const MaxLabel = 1024

const archiveFixed = 40

// Append appends the packed archive, without its number, to dst. A label over MaxLabel
// is cut.
func (a *ArchiveRecord) Append(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(a.Time))
	for _, v := range [...]uint64{a.Files, a.Bytes, a.Stored, uint64(a.Last)} {
		dst = be.AppendUint64(dst, v)
	}
	return append(dst, a.Label[:min(len(a.Label), MaxLabel)]...)
}

// ParseArchive reads the packed archive of that number, of which it keeps nothing.
func ParseArchive(number uint32, b []byte) (ArchiveRecord, error) {
	if len(b) < archiveFixed || len(b) > archiveFixed+MaxLabel {
		return ArchiveRecord{}, fmt.Errorf("archive %d of %d bytes: %w", number, len(b), ErrDamaged)
	}
	be := binary.BigEndian
	return ArchiveRecord{
		Number: number, Time: int64(be.Uint64(b)), Label: string(b[archiveFixed:]),
		Files: be.Uint64(b[8:]), Bytes: be.Uint64(b[16:]), Stored: be.Uint64(b[24:]), Last: Seq(be.Uint64(b[32:])),
	}, nil
}
