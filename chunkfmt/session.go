package chunkfmt

import (
	"encoding/binary"
	"fmt"
)

// Predecessor says, in the clear options of a session header, which session this one goes
// on from and up to where; what that one wrote beyond is void. The zero value belongs to
// the first session of a volume. The chain hash there is sealed, in [SessionInfo].
type Predecessor struct {
	Ordinal uint32
	ID      SessionID
	Last    Seq // last sequence number that counts, of any earlier session
}

// Options returns the options that stand for p.
func (p *Predecessor) Options() []Option {
	return []Option{
		{OptPredecessorOrdinal, binary.BigEndian.AppendUint32(nil, p.Ordinal)},
		{OptPredecessorID, p.ID[:]},
		{OptLastSeq, binary.BigEndian.AppendUint64(nil, uint64(p.Last))},
	}
}

// ParsePredecessor finds the predecessor among the options of a session header.
func ParsePredecessor(o []Option) (Predecessor, error) {
	var p Predecessor
	ordinal, _ := FindOption(o, OptPredecessorOrdinal)
	id, _ := FindOption(o, OptPredecessorID)
	last, _ := FindOption(o, OptLastSeq)
	if len(ordinal) != 4 || len(id) != len(p.ID) || len(last) != 8 {
		return p, fmt.Errorf("session header: predecessor of %d, %d and %d bytes: %w", len(ordinal), len(id), len(last), ErrDamaged)
	}
	p.Ordinal = binary.BigEndian.Uint32(ordinal)
	p.ID = SessionID(id)
	p.Last = Seq(binary.BigEndian.Uint64(last))
	return p, nil
}

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

// SessionInfo is the sealed payload of a session header.
type SessionInfo struct {
	Time    int64 // start of the session, nanoseconds since 1970
	Host    string
	User    string
	Program string // program and version that writes
	Volume  string // name of the volume
	Chain   Hash   // head of the predecessor's chain at Predecessor.Last
}

// Append appends the payload to dst. Texts over MaxLabel are cut.
func (s *SessionInfo) Append(dst []byte) []byte {
	return AppendOptions(dst, []Option{
		numberField(fieldTime, uint64(s.Time)),
		textField(fieldHost, s.Host),
		textField(fieldUser, s.User),
		textField(fieldProgram, s.Program),
		textField(fieldVolume, s.Volume),
		{fieldChain, s.Chain[:]},
	})
}

// ParseSessionInfo reads a payload, of which it keeps nothing.
func ParseSessionInfo(b []byte) (SessionInfo, error) {
	f, err := parseFields("session header", b)
	s := SessionInfo{
		Time: int64(f.number(fieldTime)), Host: f.text(fieldHost), User: f.text(fieldUser),
		Program: f.text(fieldProgram), Volume: f.text(fieldVolume), Chain: f.hash(fieldChain),
	}
	return s, f.or(err)
}

// SessionSummary is the sealed payload of a session footer.
type SessionSummary struct {
	Time    int64  // end of the session, nanoseconds since 1970
	Last    Seq    // last sequence number before the footer
	Chain   Hash   // head of the chain
	Batches uint64 // batch tags
	Groups  uint64 // data tags
	Raw     uint64 // bytes of data before compression
	Stored  uint64 // bytes of data after sealing
}

// Append appends the payload to dst.
func (s *SessionSummary) Append(dst []byte) []byte {
	return AppendOptions(dst, []Option{
		numberField(fieldTime, uint64(s.Time)),
		numberField(fieldLast, uint64(s.Last)),
		{fieldChain, s.Chain[:]},
		numberField(fieldBatches, s.Batches),
		numberField(fieldGroups, s.Groups),
		numberField(fieldRaw, s.Raw),
		numberField(fieldStored, s.Stored),
	})
}

// ParseSessionSummary reads a payload, of which it keeps nothing.
func ParseSessionSummary(b []byte) (SessionSummary, error) {
	f, err := parseFields("session footer", b)
	s := SessionSummary{
		Time: int64(f.number(fieldTime)), Last: Seq(f.number(fieldLast)), Chain: f.hash(fieldChain),
		Batches: f.number(fieldBatches), Groups: f.number(fieldGroups),
		Raw: f.number(fieldRaw), Stored: f.number(fieldStored),
	}
	return s, f.or(err)
}

// ArchiveInfo is the sealed payload of an archive header.
type ArchiveInfo struct {
	Number uint32
	Time   int64 // when it was opened, nanoseconds since 1970
	Label  string
}

// Append appends the payload to dst. A label over MaxLabel is cut.
func (a *ArchiveInfo) Append(dst []byte) []byte {
	return AppendOptions(dst, []Option{
		numberField(fieldNumber, uint64(a.Number)),
		numberField(fieldTime, uint64(a.Time)),
		textField(fieldLabel, a.Label),
	})
}

// ParseArchiveInfo reads a payload, of which it keeps nothing.
func ParseArchiveInfo(b []byte) (ArchiveInfo, error) {
	f, err := parseFields("archive header", b)
	a := ArchiveInfo{Number: uint32(f.number(fieldNumber)), Time: int64(f.number(fieldTime)), Label: f.text(fieldLabel)}
	return a, f.or(err)
}

// ArchiveSummary is the sealed payload of an archive footer.
type ArchiveSummary struct {
	Archive ArchiveRecord
	Chain   Hash // head of the chain with the archive's last batch
}

// Append appends the payload to dst.
func (a *ArchiveSummary) Append(dst []byte) []byte {
	return AppendOptions(dst, []Option{
		numberField(fieldNumber, uint64(a.Archive.Number)),
		{fieldArchive, a.Archive.Append(nil)},
		{fieldChain, a.Chain[:]},
	})
}

// ParseArchiveSummary reads a payload, of which it keeps nothing.
func ParseArchiveSummary(b []byte) (ArchiveSummary, error) {
	f, err := parseFields("archive footer", b)
	s := ArchiveSummary{Chain: f.hash(fieldChain)}
	number, record := uint32(f.number(fieldNumber)), f.take(fieldArchive)
	if err := f.or(err); err != nil {
		return ArchiveSummary{}, err
	}
	s.Archive, err = ParseArchive(number, record)
	return s, err
}

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
