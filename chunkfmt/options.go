package chunkfmt

import (
	"encoding/binary"
	"fmt"
)

// Option is one entry of an options header: clear, but authenticated with its tag.
//
//	 0      2   4        8
//	+------+---+--------+------- … -+
//	| type | 0 | length | value     |
//	+------+---+--------+------- … -+
type Option struct {
	Type  uint16
	Value []byte
}

// OptCritical is set in the type of an option that a reader must understand to use the
// tag; one without it that is not known is passed over.
const OptCritical = 0x8000

// The option types.
const (
	OptPredecessorOrdinal uint16 = OptCritical | 0x01 // session header: 4 bytes
	OptPredecessorID      uint16 = OptCritical | 0x02 // session header: 32 bytes
	OptLastSeq            uint16 = OptCritical | 0x03 // session header: 8 bytes
	OptChunkHeader        uint16 = OptCritical | 0x20 // header transfer: a chunk header
	OptMediaClass         uint16 = 0x10               // processing instruction: name of a class of media
	OptTime               uint16 = 0x11               // writer's clock, 8 bytes, nanoseconds
)

func knownOption(t uint16) bool {
	switch t {
	case OptPredecessorOrdinal, OptPredecessorID, OptLastSeq, OptChunkHeader, OptMediaClass, OptTime:
		return true
	}
	return false
}

const optionHeadSize = 8

// AppendOptions appends the options header of o to dst. The writer must keep the whole
// within MaxOptions, or no reader will take the tag.
func AppendOptions(dst []byte, o []Option) []byte {
	for _, opt := range o {
		dst = binary.BigEndian.AppendUint16(dst, opt.Type)
		dst = append(dst, 0, 0)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(opt.Value)))
		dst = append(dst, opt.Value...)
	}
	return dst
}

// ParseOptions reads an options header. The values lie in b. It fails with ErrDamaged,
// ErrTruncated, or with ErrVersion when it finds a critical option that it does not know.
func ParseOptions(b []byte) ([]Option, error) {
	o, err := parseTLVs(b)
	if err != nil {
		return nil, err
	}
	for _, opt := range o {
		if opt.Type&OptCritical != 0 && !knownOption(opt.Type) {
			return nil, fmt.Errorf("option %#04x: %w", opt.Type, ErrVersion)
		}
	}
	return o, nil
}

func parseTLVs(b []byte) ([]Option, error) {
	var o []Option
	if len(b) > MaxOptions {
		return nil, fmt.Errorf("options: %d bytes, at most %d: %w", len(b), MaxOptions, ErrDamaged)
	}
	for len(b) > 0 {
		if len(b) < optionHeadSize {
			return nil, fmt.Errorf("options: %d bytes left: %w", len(b), ErrTruncated)
		}
		typ, zero, n := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:])
		b = b[optionHeadSize:]
		if zero != 0 {
			return nil, fmt.Errorf("option %#04x: reserved bytes %#04x, want 0: %w", typ, zero, ErrDamaged)
		}
		if uint64(n) > uint64(len(b)) {
			return nil, fmt.Errorf("option %#04x: %d bytes, %d left: %w", typ, n, len(b), ErrTruncated)
		}
		o = append(o, Option{Type: typ, Value: b[:n:n]})
		b = b[n:]
	}
	return o, nil
}

// FindOption returns the value of the first option of the type, and whether there is one.
func FindOption(o []Option, typ uint16) ([]byte, bool) {
	for _, opt := range o {
		if opt.Type == typ {
			return opt.Value, true
		}
	}
	return nil, false
}
