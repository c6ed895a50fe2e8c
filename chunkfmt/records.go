package chunkfmt

import (
	"encoding/binary"
	"fmt"
	"math"
)

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

// Healed is the value of RecHealed: length 4 | group 8 | offset in group 4. It says that a
// block of a damaged group is to be read from another group, which holds the same block.
// The damaged group and the block's offset in it are the key.
type Healed struct {
	Offset      uint32 // of the block in the damaged group's plaintext
	Length      uint32 // of the block, bytes
	Group       Seq    // that holds it too
	GroupOffset uint32 // of the block in that group's plaintext
}

// HealedSize is the packed length of [Healed] in bytes.
const HealedSize = 16

// Append appends the packed value to dst, without Offset.
func (h *Healed) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, h.Length)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Group))
	return binary.BigEndian.AppendUint32(dst, h.GroupOffset)
}

// ParseHealed reads the packed value of the block at that offset, of which it keeps nothing.
func ParseHealed(offset uint32, b []byte) (Healed, error) {
	if len(b) != HealedSize {
		return Healed{}, fmt.Errorf("healed block of %d bytes, want %d: %w", len(b), HealedSize, ErrDamaged)
	}
	be := binary.BigEndian
	h := Healed{Offset: offset, Length: be.Uint32(b), Group: Seq(be.Uint64(b[4:])), GroupOffset: be.Uint32(b[12:])}
	if h.Group == 0 || uint64(h.Offset)+uint64(h.Length) > MaxRaw || uint64(h.GroupOffset)+uint64(h.Length) > MaxRaw {
		return Healed{}, fmt.Errorf("healed block at %d of %d bytes, in %v at %d: %w", h.Offset, h.Length, h.Group, h.GroupOffset, ErrDamaged)
	}
	return h, nil
}

// Removed is the value of RecRemoved, last sequence number 8; the first is the key. All groups
// with numbers in the range are removed: nothing refers to them any more, and the media need
// not keep them. What else has a number there is not concerned. It is also the value of
// RecMoved: the media need not keep the groups, and all blocks of them that something refers
// to are in other groups, as RecHealed says.
type Removed struct{ First, Last Seq }

// Append appends the packed range, without its first number, to dst.
func (r *Removed) Append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(r.Last))
}

// ParseRemoved reads the packed range that begins with first.
func ParseRemoved(first Seq, b []byte) (Removed, error) {
	last, err := parseNumber(b)
	r := Removed{First: first, Last: Seq(last)}
	if err == nil && (first == 0 || r.Last < first || r.Last.Ordinal() != first.Ordinal()) {
		err = fmt.Errorf("removed groups %v to %v: %w", first, r.Last, ErrDamaged)
	}
	return r, err
}
