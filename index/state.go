package index

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// formatVersion is the version of this file format. There is no conversion: an
// index of another version is rebuilt from the log.
const formatVersion = 4

var stateKey = []byte("state")

// state is the one value of the meta bucket: who the index belongs to, how far it
// has been applied, and the numbers that would be dear to count.
//
//	at  size
//	 0     4  format version
//	 4    16  store
//	20    16  volume
//	36    32  head: session
//	68     4  head: ordinal
//	72     8  head: sequence number
//	80    32  head: chain
//	112    4  number of the open archive
//	116    8  highest inode number seen
//	124    8  next inode number as the log's meta record says it
//	132    8  inodes
//	140    8  logical bytes of regular files
//	148    1  1: something of the tree has changed since the last archive
//	149    1  1: groups were removed that the media may still have
type state struct {
	id      Identity
	head    Head
	archive uint32
	maxIno  chunkfmt.Ino
	nextIno chunkfmt.Ino
	inodes  uint64
	bytes   uint64
	changed bool
	unclean bool

	logged, image uint64 // under loggedKey
}

const (
	stateSize  = 150
	loggedSize = 16
)

func (s *state) put(b []byte) {
	binary.BigEndian.PutUint32(b, formatVersion)
	copy(b[4:], s.id.Store[:])
	copy(b[20:], s.id.Volume[:])
	copy(b[36:], s.head.Session[:])
	binary.BigEndian.PutUint32(b[68:], s.head.Ordinal)
	binary.BigEndian.PutUint64(b[72:], uint64(s.head.Seq))
	copy(b[80:], s.head.Chain[:])
	binary.BigEndian.PutUint32(b[112:], s.archive)
	binary.BigEndian.PutUint64(b[116:], uint64(s.maxIno))
	binary.BigEndian.PutUint64(b[124:], uint64(s.nextIno))
	binary.BigEndian.PutUint64(b[132:], s.inodes)
	binary.BigEndian.PutUint64(b[140:], s.bytes)
	for i, flag := range []bool{s.changed, s.unclean} {
		b[148+i] = 0
		if flag {
			b[148+i] = 1
		}
	}
}

func parseState(b []byte) (*state, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: no format version", ErrRebuild)
	}
	if v := binary.BigEndian.Uint32(b); v != formatVersion {
		return nil, fmt.Errorf("%w: format %d, want %d", ErrRebuild, v, formatVersion)
	}
	if len(b) != stateSize {
		return nil, fmt.Errorf("%w: state of %d bytes, want %d", ErrRebuild, len(b), stateSize)
	}
	s := &state{
		archive: binary.BigEndian.Uint32(b[112:]),
		maxIno:  chunkfmt.Ino(binary.BigEndian.Uint64(b[116:])),
		nextIno: chunkfmt.Ino(binary.BigEndian.Uint64(b[124:])),
		inodes:  binary.BigEndian.Uint64(b[132:]),
		bytes:   binary.BigEndian.Uint64(b[140:]),
		changed: b[148] != 0,
		unclean: b[149] != 0,
	}
	copy(s.id.Store[:], b[4:])
	copy(s.id.Volume[:], b[20:])
	copy(s.head.Session[:], b[36:])
	s.head.Ordinal = binary.BigEndian.Uint32(b[68:])
	s.head.Seq = chunkfmt.Seq(binary.BigEndian.Uint64(b[72:]))
	copy(s.head.Chain[:], b[80:])
	return s, nil
}

// readState gives the state as of a transaction.
func readState(tx *bolt.Tx) (*state, error) {
	b := tx.Bucket(meta.now)
	_, payload, err := unseal(stateKey, b.Get(stateKey))
	if err != nil {
		return nil, err
	}
	st, err := parseState(payload)
	if err != nil {
		return nil, err
	}
	if v := b.Get(loggedKey); v != nil {
		_, payload, err := unseal(loggedKey, v)
		if err != nil {
			return nil, err
		}
		if len(payload) != loggedSize {
			return nil, fmt.Errorf("%w: %d bytes under %s, want %d", ErrRebuild, len(payload), loggedKey, loggedSize)
		}
		st.logged, st.image = binary.BigEndian.Uint64(payload), binary.BigEndian.Uint64(payload[8:])
	}
	return st, nil
}

// writeState writes the state; what it allocates from ar lasts until the commit.
func writeState(tx *bolt.Tx, st *state, ar *arena) error {
	b := tx.Bucket(meta.now)
	v := ar.take(valueHead + stateSize)
	st.put(v[valueHead:])
	finish(stateKey, v, 0)
	if err := b.Put(stateKey, v); err != nil {
		return err
	}
	v = ar.take(valueHead + loggedSize)
	st.putLogged(v[valueHead:])
	finish(loggedKey, v, 0)
	return b.Put(loggedKey, v)
}

func (s *state) putLogged(b []byte) {
	binary.BigEndian.PutUint64(b, s.logged)
	binary.BigEndian.PutUint64(b[8:], s.image)
}
