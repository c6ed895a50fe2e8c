package chunkfmt

import (
	"encoding/binary"
	"fmt"
)

// The keys of records are the keys of the index's buckets: big-endian, so that they sort
// by number, with names last, so that a prefix selects a directory or an inode.

// InodeKey returns the key of an inode: its number.
func InodeKey(ino Ino) []byte { return binary.BigEndian.AppendUint64(nil, uint64(ino)) }

// OrphanKey returns the key of an inode that was unlinked while open: its number.
func OrphanKey(ino Ino) []byte { return InodeKey(ino) }

// DirentKey returns the key of a directory entry: parent, name.
func DirentKey(parent Ino, name string) []byte { return append(sized(parent, len(name)), name...) }

// XattrKey returns the key of an extended attribute: inode, name.
func XattrKey(ino Ino, name string) []byte { return DirentKey(ino, name) }

// ExtentKey returns the key of an extent delta: inode, offset in the file in bytes.
func ExtentKey(ino Ino, offset uint64) []byte {
	return binary.BigEndian.AppendUint64(sized(ino, 8), offset)
}

// GroupKey returns the key of a group: its sequence number.
func GroupKey(s Seq) []byte { return binary.BigEndian.AppendUint64(nil, uint64(s)) }

// BadKey returns the key of a damaged group: its sequence number.
func BadKey(s Seq) []byte { return GroupKey(s) }

// HealedKey returns the key of a block of a damaged group: the group's sequence number,
// the block's offset in its plaintext in bytes.
func HealedKey(s Seq, offset uint32) []byte {
	return binary.BigEndian.AppendUint32(GroupKey(s), offset)
}

// RemovedKey returns the key of a range of removed groups: its first sequence number.
func RemovedKey(first Seq) []byte { return GroupKey(first) }

// ArchiveKey returns the key of an archive: its number.
func ArchiveKey(number uint32) []byte { return binary.BigEndian.AppendUint32(nil, number) }

// MetaKey returns the key of a setting of the volume: its name.
func MetaKey(name string) []byte { return []byte(name) }

func sized(ino Ino, more int) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8+more), uint64(ino))
}

// ParseInodeKey reads a key that InodeKey or OrphanKey made.
func ParseInodeKey(key []byte) (Ino, error) {
	n, err := parseNumber(key)
	return Ino(n), err
}

// ParseGroupKey reads a key that GroupKey, BadKey or RemovedKey made.
func ParseGroupKey(key []byte) (Seq, error) {
	n, err := parseNumber(key)
	return Seq(n), err
}

func parseNumber(key []byte) (uint64, error) {
	if len(key) != 8 {
		return 0, fmt.Errorf("key of %d bytes, want 8: %w", len(key), ErrDamaged)
	}
	return binary.BigEndian.Uint64(key), nil
}

// ParseNameKey reads a key that DirentKey or XattrKey made. The name may not be empty.
func ParseNameKey(key []byte) (ino Ino, name string, err error) {
	if len(key) < 9 {
		return 0, "", fmt.Errorf("key of %d bytes, want at least 9: %w", len(key), ErrDamaged)
	}
	return Ino(binary.BigEndian.Uint64(key)), string(key[8:]), nil
}

// ParseExtentKey reads a key that ExtentKey made.
func ParseExtentKey(key []byte) (ino Ino, offset uint64, err error) {
	if len(key) != 16 {
		return 0, 0, fmt.Errorf("key of %d bytes, want 16: %w", len(key), ErrDamaged)
	}
	return Ino(binary.BigEndian.Uint64(key)), binary.BigEndian.Uint64(key[8:]), nil
}

// ParseHealedKey reads a key that HealedKey made.
func ParseHealedKey(key []byte) (Seq, uint32, error) {
	if len(key) != 12 {
		return 0, 0, fmt.Errorf("key of %d bytes, want 12: %w", len(key), ErrDamaged)
	}
	return Seq(binary.BigEndian.Uint64(key)), binary.BigEndian.Uint32(key[8:]), nil
}

// ParseArchiveKey reads a key that ArchiveKey made.
func ParseArchiveKey(key []byte) (uint32, error) {
	if len(key) != 4 {
		return 0, fmt.Errorf("key of %d bytes, want 4: %w", len(key), ErrDamaged)
	}
	return binary.BigEndian.Uint32(key), nil
}
