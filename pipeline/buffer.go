package pipeline

import "sync/atomic"

// Buffer is one allocation of a buffer of the segment, from AllocBuf to FreeBuf. Every allocation
// is a Buffer of its own, so that one used after its free is known as such even when the memory
// has been allocated again.
//
// The fields belong to whoever holds the buffer: the module that allocated or received it, until
// it sends or frees it.
type Buffer struct {
	// Seq is the buffer's number in a bracket of ordered stages, from 1; 0 outside of brackets.
	// Set by ReceiveBuf. A module that sends another buffer instead copies it.
	Seq uint64
	// Length is how many bytes of the data are in use, as the sender says. It is counted for the
	// status and has no other effect.
	Length int
	// Payload is what the stages have to say to each other about the bytes.
	Payload any

	slot     int
	raw      []byte
	headroom int
	owner    *allocator            // whose share it is
	holder   atomic.Pointer[stage] // who allocated or received it last
	state    atomic.Uint32
}

// The states of a Buffer. Each change is a compare and swap: of two that free it, one is at fault.
const (
	stateHeld uint32 = iota
	stateQueued
	stateDead
	// stateReclaimed: the pipe stopped and took the buffer out of the accounts. The memory stays as
	// it is until the pipe is closed, for whoever was at work in it.
	stateReclaimed
)

// Data is the buffer's data, Spec.Size bytes, page aligned; nil once the buffer was freed. The
// slice is valid until the buffer is freed; when the pipe stops, until the pipe is closed.
func (b *Buffer) Data() []byte {
	if b.state.Load() == stateDead {
		return nil
	}
	return b.raw[b.headroom:]
}

// Raw is headroom and data in one slice, Data()[0] being Raw()[Spec.Headroom]; nil once the buffer
// was freed. It is valid as long as that of Data.
func (b *Buffer) Raw() []byte {
	if b.state.Load() == stateDead {
		return nil
	}
	return b.raw
}

// poison makes a use after free visible.
func (b *Buffer) poison() {
	if len(b.raw) == 0 {
		return
	}
	// By doubling: byte by byte takes milliseconds with the race detector.
	b.raw[0] = 0xdb
	for n := 1; n < len(b.raw); n *= 2 {
		copy(b.raw[n:], b.raw[:n])
	}
}
