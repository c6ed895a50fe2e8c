package walk

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// found is a name in a directory of the source.
type found struct {
	name string
	ino  uint64
	kind uint8 // DT_*; DT_UNKNOWN where the file system doesn't say
}

// listSize is the buffer of one getdents(2): some 700 names at a time.
const listSize = 32 << 10

// list calls f with the names of an open directory, a batch at a time, each batch in the order of inode
// numbers, which on most file systems is about the order of the content on the disk. f may keep the batch.
func list(fd int, f func([]found) error) error {
	buf := make([]byte, listSize)
	for {
		n, err := ignoringEINTR(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		batch := parseDirents(nil, buf[:n])
		slices.SortFunc(batch, func(a, b found) int {
			if a.ino != b.ino {
				if a.ino < b.ino {
					return -1
				}
				return 1
			}
			return bytes.Compare([]byte(a.name), []byte(b.name))
		})
		if err := f(batch); err != nil {
			return err
		}
	}
}

// parseDirents reads what getdents64(2) wrote: inode, offset (8 bytes each), record length (2), type (1), and
// the name up to a zero byte.
func parseDirents(dst []found, b []byte) []found {
	const header = 19
	for len(b) > header {
		length := int(binary.NativeEndian.Uint16(b[16:]))
		if length <= header || length > len(b) {
			return dst
		}
		name := b[header:length]
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		if s := string(name); s != "." && s != ".." && s != "" {
			dst = append(dst, found{s, binary.NativeEndian.Uint64(b), b[18]})
		}
		b = b[length:]
	}
	return dst
}

// ignoringEINTR repeats a system call that a signal interrupted; on network file systems even a stat can be.
func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != unix.EINTR {
			return n, err
		}
	}
}
