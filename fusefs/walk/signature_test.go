package walk

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"
)

func TestSignature(t *testing.T) {
	s := Signature{Dev: 0x801, Ino: 42, Size: 1 << 40, CtimeSec: 1e9, CtimeNsec: 999999999, MtimeSec: -1, MtimeNsec: 5}
	const golden = "01" + // version
		"0000000000000801" + "000000000000002a" + "0000010000000000" + // device, inode, size
		"000000003b9aca00" + "3b9ac9ff" + // ctime
		"ffffffffffffffff" + "00000005" // mtime
	b := s.Append([]byte("x"))[1:]
	if got := hex.EncodeToString(b); got != golden {
		t.Errorf("packed\n%s, want\n%s", got, golden)
	}
	if got, err := ParseSignature(b); err != nil || got != s {
		t.Errorf("parsed %+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, b[1:], append(b, 0), append([]byte{2}, b[1:]...)} {
		if _, err := ParseSignature(bad); err == nil {
			t.Errorf("%x was parsed", bad)
		}
	}
}

func FuzzParseSignature(f *testing.F) {
	f.Add(Signature{Ino: 1}.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSignature(b)
		if err == nil && !bytes.Equal(s.Append(nil), b) {
			t.Errorf("%x packs as %x", b, s.Append(nil))
		}
	})
}

func TestSettled(t *testing.T) {
	for _, c := range []struct {
		nsec uint32
		age  time.Duration
		want bool
	}{
		{1, 0, false},
		{1, 10 * time.Millisecond, false},
		{1, time.Second, true},
		{0, time.Second, false},
		{0, 3 * time.Second, true},
		{1, -time.Hour, false}, // the clock of a network file system may go ahead
	} {
		s := Signature{CtimeSec: 1e9, CtimeNsec: c.nsec}
		if got := s.settled(time.Unix(1e9, int64(c.nsec)).Add(c.age)); got != c.want {
			t.Errorf("ctime with %d ns, %v ago: %v", c.nsec, c.age, got)
		}
	}
}

func FuzzParseDirents(f *testing.F) {
	one := make([]byte, 24)
	one[16], one[18] = 24, 8
	copy(one[19:], "name")
	f.Add(one)
	f.Add(append(one, one...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range parseDirents(nil, b) {
			if e.name == "" || e.name == "." || e.name == ".." {
				t.Errorf("entry %q", e.name)
			}
		}
	})
}
