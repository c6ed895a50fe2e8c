package chunkfmt

import (
	"encoding/hex"
	"fmt"
)

// StoreID names a store. It is random, made once by init, and visible.
type StoreID [16]byte

// VolumeID names a volume. It is derived from the volume's keys and so tells nothing
// about the volume's name; it is visible.
type VolumeID [16]byte

// SessionID is the 32 random bytes that a session's keys are derived from. It is
// visible: every chunk header repeats it.
type SessionID [32]byte

// Hash is a whole BLAKE3 hash: a link of the chain, or a footer's directory.
type Hash [32]byte

// Fingerprint identifies the plaintext of a block within its volume: keyed BLAKE3,
// first 128 bits.
type Fingerprint [16]byte

// String returns lower-case hexadecimal.
func (id StoreID) String() string { return hex.EncodeToString(id[:]) }

// String returns lower-case hexadecimal.
func (id VolumeID) String() string { return hex.EncodeToString(id[:]) }

// String returns lower-case hexadecimal.
func (id SessionID) String() string { return hex.EncodeToString(id[:]) }

// String returns lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// String returns lower-case hexadecimal.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// Ino is an inode number. 1 is the root, 0 is none; a number is never used again.
type Ino uint64

// RootIno is the inode number of a volume's root directory.
const RootIno Ino = 1

// Seq is a sequence number: session ordinal (24 bits, from 1) in front of the number
// within the session (40 bits, from 1). Zero is none. Within a volume sequence numbers
// only grow and none is used twice.
type Seq uint64

// Limits of the two halves of a [Seq].
const (
	MaxOrdinal = 1<<24 - 1
	MaxNumber  = 1<<40 - 1
)

// MakeSeq joins the halves. It returns 0, which is no sequence number, when either is
// out of range.
func MakeSeq(ordinal uint32, n uint64) Seq {
	if ordinal > MaxOrdinal || n > MaxNumber {
		return 0
	}
	return Seq(ordinal)<<40 | Seq(n)
}

// Ordinal returns the ordinal of the session that stamped s.
func (s Seq) Ordinal() uint32 { return uint32(s >> 40) }

// Number returns the number of s within its session.
func (s Seq) Number() uint64 { return uint64(s) & MaxNumber }

// String returns "s3/17" for number 17 of session 3.
func (s Seq) String() string { return fmt.Sprintf("s%d/%d", s.Ordinal(), s.Number()) }

// ChunkID names a chunk within its volume: session ordinal in the upper 32 bits, number
// within the session (from 1) in the lower 31, and between them one bit that is set for
// a mirror chunk, which holds copies of metadata only.
type ChunkID uint64

const mirrorBit = 1 << 31

// MaxChunkNumber is the largest number of a chunk within its session.
const MaxChunkNumber = mirrorBit - 1

// MakeChunkID joins the parts. It returns 0, which is no chunk, when n is out of range.
func MakeChunkID(ordinal, n uint32, mirror bool) ChunkID {
	if n > MaxChunkNumber {
		return 0
	}
	if mirror {
		n |= mirrorBit
	}
	return ChunkID(ordinal)<<32 | ChunkID(n)
}

// Ordinal returns the ordinal of the session that wrote the chunk.
func (id ChunkID) Ordinal() uint32 { return uint32(id >> 32) }

// Number returns the number of the chunk within its session, without the mirror bit.
func (id ChunkID) Number() uint32 { return uint32(id) &^ mirrorBit }

// Mirror reports whether the chunk holds only copies of metadata.
func (id ChunkID) Mirror() bool { return id&mirrorBit != 0 }

// String returns "c3/17" for chunk 17 of session 3, and "c3/17m" for a mirror chunk.
func (id ChunkID) String() string {
	m := ""
	if id.Mirror() {
		m = "m"
	}
	return fmt.Sprintf("c%d/%d%s", id.Ordinal(), id.Number(), m)
}

// Location says where the stored bytes of a tag are.
type Location struct {
	Chunk  ChunkID
	Offset uint64 // of the tag, in bytes from the start of the chunk's header
	Length uint32 // of options and sealed bytes after the tag
}
