package device

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// What is known here of messages (linux/fuse.h), in the machine's byte order:
//
//	request   0 length u32 | 4 operation u32 | 8 number u64 | …
//	answer    0 length u32 | 4 -errno i32    | 8 number u64 | payload
//	notice    0 length u32 | 4 code i32      | 8 zero u64   | payload
const (
	headerSize = 40
	writeSize  = headerSize + 40 // what stands before the payload of a write
	answerHead = 16

	opRead        = 15
	opWrite       = 16
	opGetxattr    = 22
	opListxattr   = 23
	opReaddir     = 28
	opIoctl       = 39
	opReaddirplus = 44
)

var order = binary.NativeEndian

// answerSizeAt is where a request says how large the payload of its answer may be, a u32. That of others is small.
var answerSizeAt = map[uint32]int{
	opRead: headerSize + 16, opReaddir: headerSize + 16, opReaddirplus: headerSize + 16,
	opGetxattr: headerSize, opListxattr: headerSize,
	opIoctl: headerSize + 28,
}

// request is one as it was read: the head, as much as stands before the payload of a write, and what follows it in
// a large buffer, where the payload of a write has pages of its own.
type request struct {
	head [writeSize]byte
	n    int // bytes of head
	rest []byte
}

// read reads one request; EAGAIN if there is none.
func (r *request) read(fd int, large []byte) error {
	n, err := unix.Readv(fd, [][]byte{r.head[:], large})
	if err != nil {
		return err
	}
	if n < headerSize {
		return unix.EINVAL
	}
	r.n = min(n, len(r.head))
	r.rest = large[:n-r.n]
	return nil
}

func (r *request) parts() [][]byte {
	if len(r.rest) == 0 {
		return [][]byte{r.head[:r.n]}
	}
	return [][]byte{r.head[:r.n], r.rest}
}

func (r *request) operation() uint32 { return order.Uint32(r.head[4:]) }

func (r *request) number() uint64 { return order.Uint64(r.head[8:]) }

// answerSize is how large the payload of the answer may become, in bytes.
func (r *request) answerSize() int {
	at, ok := answerSizeAt[r.operation()]
	if !ok || at+4 > r.n {
		return 0
	}
	return int(order.Uint32(r.head[at:]))
}

// appendHead appends the head of an answer or a notice with size bytes of payload.
func appendHead(to []byte, code int32, number uint64, size int) []byte {
	to = order.AppendUint32(to, uint32(answerHead+size))
	to = order.AppendUint32(to, uint32(code))
	return order.AppendUint64(to, number)
}
