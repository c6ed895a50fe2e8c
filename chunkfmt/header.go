package chunkfmt

import (
	"encoding/binary"
	"fmt"
)

// Layout says how chunks and their headers and footers follow each other on a medium.
type Layout uint8

// The layouts.
const (
	LayoutFramed  Layout = 1 // header, tags, footer per chunk: disk, object
	LayoutTape    Layout = 2 // one header and one footer around many chunks
	LayoutHeaders Layout = 3 // header and tags per chunk, no footer
	LayoutTaped   Layout = 4 // a chunk on a tape: only the headers in header transfers say it
)

// String returns the layout's name.
func (l Layout) String() string {
	switch l {
	case LayoutFramed:
		return "framed"
	case LayoutTape:
		return "tape"
	case LayoutHeaders:
		return "header per chunk"
	case LayoutTaped:
		return "taped"
	}
	return fmt.Sprintf("layout %d", uint8(l))
}

// HeaderVersion is the version of chunk headers and footers that this program writes.
const HeaderVersion = 1

// ChunkHeaderSize is the length of a chunk header in bytes.
//
//	 0        8     10  11      16      32       48        80      88      96   252   256
//	+--------+-----+---+-------+-------+--------+---------+-------+-------+----+-----+
//	| magic  | ver |lay|   0   | store | volume | session | chunk | first | 0  | crc |
//	+--------+-----+---+-------+-------+--------+---------+-------+-------+----+-----+
const ChunkHeaderSize = 256

const (
	headerVersionAt = 8
	headerLayoutAt  = 10
	headerZero1At   = 11
	headerStoreAt   = 16
	headerVolumeAt  = 32
	headerSessionAt = 48
	headerChunkAt   = 80
	headerFirstAt   = 88
	headerZero2At   = 96
	headerSumAt     = 252
)

// ChunkHeader is the first thing in a chunk. It tells whose chunk it is, so that a
// medium can be read with nothing but itself and the key.
type ChunkHeader struct {
	Version uint16
	Layout  Layout
	Store   StoreID
	Volume  VolumeID
	Session SessionID
	Chunk   ChunkID
	First   Seq // lowest sequence number that the chunk may hold
}

// Append appends the header to dst. A Version of 0 is written as HeaderVersion.
func (h *ChunkHeader) Append(dst []byte) []byte {
	var b [ChunkHeaderSize]byte
	be := binary.BigEndian
	version := h.Version
	if version == 0 {
		version = HeaderVersion
	}
	copy(b[:], headerMagic)
	be.PutUint16(b[headerVersionAt:], version)
	b[headerLayoutAt] = byte(h.Layout)
	copy(b[headerStoreAt:], h.Store[:])
	copy(b[headerVolumeAt:], h.Volume[:])
	copy(b[headerSessionAt:], h.Session[:])
	be.PutUint64(b[headerChunkAt:], uint64(h.Chunk))
	be.PutUint64(b[headerFirstAt:], uint64(h.First))
	be.PutUint32(b[headerSumAt:], Checksum(b[:headerSumAt]))
	return append(dst, b[:]...)
}

// ParseChunkHeader reads the header at the start of b, of which it keeps nothing. It
// fails with ErrTruncated, ErrDamaged or ErrVersion.
func ParseChunkHeader(b []byte) (ChunkHeader, error) {
	if len(b) < ChunkHeaderSize {
		return ChunkHeader{}, fmt.Errorf("chunk header: %d of %d bytes: %w", len(b), ChunkHeaderSize, ErrTruncated)
	}
	be := binary.BigEndian
	b = b[:ChunkHeaderSize]
	if string(b[:magicSize]) != headerMagic {
		return ChunkHeader{}, fmt.Errorf("chunk header: magic %x, want %x: %w", b[:magicSize], headerMagic, ErrDamaged)
	}
	if got, want := Checksum(b[:headerSumAt]), be.Uint32(b[headerSumAt:]); got != want {
		return ChunkHeader{}, fmt.Errorf("chunk header: CRC %08x, want %08x: %w", got, want, ErrDamaged)
	}
	h := ChunkHeader{
		Version: be.Uint16(b[headerVersionAt:]),
		Layout:  Layout(b[headerLayoutAt]),
		Store:   StoreID(b[headerStoreAt:]),
		Volume:  VolumeID(b[headerVolumeAt:]),
		Session: SessionID(b[headerSessionAt:]),
		Chunk:   ChunkID(be.Uint64(b[headerChunkAt:])),
		First:   Seq(be.Uint64(b[headerFirstAt:])),
	}
	known := h.Layout >= LayoutFramed && h.Layout <= LayoutTaped
	if h.Version != HeaderVersion || !known || !allZero(b[headerZero1At:headerStoreAt]) || !allZero(b[headerZero2At:headerSumAt]) {
		return ChunkHeader{}, fmt.Errorf("chunk header: version %d, %v: %w", h.Version, h.Layout, ErrVersion)
	}
	return h, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// AppendTransfer appends a header transfer to dst: a tag that carries h, as LayoutTaped, in
// its options and no data. It returns that tag too, for the footer. In LayoutTape it stands in front of each chunk's tags, which follow with the
// offsets that they have after a chunk header of their own, the first at ChunkHeaderSize.
// at is the place of the transfer itself, in bytes from the start of the tape's header.
func AppendTransfer(dst []byte, h *ChunkHeader, at uint64) ([]byte, Tag) {
	taped := *h
	taped.Layout = LayoutTaped
	options := AppendOptions(nil, []Option{{OptChunkHeader, taped.Append(nil)}})
	t := Tag{
		Version: TagVersion, Kind: KindNone, Flags: FlagOptions | FlagHeaderTransfer,
		Seq: h.First, Offset: at, OptionsLen: uint32(len(options)), CRC: Checksum(options),
	}
	var b [TagSize]byte
	t.Put(b[:])
	dst = append(dst, b[:]...)
	return append(dst, options...), t
}

// ParseTransfer returns the chunk header that the options of a header transfer carry.
func ParseTransfer(options []byte) (ChunkHeader, error) {
	o, err := ParseOptions(options)
	if err != nil {
		return ChunkHeader{}, fmt.Errorf("header transfer: %w", err)
	}
	b, ok := FindOption(o, OptChunkHeader)
	if !ok {
		return ChunkHeader{}, fmt.Errorf("header transfer: no chunk header in it: %w", ErrDamaged)
	}
	h, err := ParseChunkHeader(b)
	if err == nil && h.Layout != LayoutTaped {
		err = fmt.Errorf("header transfer: layout %v, want %v: %w", h.Layout, LayoutTaped, ErrDamaged)
	}
	return h, err
}
