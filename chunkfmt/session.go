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
