package chunkfmt

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"lukechampine.com/blake3"
)

// A chunk footer is a head, the directory and a trailer. The head lets it be found going
// forward, the trailer from the end:
//
//	 0        8     10    12      16         24    28    32
//	+--------+-----+-----+-------+----------+-----+-----+-- … --+
//	| magic  | ver |  0  | count | body     |  0  | crc | tags  |
//	+--------+-----+-----+-------+----------+-----+-----+-- … --+
//	 0       4     6     8        16          48  52    56      64
//	+-------+-----+-----+--------+-----------+---+-----+--------+
//	| count | ver |  0  | total  | BLAKE3    | 0 | crc | magic  |
//	+-------+-----+-----+--------+-----------+---+-----+--------+
//
// body is the length of everything in front of the footer, total that of the whole
// chunk. The BLAKE3 covers head and directory, each crc the part that it stands in.
const (
	footerHeadSize    = 32
	footerTrailerSize = 64
)

// FooterSize returns the length in bytes of the footer of a chunk of n tags.
func FooterSize(n int) int { return footerHeadSize + n*TagSize + footerTrailerSize }

// Places gives each tag of a chunk or tape, in order and without gaps, with its place in
// bytes from the start of the first header. Of a framed chunk it is the tag's Offset.
func Places(tags []Tag) iter.Seq2[int64, *Tag] {
	return func(yield func(int64, *Tag) bool) {
		at := int64(ChunkHeaderSize)
		for i := range tags {
			if !yield(at, &tags[i]) {
				return
			}
			at += int64(TagSize + tags[i].StoredLen())
		}
	}
}

func bodyLen(tags []Tag) int64 {
	n := int64(ChunkHeaderSize)
	for i := range tags {
		n += int64(TagSize + tags[i].StoredLen())
	}
	return n
}

// AppendFooter appends the footer of a chunk that holds exactly these tags, as written,
// without gaps after its header. For LayoutTape they are all the tags of the tape.
func AppendFooter(dst []byte, tags []Tag) []byte {
	start := len(dst)
	body := bodyLen(tags)
	dst = append(dst, make([]byte, FooterSize(len(tags)))...)
	b := dst[start:]
	be := binary.BigEndian

	copy(b, footerMagic)
	be.PutUint16(b[8:], HeaderVersion)
	be.PutUint32(b[12:], uint32(len(tags)))
	be.PutUint64(b[16:], uint64(body))
	be.PutUint32(b[28:], Checksum(b[:28]))
	for i := range tags {
		tags[i].Put(b[footerHeadSize+i*TagSize:])
	}
	trailer := b[len(b)-footerTrailerSize:]
	sum := blake3.Sum256(b[:len(b)-footerTrailerSize])
	be.PutUint32(trailer, uint32(len(tags)))
	be.PutUint16(trailer[4:], HeaderVersion)
	be.PutUint64(trailer[8:], uint64(body)+uint64(len(b)))
	copy(trailer[16:], sum[:])
	be.PutUint32(trailer[52:], Checksum(trailer[:52]))
	copy(trailer[56:], trailerMagic)
	return dst
}

type footerHead struct {
	count uint32
	body  int64
}

func parseFooterHead(b []byte) (footerHead, error) {
	be := binary.BigEndian
	if len(b) < footerHeadSize {
		return footerHead{}, fmt.Errorf("chunk footer: %d bytes: %w", len(b), ErrTruncated)
	}
	if string(b[:magicSize]) != footerMagic {
		return footerHead{}, fmt.Errorf("chunk footer: magic %x, want %x: %w", b[:magicSize], footerMagic, ErrDamaged)
	}
	if got, want := Checksum(b[:28]), be.Uint32(b[28:]); got != want {
		return footerHead{}, fmt.Errorf("chunk footer: CRC of its head %08x, want %08x: %w", got, want, ErrDamaged)
	}
	if v := be.Uint16(b[8:]); v != HeaderVersion || be.Uint16(b[10:]) != 0 || be.Uint32(b[24:]) != 0 {
		return footerHead{}, fmt.Errorf("chunk footer: version %d: %w", v, ErrVersion)
	}
	return footerHead{count: be.Uint32(b[12:]), body: int64(be.Uint64(b[16:]))}, nil
}

// size is the length of the footer that the head begins.
func (h footerHead) size() int64 {
	return footerHeadSize + int64(h.count)*TagSize + footerTrailerSize
}

type footerTrailer struct {
	count uint32
	total int64
	sum   Hash
}

