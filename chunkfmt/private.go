package chunkfmt

import "encoding/binary"

// Codec says how the plaintext of a tag is compressed.
type Codec uint8

// The codecs.
const (
	CodecStored  Codec = 0
	CodecS2      Codec = 1 // S2 block format
	CodecZstd    Codec = 2 // one zstd frame
	CodecColumns Codec = 3 // a batch by columns (see AppendColumns), one zstd frame
)

// String returns the codec's name.
func (c Codec) String() string {
	switch c {
	case CodecStored:
		return "stored"
	case CodecS2:
		return "s2"
	case CodecZstd:
		return "zstd"
	case CodecColumns:
		return "columns"
	}
	return "unknown codec"
}

// Marks say what is known of the content of a group. They are sealed.
type Marks uint8

// The content marks.
const (
	MarkDuplicate      Marks = 1 << iota // duplicate blocks were discarded from it
	MarkSnooped                          // it was inspected on its way
	MarkIncompressible                   // its sample said that compressing is no use
	MarkFileGroup                        // small blocks of many files together
)

// PrivateSize is the packed length of [Private] in bytes: one AES block.
const PrivateSize = 16

// Private is what a tag says about its plaintext, encrypted: an observer of the medium
// must not learn how well the data compresses or what it is.
//
//	 0     1     2     3   4       8      10      16
//	+-----+-----+-----+---+-------+------+-------+
//	|codec|level|marks| 0 | rawlen|blocks|   0   |
//	+-----+-----+-----+---+-------+------+-------+
type Private struct {
	Codec  Codec
	Level  int8
	Marks  Marks
	RawLen uint32 // plaintext before compression, at most MaxRaw
	Blocks uint16 // blocks in the group
}

func (p Private) pack() (b [PrivateSize]byte) {
	b[0], b[1], b[2] = byte(p.Codec), byte(p.Level), byte(p.Marks)
	binary.BigEndian.PutUint32(b[4:], p.RawLen)
	binary.BigEndian.PutUint16(b[8:], p.Blocks)
	return b
}

func unpackPrivate(b [PrivateSize]byte) Private {
	return Private{
		Codec:  Codec(b[0]),
		Level:  int8(b[1]),
		Marks:  Marks(b[2]),
		RawLen: binary.BigEndian.Uint32(b[4:]),
		Blocks: binary.BigEndian.Uint16(b[8:]),
	}
}
