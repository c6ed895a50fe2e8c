package dump

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"coffer/chunkfmt"
)

// blockSize is what everything in a tar is padded to, bytes.
const blockSize = 512

// padding is how many bytes fill the last block of n.
func padding(n int64) int64 { return (blockSize - n%blockSize) % blockSize }

// Kinds of an entry, as they stand in its header.
const (
	kindFile    = '0'
	kindLink    = '1'
	kindSymlink = '2'
	kindChar    = '3'
	kindBlock   = '4'
	kindDir     = '5'
	kindFIFO    = '6'
	kindRecords = 'x' // records for the entry that follows
)

// header is an entry without its content.
type header struct {
	name, target string
	kind         byte
	mode         uint32 // permissions
	uid, gid     uint32
	size         int64 // of what follows
	mtime, atime chunkfmt.Time
	major, minor uint32
	records      []record // beside those that the fields need
}

// record is a line of the header's extension.
type record struct{ key, value string }

// sparse says that what follows begins with a map of the data (GNU tar's format 1.0).
func (h *header) sparse() bool { return len(h.records) > 0 && h.records[0].key == "GNU.sparse.major" }

// append appends the header's blocks: the extension, if there has to be one, and the
// one of ustar, with what fits into it.
func (h *header) append(dst []byte) []byte {
	records := h.records
	add := func(key, value string) { records = append(records, record{key, value}) }
	if !fits(h.name) && !h.sparse() {
		add("path", h.name)
	}
	if !fits(h.target) {
		add("linkpath", h.target)
	}
	if h.size > maxOctal(11) {
		add("size", strconv.FormatInt(h.size, 10))
	}
	for _, id := range []struct {
		key string
		id  uint32
	}{{"uid", h.uid}, {"gid", h.gid}} {
		if int64(id.id) > maxOctal(7) {
			add(id.key, strconv.FormatUint(uint64(id.id), 10))
		}
	}
	if h.mtime.Nsec != 0 || h.mtime.Sec < 0 || h.mtime.Sec > maxOctal(11) {
		add("mtime", decimal(h.mtime))
		add("atime", decimal(h.atime))
	}
	if len(records) > 0 {
		text := ""
		for _, r := range records {
			text += r.line()
		}
		last := h.name[strings.LastIndexByte(strings.TrimSuffix(h.name, "/"), '/')+1:]
		x := header{name: "./PaxHeaders/" + last, kind: kindRecords, mode: 0o644, size: int64(len(text)), mtime: h.mtime}
		dst = append(x.block(dst), text...)
		dst = append(dst, make([]byte, padding(int64(len(text))))...)
	}
	return h.block(dst)
}

// fits says whether a name can stand in a field of ustar, where it has to be ASCII.
func fits(name string) bool {
	for i := range len(name) {
		if name[i] >= 0x80 {
			return false
		}
	}
	return len(name) <= 100
}

// block appends the block of ustar.
func (h *header) block(dst []byte) []byte {
	var b [blockSize]byte
	copy(b[0:100], h.name)
	octal(b[100:108], int64(h.mode))
	octal(b[108:116], int64(h.uid))
	octal(b[116:124], int64(h.gid))
	octal(b[124:136], h.size)
	octal(b[136:148], h.mtime.Sec)
	b[156] = h.kind
	copy(b[157:257], h.target)
	copy(b[257:265], "ustar\x0000")
	octal(b[329:337], int64(h.major))
	octal(b[337:345], int64(h.minor))
	sum := int64(8 * ' ') // what stands for the sum in the sum
	for _, c := range b {
		sum += int64(c)
	}
	octal(b[148:155], sum)
	b[155] = ' '
	return append(dst, b[:]...)
}

// maxOctal is the largest number of so many octal digits.
func maxOctal(digits int) int64 { return 1<<(3*digits) - 1 }

// octal fills a field with a number and a zero byte. One that does not fit stands in a
// record, and here is 0.
func octal(b []byte, n int64) {
	if n < 0 || n > maxOctal(len(b)-1) {
		n = 0
	}
	copy(b, fmt.Sprintf("%0*o", len(b)-1, n))
}

// decimal is a time in seconds since 1970, with all its digits.
func decimal(t chunkfmt.Time) string {
	sec, nsec, sign := t.Sec, int64(t.Nsec), ""
	if sec < 0 {
		sign = "-"
		if sec = -sec; nsec > 0 {
			sec, nsec = sec-1, 1_000_000_000-nsec
		}
	}
	text := fmt.Sprintf("%s%d.%09d", sign, sec, nsec)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// line is a record with its length in front, which counts itself.
func (r *record) line() string {
	n := len(r.key) + len(r.value) + len(" =\n")
	total := n + len(strconv.Itoa(n))
	total = n + len(strconv.Itoa(total))
	return fmt.Sprintf("%d %s=%s\n", total, r.key, r.value)
}

// xattrRecords are those of an extended attribute. ACLs stand there twice, as they are
// and in words, as GNU tar has them: each reads the other's.
func xattrRecords(name string, value []byte) []record {
	// A key ends at the first "=".
	key := "SCHILY.xattr." + strings.NewReplacer("%", "%25", "=", "%3D").Replace(name)
	all := []record{{key, string(value)}}
	if words := map[string]string{
		"system.posix_acl_access": "SCHILY.acl.access", "system.posix_acl_default": "SCHILY.acl.default",
	}[name]; words != "" {
		if text, ok := aclText(value); ok {
			all = append(all, record{words, text})
		}
	}
	return all
}

// aclText puts an ACL in Linux's binary form into words, one entry a line, with numbers
// for users and groups.
func aclText(b []byte) (string, bool) {
	const version, head, entry = 2, 4, 8
	if len(b) < head || (len(b)-head)%entry != 0 || binary.LittleEndian.Uint32(b) != version {
		return "", false
	}
	var text strings.Builder
	for e := b[head:]; len(e) > 0; e = e[entry:] {
		tag, perm, id := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:]), binary.LittleEndian.Uint32(e[4:])
		who, ok := map[uint16]string{
			0x01: "user:", 0x02: fmt.Sprintf("user:%d", id), 0x04: "group:", 0x08: fmt.Sprintf("group:%d", id),
			0x10: "mask:", 0x20: "other:",
		}[tag]
		if !ok {
			return "", false
		}
		bits := []byte("rwx")
		for i := range bits {
			if perm&(4>>i) == 0 {
				bits[i] = '-'
			}
		}
		fmt.Fprintf(&text, "%s:%s\n", who, bits)
	}
	return text.String(), true
}