// parseFooterTrailer reads the last bytes of a chunk. It fails with ErrNoFooter when they
// do not claim to be a trailer: by the magic or, where that is damaged, by the CRC. That there was
// a footer says that nothing before it is torn.
func parseFooterTrailer(b []byte) (footerTrailer, error) {
	be := binary.BigEndian
	if len(b) < footerTrailerSize {
		return footerTrailer{}, ErrNoFooter
	}
	magic := b[56:footerTrailerSize]
	switch got, want := Checksum(b[:52]), be.Uint32(b[52:]); {
	case got != want && string(magic) != trailerMagic:
		return footerTrailer{}, ErrNoFooter
	case string(magic) != trailerMagic:
		return footerTrailer{}, fmt.Errorf("chunk footer: magic of its trailer %x, want %x: %w", magic, trailerMagic, ErrDamaged)
	case got != want:
		return footerTrailer{}, fmt.Errorf("chunk footer: CRC of its trailer %08x, want %08x: %w", got, want, ErrDamaged)
	}
	if v := be.Uint16(b[4:]); v != HeaderVersion || be.Uint16(b[6:]) != 0 || be.Uint32(b[48:]) != 0 {
		return footerTrailer{}, fmt.Errorf("chunk footer: version %d: %w", v, ErrVersion)
	}
	return footerTrailer{count: be.Uint32(b), total: int64(be.Uint64(b[8:])), sum: Hash(b[16:48])}, nil
}

// ReadFooter reads the footer at the end of a chunk or tape that is size bytes long, and
// returns all its tags in order. It needs no key. It fails with ErrNoFooter when there is
// none, as in a chunk that was torn, and with ErrDamaged when it is not as written; then
// a [Scanner] still reads what is readable. It allocates no more than a small multiple of size.
func ReadFooter(r io.ReaderAt, size int64) ([]Tag, error) {
	if size < ChunkHeaderSize+footerHeadSize+footerTrailerSize {
		return nil, fmt.Errorf("chunk of %d bytes: %w", size, ErrNoFooter)
	}
	var end [footerTrailerSize]byte
	if err := readFull(r, end[:], size-footerTrailerSize); err != nil {
		return nil, fmt.Errorf("chunk footer: %w", err)
	}
	trailer, err := parseFooterTrailer(end[:])
	if err != nil {
		return nil, err
	}
	dirSize := footerHeadSize + int64(trailer.count)*TagSize
	at := size - footerTrailerSize - dirSize
	if trailer.total != size || at < ChunkHeaderSize {
		return nil, fmt.Errorf("chunk footer: %d tags in %d bytes, the chunk has %d: %w", trailer.count, trailer.total, size, ErrDamaged)
	}
	dir := make([]byte, dirSize)
	if err := readFull(r, dir, at); err != nil {
		return nil, fmt.Errorf("chunk footer: %w", err)
	}
	if Hash(blake3.Sum256(dir)) != trailer.sum {
		return nil, fmt.Errorf("chunk footer: hash of its directory does not match: %w", ErrDamaged)
	}
	head, err := parseFooterHead(dir)
	if err != nil {
		return nil, err
	}
	if head.count != trailer.count || head.body != at {
		return nil, fmt.Errorf("chunk footer: head and trailer contradict each other: %w", ErrDamaged)
	}
	return parseDirectory(dir[footerHeadSize:], at)
}

// parseDirectory reads the tags and checks that they fill the chunk up to body.
func parseDirectory(dir []byte, body int64) ([]Tag, error) {
	tags := make([]Tag, 0, len(dir)/TagSize)
	for ; len(dir) > 0; dir = dir[TagSize:] {
		t, err := ParseTag(dir)
		if err != nil {
			return nil, fmt.Errorf("chunk footer: directory entry %d: %w", len(tags), err)
		}
		tags = append(tags, t)
	}
	var origin int64
	for at, t := range Places(tags) {
		if t.Flags&FlagHeaderTransfer != 0 {
			origin = 0
		}
		if t.Offset != uint64(at-origin) {
			return nil, fmt.Errorf("chunk footer: tag %v at %d says it is at %d: %w", t.Seq, at, t.Offset, ErrDamaged)
		}
		if t.Flags&FlagHeaderTransfer != 0 {
			origin = at + int64(TagSize+t.StoredLen()) - ChunkHeaderSize
		}
	}
	if n := bodyLen(tags); n != body {
		return nil, fmt.Errorf("chunk footer: tags fill %d bytes of %d: %w", n, body, ErrDamaged)
	}
	return tags, nil
}

// readFull fills b from off; the end of the reader inside b is ErrTruncated.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == io.EOF || err == nil {
		return fmt.Errorf("%d of %d bytes at %d: %w", n, len(b), off, ErrTruncated)
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), off, err)
}
