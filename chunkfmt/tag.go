package chunkfmt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Kind says what a tag carries. It is visible and authenticated.
type Kind uint8

// The kinds of tag. Zero is a tag that carries no sealed bytes and no number; only a
// header transfer has it.
const (
	KindNone          Kind = 0
	KindData          Kind = 1 // a group of blocks
	KindBatch         Kind = 2 // a metadata batch, or one part of it
	KindSessionHeader Kind = 3 // first tag of a session
	KindSessionFooter Kind = 4 // last tag of a session that ended cleanly
	KindArchiveHeader Kind = 5
	KindArchiveFooter Kind = 6
	KindCheckpoint    Kind = 7 // one piece of a sealed image of the index
	KindRemoval       Kind = 8 // a removal list
	KindGone          Kind = 9 // stands where groups stood that were removed, see GoneTag
	maxKind                = KindGone
)

// String returns the kind's name.
func (k Kind) String() string {
	names := [...]string{"none", "data", "batch", "session header", "session footer",
		"archive header", "archive footer", "checkpoint", "removal", "gone"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Flags qualify a tag. All are visible; all but FlagCopy are authenticated, and FlagVoid, of
// which nothing can be opened.
type Flags uint8

// The flags of a tag.
const (
	FlagOptions        Flags = 1 << iota // an options header follows the tag
	FlagCopy                             // second place of a tag that is elsewhere too
	FlagMore                             // the batch goes on in the next batch tag
	FlagHeaderTransfer                   // carries a chunk header in its options, no data
	FlagVoid                             // the group was damaged and is given up: zeros stand in its place
	knownFlags         = FlagOptions | FlagCopy | FlagMore | FlagHeaderTransfer | FlagVoid
)

// Limits of what follows a tag, in bytes. A reader refuses more, so that a damaged or
// forged length cannot make it allocate.
const (
	MaxRaw     = 1<<20 + 64<<10        // plaintext of one tag before compression
	MaxSealed  = MaxRaw + SealOverhead // compressed, sealed
	MaxOptions = 16 << 10              // options header
)

// TagVersion is the version of the tag that this program writes.
const TagVersion = 1

// TagSize is the length of a tag in bytes, the same in every version.
//
//	 0        8   9  10  11  12       16       20       24
//	+--------+---+---+---+---+--------+--------+--------+
//	| magic  |ver|knd|flg| 0 | optlen | seallen| crc    |
//	+--------+---+---+---+---+--------+--------+--------+
//	 24       32          40        48        56      68        84   92    96
//	+--------+-----------+---------+---------+-------+---------+----+-----+
//	| seq    | watermark | restart | offset  | nonce | private | 0  | crc |
//	+--------+-----------+---------+---------+-------+---------+----+-----+
const TagSize = 96

const (
	tagVersionAt   = 8
	tagKindAt      = 9
	tagFlagsAt     = 10
	tagOptionsAt   = 12
	tagSealedAt    = 16
	tagCRCAt       = 20
	tagSeqAt       = 24
	tagWatermarkAt = 32
	tagRestartAt   = 40
	tagOffsetAt    = 48
	tagNonceAt     = 56
	tagPrivateAt   = 68
	tagZeroAt      = 84
	tagSumAt       = 92
)

// magicSize is the length of every magic. None can occur in another's place by a flip of
// a few bits, and the high first byte keeps them apart from text.
const magicSize = 8

const (
	tagMagic     = "\xc0TAG\r\n\x1a\x96"
	headerMagic  = "\xc0CHUNK\x1a\x0a"
	footerMagic  = "\xc0FOOT\r\n\x1a"
	trailerMagic = "\xc0END\r\n\x1a\xf0"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC32C of the parts in order, as one.
func Checksum(parts ...[]byte) uint32 {
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// Tag is the header in front of each group of data in a chunk (the seed's i-tag).
// Watermark, Restart, Offset, FlagCopy and CRC tell where and when the tag was placed;
// they are checked by CRC but not authenticated, so that sealed bytes can be moved and
// sent again without the key.
type Tag struct {
	Version    uint8
	Kind       Kind
	Flags      Flags
	Seq        Seq
	Watermark  Seq    // highest sequence number acknowledged when the tag was written
	Restart    Seq    // first one not yet acknowledged: where a restart goes on
	Offset     uint64 // place of the tag in its chunk, from the start of the chunk header
	OptionsLen uint32 // bytes of options header after the tag, at most MaxOptions
	SealedLen  uint32 // sealed bytes after that, at most MaxSealed
	Nonce      [12]byte
	Private    [PrivateSize]byte // encrypted, see [Private]
	CRC        uint32            // CRC32C of options and sealed bytes
}

// Put writes the tag to b[:TagSize], with its own CRC. b must be that long.
func (t *Tag) Put(b []byte) {
	b = b[:TagSize]
	t.putFields(b)
	binary.BigEndian.PutUint32(b[tagSumAt:], Checksum(b[:tagSumAt]))
}

func (t *Tag) putFields(b []byte) {
	be := binary.BigEndian
	copy(b, tagMagic)
	b[tagVersionAt] = t.Version
	b[tagKindAt] = byte(t.Kind)
	b[tagFlagsAt] = byte(t.Flags)
	b[tagFlagsAt+1] = 0
	be.PutUint32(b[tagOptionsAt:], t.OptionsLen)
	be.PutUint32(b[tagSealedAt:], t.SealedLen)
	be.PutUint32(b[tagCRCAt:], t.CRC)
	be.PutUint64(b[tagSeqAt:], uint64(t.Seq))
	be.PutUint64(b[tagWatermarkAt:], uint64(t.Watermark))
	be.PutUint64(b[tagRestartAt:], uint64(t.Restart))
	be.PutUint64(b[tagOffsetAt:], t.Offset)
	copy(b[tagNonceAt:], t.Nonce[:])
	copy(b[tagPrivateAt:], t.Private[:])
	clear(b[tagZeroAt:tagSumAt])
}

// ParseTag reads the tag at the start of b, of which it keeps nothing. It fails with
// ErrTruncated, ErrDamaged or ErrVersion. A tag that it returns has lengths within the
// limits and only kinds and flags that this program knows.
func ParseTag(b []byte) (Tag, error) {
	if len(b) < TagSize {
		return Tag{}, fmt.Errorf("tag: %d of %d bytes: %w", len(b), TagSize, ErrTruncated)
	}
	be := binary.BigEndian
	b = b[:TagSize]
	if string(b[:magicSize]) != tagMagic {
		return Tag{}, fmt.Errorf("tag: magic %x, want %x: %w", b[:magicSize], tagMagic, ErrDamaged)
	}
	if got, want := Checksum(b[:tagSumAt]), be.Uint32(b[tagSumAt:]); got != want {
		return Tag{}, fmt.Errorf("tag: CRC %08x, want %08x: %w", got, want, ErrDamaged)
	}
	t := Tag{
		Version:    b[tagVersionAt],
		Kind:       Kind(b[tagKindAt]),
		Flags:      Flags(b[tagFlagsAt]),
		Seq:        Seq(be.Uint64(b[tagSeqAt:])),
		Watermark:  Seq(be.Uint64(b[tagWatermarkAt:])),
		Restart:    Seq(be.Uint64(b[tagRestartAt:])),
		Offset:     be.Uint64(b[tagOffsetAt:]),
		OptionsLen: be.Uint32(b[tagOptionsAt:]),
		SealedLen:  be.Uint32(b[tagSealedAt:]),
		Nonce:      [12]byte(b[tagNonceAt:]),
		Private:    [PrivateSize]byte(b[tagPrivateAt:]),
		CRC:        be.Uint32(b[tagCRCAt:]),
	}
	zero := b[tagFlagsAt+1] == 0 && be.Uint64(b[tagZeroAt:]) == 0
	if t.Version != TagVersion || t.Kind > maxKind || t.Flags&^knownFlags != 0 || !zero {
		return Tag{}, fmt.Errorf("tag: version %d, %v, flags %#x: %w", t.Version, t.Kind, t.Flags, ErrVersion)
	}
	return t, t.check()
}

// check finds lengths and flags that no writer makes, though the CRC may be right.
func (t *Tag) check() error {
	transfer, gone := t.Flags&FlagHeaderTransfer != 0, t.Kind == KindGone
	switch {
	case t.OptionsLen > MaxOptions || t.SealedLen > MaxSealed:
		return fmt.Errorf("tag %v: lengths %d and %d over the limits: %w", t.Seq, t.OptionsLen, t.SealedLen, ErrDamaged)
	case (t.OptionsLen > 0) != (t.Flags&FlagOptions != 0):
		return fmt.Errorf("tag %v: options of %d bytes with flags %#x: %w", t.Seq, t.OptionsLen, t.Flags, ErrDamaged)
	case transfer != (t.Kind == KindNone) || (transfer || gone) != (t.SealedLen == 0):
		return fmt.Errorf("tag %v: %v with flags %#x and %d sealed bytes: %w", t.Seq, t.Kind, t.Flags, t.SealedLen, ErrDamaged)
	case t.Flags&FlagVoid != 0 && t.Kind != KindData:
		return fmt.Errorf("tag %v: void %v: %w", t.Seq, t.Kind, ErrDamaged)
	case gone && (t.Flags != 0 || t.Restart <= t.Seq || (t.Restart-1).Ordinal() != t.Seq.Ordinal()):
		return fmt.Errorf("tag %v: up to %v is gone, with flags %#x: %w", t.Seq, t.Restart, t.Flags, ErrDamaged)
	case !transfer && !gone && t.SealedLen < SealOverhead:
		return fmt.Errorf("tag %v: %d sealed bytes, at least %d: %w", t.Seq, t.SealedLen, SealOverhead, ErrDamaged)
	}
	return nil
}

// StoredLen returns the length in bytes of what follows the tag: options and sealed bytes.
func (t *Tag) StoredLen() int { return int(t.OptionsLen) + int(t.SealedLen) }

// Check compares the CRC of the bytes after the tag, in whatever parts they come, with
// the one in the tag. It needs no key. It fails with ErrDamaged.
func (t *Tag) Check(parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n != t.StoredLen() {
		return fmt.Errorf("tag %v: %d bytes after it, want %d: %w", t.Seq, n, t.StoredLen(), ErrDamaged)
	}
	if got := Checksum(parts...); got != t.CRC {
		return fmt.Errorf("tag %v: CRC of the bytes after it %08x, want %08x: %w", t.Seq, got, t.CRC, ErrDamaged)
	}
	return nil
}
