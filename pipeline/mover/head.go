package mover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"coffer/chunkfmt"
	"coffer/index"
)

// headSlot is the length of one slot of the head file: magic (4), counter (8),
// ordinal (4), sequence number (8), session (32), chain (32), CRC32C (4).
const headSlot = 4 + 8 + 4 + 8 + 32 + 32 + 4

const headMagic = 0x43664864 // "CfHd"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// headFile keeps the last acknowledged head of a volume in the user's state
// folder. The index knows a head too, but only as of its last commit, a few
// seconds ago; this file is written at each acknowledgement, so that a store
// rolled back by a second is noticed. It is not synced at each write: after a
// power cut an older head is a weaker test, never a wrong one, because what
// was acknowledged to it is on stable storage in the store.
//
// Two slots are written in turn; the newer valid one counts.
type headFile struct {
	mu    sync.Mutex // guards f's slots and count
	f     *os.File
	count uint64
	last  index.Head
}

// openHeadFile opens or makes the head file in dir.
func openHeadFile(dir string) (*headFile, error) { return openHeads(filepath.Join(dir, "head")) }

func openHeads(path string) (*headFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the head file: %w", err)
	}
	h := &headFile{f: f}
	var buf [2 * headSlot]byte
	n, err := f.ReadAt(buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, fmt.Errorf("read the head file %s: %w", path, err)
	}
	for at := 0; at+headSlot <= n; at += headSlot {
		if count, head, ok := parseHeadSlot(buf[at : at+headSlot]); ok && count > h.count {
			h.count, h.last = count, head
		}
	}
	return h, nil
}

// Last returns the newest head that the file holds; its Seq is 0 when none.
func (h *headFile) Last() index.Head {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// Set writes head. A head that is not after the last one is ignored.
func (h *headFile) Set(head index.Head) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if head.Seq <= h.last.Seq {
		return nil
	}
	return h.write(head)
}

// Reset forgets the head, for a rollback that the user accepted.
func (h *headFile) Reset() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count, h.last = 0, index.Head{}
	if err := h.f.Truncate(0); err != nil {
		return fmt.Errorf("reset the head file: %w", err)
	}
	return nil
}

func (h *headFile) write(head index.Head) error {
	var b [headSlot]byte
	putHeadSlot(b[:], h.count+1, head)
	if _, err := h.f.WriteAt(b[:], int64((h.count+1)%2)*headSlot); err != nil {
		return fmt.Errorf("write the head file: %w", err)
	}
	h.count++
	h.last = head
	return nil
}

// Close syncs and closes the file.
func (h *headFile) Close() error {
	return errors.Join(h.f.Sync(), h.f.Close())
}

func putHeadSlot(b []byte, count uint64, head index.Head) {
	binary.BigEndian.PutUint32(b[0:], headMagic)
	binary.BigEndian.PutUint64(b[4:], count)
	binary.BigEndian.PutUint32(b[12:], head.Ordinal)
	binary.BigEndian.PutUint64(b[16:], uint64(head.Seq))
	copy(b[24:56], head.Session[:])
	copy(b[56:88], head.Chain[:])
	binary.BigEndian.PutUint32(b[88:], crc32.Checksum(b[:88], castagnoli))
}

func parseHeadSlot(b []byte) (count uint64, head index.Head, ok bool) {
	if binary.BigEndian.Uint32(b[0:]) != headMagic ||
		binary.BigEndian.Uint32(b[88:]) != crc32.Checksum(b[:88], castagnoli) {
		return 0, index.Head{}, false
	}
	head.Ordinal = binary.BigEndian.Uint32(b[12:])
	head.Seq = chunkfmt.Seq(binary.BigEndian.Uint64(b[16:]))
	copy(head.Session[:], b[24:56])
	copy(head.Chain[:], b[56:88])
	return binary.BigEndian.Uint64(b[4:]), head, true
}
