package walk

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// SourceXattr is the attribute of an archived file that holds its Signature. Names with this prefix are the
// program's own: the FUSE face hides them.
const SourceXattr = "coffer.source"

// Signature is what a source file looked like when it was read. A file that still looks so need not be read
// again: the kernel changes the ctime with every change of content or metadata, and nobody can set it.
type Signature struct {
	Dev, Ino  uint64
	Size      uint64
	CtimeSec  int64
	CtimeNsec uint32
	MtimeSec  int64
	MtimeNsec uint32
}

const (
	signatureVersion = 1
	// SignatureSize is the length of a packed signature: a version byte and the fields in order, big-endian.
	SignatureSize = 1 + 8 + 8 + 8 + 8 + 4 + 8 + 4
)

func signatureOf(st *unix.Stat_t) Signature {
	return Signature{
		Dev: st.Dev, Ino: st.Ino, Size: uint64(st.Size),
		CtimeSec: st.Ctim.Sec, CtimeNsec: uint32(st.Ctim.Nsec),
		MtimeSec: st.Mtim.Sec, MtimeNsec: uint32(st.Mtim.Nsec),
	}
}

// Append packs the signature behind dst.
func (s Signature) Append(dst []byte) []byte {
	dst = append(dst, signatureVersion)
	dst = binary.BigEndian.AppendUint64(dst, s.Dev)
	dst = binary.BigEndian.AppendUint64(dst, s.Ino)
	dst = binary.BigEndian.AppendUint64(dst, s.Size)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.CtimeSec))
	dst = binary.BigEndian.AppendUint32(dst, s.CtimeNsec)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.MtimeSec))
	return binary.BigEndian.AppendUint32(dst, s.MtimeNsec)
}

// ParseSignature reads what Append wrote.
func ParseSignature(b []byte) (Signature, error) {
	if len(b) != SignatureSize || b[0] != signatureVersion {
		return Signature{}, fmt.Errorf("%s: want %d bytes of version %d, have %d bytes", SourceXattr, SignatureSize, signatureVersion, len(b))
	}
	return Signature{
		Dev:       binary.BigEndian.Uint64(b[1:]),
		Ino:       binary.BigEndian.Uint64(b[9:]),
		Size:      binary.BigEndian.Uint64(b[17:]),
		CtimeSec:  int64(binary.BigEndian.Uint64(b[25:])),
		CtimeNsec: binary.BigEndian.Uint32(b[33:]),
		MtimeSec:  int64(binary.BigEndian.Uint64(b[37:])),
		MtimeNsec: binary.BigEndian.Uint32(b[45:]),
	}, nil
}

// settled says whether a change after now is sure to give the file another ctime. The kernel's clock for time
// stamps moves in ticks of up to 10 ms; a ctime without a fraction may be of a file system that keeps
// seconds, or two of them.
func (s Signature) settled(now time.Time) bool {
	grain := 20 * time.Millisecond
	if s.CtimeNsec == 0 {
		grain = 2 * time.Second
	}
	return now.Sub(time.Unix(s.CtimeSec, int64(s.CtimeNsec))) > grain
}
