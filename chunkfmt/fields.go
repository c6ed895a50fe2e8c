package chunkfmt

import (
	"encoding/binary"
	"fmt"
)

// The fields of session and archive payloads are TLVs like options; unknown ones are
// passed over.
const (
	fieldTime    uint16 = 1
	fieldHost    uint16 = 2
	fieldUser    uint16 = 3
	fieldProgram uint16 = 4
	fieldVolume  uint16 = 5
	fieldChain   uint16 = 6
	fieldLast    uint16 = 7
	fieldBatches uint16 = 8
	fieldGroups  uint16 = 9
	fieldRaw     uint16 = 10
	fieldStored  uint16 = 11
	fieldNumber  uint16 = 12
	fieldLabel   uint16 = 13
	fieldArchive uint16 = 14
)

func numberField(typ uint16, v uint64) Option {
	return Option{typ, binary.BigEndian.AppendUint64(nil, v)}
}

func textField(typ uint16, v string) Option {
	return Option{typ, []byte(v[:min(len(v), MaxLabel)])}
}

// fields gives the fields of a payload and remembers the first that is not right.
type fields struct {
	what string
	o    []Option
	err  error
}

func parseFields(what string, b []byte) (*fields, error) {
	o, err := parseTLVs(b)
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return &fields{what: what, o: o}, err
}

func (f *fields) take(typ uint16) []byte {
	v, ok := FindOption(f.o, typ)
	if !ok && f.err == nil {
		f.err = fmt.Errorf("%s: field %d is missing: %w", f.what, typ, ErrDamaged)
	}
	return v
}

func (f *fields) sized(typ uint16, n int) []byte {
	v := f.take(typ)
	if len(v) == n {
		return v
	}
	if f.err == nil {
		f.err = fmt.Errorf("%s: field %d of %d bytes, want %d: %w", f.what, typ, len(v), n, ErrDamaged)
	}
	return make([]byte, n)
}

func (f *fields) text(typ uint16) string   { return string(f.take(typ)) }
func (f *fields) number(typ uint16) uint64 { return binary.BigEndian.Uint64(f.sized(typ, 8)) }
func (f *fields) hash(typ uint16) Hash     { return Hash(f.sized(typ, 32)) }

// or returns err, or else what the fields had against them.
func (f *fields) or(err error) error {
	if err != nil {
		return err
	}
	return f.err
}
