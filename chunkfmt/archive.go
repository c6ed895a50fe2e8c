package chunkfmt

import (
	"encoding/binary"
	"fmt"
)

// ArchiveRecord is the value of RecArchive, and the payload of an archive footer after its
// number: time 8 | files 8 | bytes 8 | stored 8 | last 8 | label. The number is the key.
type ArchiveRecord struct {
	Number uint32
	Time   int64  // when it was sealed, nanoseconds since 1970
	Label  string // at most MaxLabel bytes
	Files  uint64 // inodes
	Bytes  uint64 // sum of the files' sizes
	Stored uint64 // bytes that its session had added to the media by then, since the archive before
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

// ArchiveInfo is the sealed payload of an archive header.
type ArchiveInfo struct {
	Number uint32
	Time   int64 // when it was opened, nanoseconds since 1970
	Label  string
}

// Append appends the payload to dst. A label over MaxLabel is cut.
func (a *ArchiveInfo) Append(dst []byte) []byte {
	return AppendOptions(dst, []Option{
		numberField(fieldNumber, uint64(a.Number)),
		numberField(fieldTime, uint64(a.Time)),
		textField(fieldLabel, a.Label),
	})
}

// ParseArchiveInfo reads a payload, of which it keeps nothing.
func ParseArchiveInfo(b []byte) (ArchiveInfo, error) {
	f, err := parseFields("archive header", b)
	a := ArchiveInfo{Number: uint32(f.number(fieldNumber)), Time: int64(f.number(fieldTime)), Label: f.text(fieldLabel)}
	return a, f.or(err)
}

// ArchiveSummary is the sealed payload of an archive footer.
type ArchiveSummary struct {
	Archive ArchiveRecord
	Chain   Hash // head of the chain with the archive's last batch
}

// Append appends the payload to dst.
func (a *ArchiveSummary) Append(dst []byte) []byte {
	return AppendOptions(dst, []Option{
		numberField(fieldNumber, uint64(a.Archive.Number)),
		{fieldArchive, a.Archive.Append(nil)},
		{fieldChain, a.Chain[:]},
	})
}

// ParseArchiveSummary reads a payload, of which it keeps nothing.
func ParseArchiveSummary(b []byte) (ArchiveSummary, error) {
	f, err := parseFields("archive footer", b)
	s := ArchiveSummary{Chain: f.hash(fieldChain)}
	number, record := uint32(f.number(fieldNumber)), f.take(fieldArchive)
	if err := f.or(err); err != nil {
		return ArchiveSummary{}, err
	}
	s.Archive, err = ParseArchive(number, record)
	return s, err
}
