package chunkfmt

import (
	"encoding/binary"
	"fmt"
)

// Op says what a record does to its key.
type Op uint8

// The operations.
const (
	OpPut    Op = 1
	OpDelete Op = 2
)

// RecordKind says which table a record belongs to.
type RecordKind uint8

// The kinds of record. The index derives the tables of cookies and parents from RecDirent.
const (
	RecInode   RecordKind = 1 // InodeKey: Inode
	RecDirent  RecordKind = 2 // DirentKey: Dirent
	RecXattr   RecordKind = 3 // XattrKey: the value itself
	RecExtent  RecordKind = 4 // ExtentKey: Extent, a delta
	RecOrphan  RecordKind = 5 // OrphanKey: nothing
	RecGroup   RecordKind = 6 // GroupKey: GroupRecord
	RecArchive RecordKind = 7 // ArchiveKey: ArchiveRecord
	RecMeta    RecordKind = 8 // MetaKey: the value itself
	RecBad     RecordKind = 9 // BadKey: why

	RecHealed  RecordKind = 10 // HealedKey: Healed, one block
	RecRemoved RecordKind = 11 // RemovedKey: Removed
	RecMoved   RecordKind = 12 // RemovedKey: Removed, but of groups that are read from others
)

var recordKinds = map[RecordKind]string{
	RecInode: "inode", RecDirent: "dirent", RecXattr: "xattr", RecExtent: "extent", RecOrphan: "orphan",
	RecGroup: "group", RecArchive: "archive", RecMeta: "meta", RecBad: "bad",
	RecHealed: "healed", RecRemoved: "removed", RecMoved: "moved",
}

// String returns the table's name.
func (k RecordKind) String() string {
	if name, ok := recordKinds[k]; ok {
		return name
	}
	return fmt.Sprintf("record kind %d", uint8(k))
}

// Record is one put or delete of a batch.
//
//	 0    1      2        4          8
//	+----+------+--------+----------+----- … -+------- … -+
//	| op | kind | keylen | valuelen | key     | value     |
//	+----+------+--------+----------+----- … -+------- … -+
type Record struct {
	Op    Op
	Kind  RecordKind
	Key   []byte
	Value []byte // empty for OpDelete
}

// RecordHeadSize is the length in bytes of a record without its key and value.
const RecordHeadSize = 8

// Size returns the packed length of the record in bytes.
func (r *Record) Size() int { return RecordHeadSize + len(r.Key) + len(r.Value) }

// appendRecordHead begins a record with a key and a value of these lengths.
func appendRecordHead(dst []byte, op Op, kind RecordKind, key, value int) []byte {
	dst = append(dst, byte(op), byte(kind))
	dst = binary.BigEndian.AppendUint16(dst, uint16(key))
	return binary.BigEndian.AppendUint32(dst, uint32(value))
}

// splitRecord finds the parts of the record at the start of b, whatever they mean.
func splitRecord(b []byte) (Record, error) {
	if len(b) < RecordHeadSize {
		return Record{}, fmt.Errorf("%d of %d bytes: %w", len(b), RecordHeadSize, ErrTruncated)
	}
	r := Record{Op: Op(b[0]), Kind: RecordKind(b[1])}
	key, value := uint64(binary.BigEndian.Uint16(b[2:])), uint64(binary.BigEndian.Uint32(b[4:]))
	b = b[RecordHeadSize:]
	if key+value > uint64(len(b)) {
		return Record{}, fmt.Errorf("key of %d and value of %d bytes, %d left: %w", key, value, len(b), ErrTruncated)
	}
	r.Key, r.Value = b[:key:key], b[key:key+value:key+value]
	return r, nil
}

// parseRecord reads the record of a batch at the start of b.
func parseRecord(b []byte) (Record, error) {
	r, err := splitRecord(b)
	if err != nil {
		return Record{}, err
	}
	if _, known := recordKinds[r.Kind]; r.Op != OpPut && r.Op != OpDelete || !known {
		return Record{}, fmt.Errorf("operation %d, %v: %w", r.Op, r.Kind, ErrVersion)
	}
	if r.Op == OpDelete && len(r.Value) != 0 {
		return Record{}, fmt.Errorf("delete of %v with a value of %d bytes: %w", r.Kind, len(r.Value), ErrDamaged)
	}
	return r, nil
}
