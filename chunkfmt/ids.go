package chunkfmt

import (
	"cmp"
	"encoding/hex"
	"fmt"
)

// StoreID names a store. It is random, made once by init, and visible.
type StoreID [16]byte

// VolumeID names a volume. It is derived from the volume's keys and so tells nothing
// about the volume's name; it is visible.
type VolumeID [16]byte

// ParseVolumeID reads what String returned.
func ParseVolumeID(text string) (id VolumeID, err error) {
	b, err := hex.DecodeString(text)
	if err == nil && len(b) != len(id) {
		err = fmt.Errorf("%d bytes", len(b))
	}
	if err != nil {
		return id, fmt.Errorf("volume %.40q: %w: %w", text, ErrDamaged, err)
	}
	return VolumeID(b), nil
}

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

// ChunkID names a chunk within its volume: generation in the upper 8 bits, session
// ordinal in the next 24, number within the session (from 1) in the lower 31, and between
// them one bit that is set for a mirror chunk, which holds copies of metadata only.
// A chunk is written as generation 0; when it is cleaned, what is left of it becomes
// one of the next generation, with everything else the same.
type ChunkID uint64

const (
	mirrorBit       = 1 << 31
	generationShift = 56
)

// MaxGeneration is the last generation of a chunk.
const MaxGeneration = 1<<8 - 1

// MaxChunkNumber is the largest number of a chunk within its session.
const MaxChunkNumber = mirrorBit - 1

// MakeChunkID joins the parts, of generation 0. It returns 0, which is no chunk, when one
// is out of range.
func MakeChunkID(ordinal, n uint32, mirror bool) ChunkID {
	if n > MaxChunkNumber || ordinal > MaxOrdinal {
		return 0
	}
	if mirror {
		n |= mirrorBit
	}
	return ChunkID(ordinal)<<32 | ChunkID(n)
}

// Ordinal returns the ordinal of the session that wrote the chunk.
func (id ChunkID) Ordinal() uint32 { return uint32(id>>32) & MaxOrdinal }

// Number returns the number of the chunk within its session, without the mirror bit.
func (id ChunkID) Number() uint32 { return uint32(id) &^ mirrorBit }

// Mirror reports whether the chunk holds only copies of metadata.
func (id ChunkID) Mirror() bool { return id&mirrorBit != 0 }

// Generation returns how often the chunk was cleaned.
func (id ChunkID) Generation() int { return int(id >> generationShift) }

// Of returns the same chunk as it is in another generation, 0 to MaxGeneration.
func (id ChunkID) Of(generation int) ChunkID {
	return id&(1<<generationShift-1) | ChunkID(generation)<<generationShift
}

// Compare orders chunks by session, the mirrors of each last, then by number, and the
// generations of one chunk from the oldest on.
func (id ChunkID) Compare(other ChunkID) int {
	return cmp.Or(cmp.Compare(id.Of(0), other.Of(0)), cmp.Compare(id, other))
}

// String returns "c3/17" for chunk 17 of session 3, "c3/17m" for a mirror chunk, and
// "c3/17+2" for one that was cleaned twice.
func (id ChunkID) String() string {
	s := fmt.Sprintf("c%d/%d", id.Ordinal(), id.Number())
	if id.Mirror() {
		s += "m"
	}
	if g := id.Generation(); g > 0 {
		s += fmt.Sprintf("+%d", g)
	}
	return s
}

// Location says where the stored bytes of a tag are.
type Location struct {
	Chunk  ChunkID
	Offset uint64 // of the tag, in bytes from the start of the chunk's header
	Length uint32 // of options and sealed bytes after the tag
}
