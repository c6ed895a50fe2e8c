package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"coffer/chunkfmt"
)

// A value in any bucket:
//
//	at  size
//	 0     4  CRC32C over the key and the bytes from 4 on
//	 4     4  archive that the version dates from; 0 where there is no history
//	 8     …  payload
//
// The checksum is there because bbolt has none: a flipped bit must become an error
// and not another file's bytes.
const valueHead = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// finish fills in the head of a value whose payload is in place.
func finish(key, v []byte, since uint32) {
	binary.BigEndian.PutUint32(v[4:], since)
	seal(key, v)
}

// seal fills in the checksum of a value that has all else.
func seal(key, v []byte) { binary.BigEndian.PutUint32(v, checksum(key, v)) }

func checksum(key, v []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, v[4:])
}

// unseal checks a value and gives its parts; payload is part of v.
func unseal(key, v []byte) (since uint32, payload []byte, err error) {
	if len(v) < valueHead || binary.BigEndian.Uint32(v) != checksum(key, v) {
		return 0, nil, fmt.Errorf("%w: checksum of key %x", ErrRebuild, key)
	}
	return binary.BigEndian.Uint32(v[4:]), v[valueHead:], nil
}

// cookieValue is the payload of the cookie bucket: all that readdir tells of an
// entry, so that listing a directory is one scan.
//
//	at  size
//	 0     8  ino
//	 8     1  type, DT_*
//	 9     …  name
const cookieHead = 9

func putCookie(b []byte, d chunkfmt.Dirent, name []byte) {
	binary.BigEndian.PutUint64(b, uint64(d.Ino))
	b[8] = d.Type
	copy(b[cookieHead:], name)
}

func parseCookie(key, b []byte) (name string, d chunkfmt.Dirent, err error) {
	if len(b) < cookieHead || len(key) < 16 {
		return "", d, fmt.Errorf("%w: directory entry %x is too short", ErrRebuild, key)
	}
	d.Ino = chunkfmt.Ino(binary.BigEndian.Uint64(b))
	d.Type = b[8]
	d.Cookie = binary.BigEndian.Uint64(key[8:])
	return string(b[cookieHead:]), d, nil
}

// locationSize is the length of the hint in front of a group's record: chunk,
// offset, length. All zero: not known.
const locationSize = 20

func putLocation(b []byte, l chunkfmt.Location) {
	binary.BigEndian.PutUint64(b, uint64(l.Chunk))
	binary.BigEndian.PutUint64(b[8:], l.Offset)
	binary.BigEndian.PutUint32(b[16:], l.Length)
}

func parseLocation(b []byte) chunkfmt.Location {
	return chunkfmt.Location{
		Chunk:  chunkfmt.ChunkID(binary.BigEndian.Uint64(b)),
		Offset: binary.BigEndian.Uint64(b[8:]),
		Length: binary.BigEndian.Uint32(b[16:]),
	}
}

// inoKey is the key of an inode, and what its xattrs and extents begin with.
func inoKey(ino chunkfmt.Ino) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(ino))
}

// pairKey is a key of two numbers: a cookie's, or a part's.
func pairKey(ino chunkfmt.Ino, n uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(ino)), n)
}

// nameKey is the key of a directory entry or an attribute.
func nameKey(ino chunkfmt.Ino, name string) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(name)), uint64(ino)), name...)
}

// historySuffix is the length of what a history key has after the current key.
const historySuffix = 8

// interval gives the two archives at the end of a history key.
func interval(key []byte) (from, to uint32) {
	s := key[len(key)-historySuffix:]
	return binary.BigEndian.Uint32(s), binary.BigEndian.Uint32(s[4:])
}
