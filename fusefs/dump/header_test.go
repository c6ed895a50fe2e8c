package dump

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"coffer/chunkfmt"
)

// TestHeaders has archive/tar read what headers of any kind are written as.
func TestHeaders(t *testing.T) {
	name := rapid.Custom(func(t *rapid.T) string {
		raw := rapid.SliceOfN(rapid.ByteRange(1, 255), 1, 300).Draw(t, "name")
		return strings.ReplaceAll(string(raw), "/", "_")
	})
	moment := rapid.Custom(func(t *rapid.T) chunkfmt.Time {
		return chunkfmt.Time{
			Sec:  rapid.OneOf(rapid.Int64Range(-10, 10), rapid.Int64Range(-1<<35, 1<<35)).Draw(t, "sec"),
			Nsec: rapid.OneOf(rapid.Just(uint32(0)), rapid.Uint32Range(0, 999_999_999)).Draw(t, "nsec"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		h := header{
			name: "./" + name.Draw(t, "name"), kind: rapid.SampledFrom([]byte("01234567"[:7])).Draw(t, "kind"),
			mode: rapid.Uint32Range(0, 0o7777).Draw(t, "mode"),
			uid:  rapid.Uint32().Draw(t, "uid"), gid: rapid.Uint32().Draw(t, "gid"),
			mtime: moment.Draw(t, "mtime"), atime: moment.Draw(t, "atime"),
		}
		switch h.kind {
		case kindFile:
			h.size = rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, 1<<50)).Draw(t, "size")
		case kindLink, kindSymlink:
			h.target = name.Draw(t, "target")
		case kindDir:
			h.name += "/"
		case kindChar, kindBlock:
			h.major, h.minor = rapid.Uint32Range(0, 4095).Draw(t, "major"), rapid.Uint32Range(0, 1<<20-1).Draw(t, "minor")
		}
		xattrs := map[string]string{}
		for _, key := range rapid.SliceOfDistinct(rapid.StringMatching(`user\.[a-z.]{1,40}`), rapid.ID).Draw(t, "keys") {
			value := rapid.SliceOf(rapid.Byte()).Draw(t, "value")
			xattrs["SCHILY.xattr."+key] = string(value)
			h.records = append(h.records, xattrRecords(key, value)...)
		}
		got, err := tar.NewReader(bytes.NewReader(h.append(nil))).Next()
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != h.name || got.Linkname != h.target || got.Typeflag != h.kind || got.Size != h.size ||
			got.Mode != int64(h.mode) || got.Uid != int(h.uid) || got.Gid != int(h.gid) ||
			got.Devmajor != int64(h.major) || got.Devminor != int64(h.minor) {
			t.Fatalf("%+v was read as %+v", h, got)
		}
		if want := time.Unix(h.mtime.Sec, int64(h.mtime.Nsec)); !got.ModTime.Equal(want) {
			t.Fatalf("the time %v was read as %v", want, got.ModTime)
		}
		for key, value := range xattrs {
			// The reader takes a record without a value for one that is not there.
			if got.PAXRecords[key] != value {
				t.Fatalf("%s=%q was read as %q", key, value, got.PAXRecords[key])
			}
		}
	})
}

// TestSparse has archive/tar read a file with holes, one of them at its end.
func TestSparse(t *testing.T) {
	parts := []segment{{0, 512}, {102_400, 1024}, {1 << 20, 0}}
	table := appendMap(nil, parts)
	h := header{name: sparseName("./dir/file"), kind: kindFile, size: int64(len(table)) + 1536, records: []record{
		{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", "./dir/file"},
		{"GNU.sparse.realsize", "1048576"},
	}}
	b := append(h.append(nil), table...)
	b = append(b, strings.Repeat("c", 512)+strings.Repeat("d", 1024)...)
	b = append(b, make([]byte, 2*blockSize)...)
	r := tar.NewReader(bytes.NewReader(b))
	got, err := r.Next()
	if err != nil || got.Name != "./dir/file" || got.Size != 1<<20 {
		t.Fatalf("%+v, %v", got, err)
	}
	content, err := io.ReadAll(r)
	want := make([]byte, 1<<20)
	copy(want, strings.Repeat("c", 512))
	copy(want[102_400:], strings.Repeat("d", 1024))
	if err != nil || !bytes.Equal(content, want) {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("behind it: %v", err)
	}
}

func TestDecimal(t *testing.T) {
	for want, at := range map[string]chunkfmt.Time{
		"0": {}, "5.5": {Sec: 5, Nsec: 500_000_000}, "7.000000001": {Sec: 7, Nsec: 1}, "100": {Sec: 100},
		"-5": {Sec: -5}, "-4.5": {Sec: -5, Nsec: 500_000_000}, "-0.000000001": {Sec: -1, Nsec: 999_999_999},
	} {
		if got := decimal(at); got != want {
			t.Errorf("%+v is %s, want %s", at, got, want)
		}
	}
}

func TestACLText(t *testing.T) {
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 210, 4, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
		8, 0, 4, 0, 1, 0, 1, 0, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}
	want := "user::rwx\nuser:1234:rw-\ngroup::r-x\ngroup:65537:r--\nmask::rwx\nother::---\n"
	if got, ok := aclText(acl); !ok || got != want {
		t.Errorf("%q", got)
	}
	for n := range len(acl) {
		if got, ok := aclText(acl[:n]); ok && (n-4)%8 != 0 {
			t.Errorf("of %d bytes: %q", n, got)
		}
	}
	keys := map[string]bool{}
	for _, r := range xattrRecords("system.posix_acl_access", acl) {
		keys[r.key] = true
	}
	if !maps.Equal(keys, map[string]bool{"SCHILY.xattr.system.posix_acl_access": true, "SCHILY.acl.access": true}) {
		t.Errorf("%v", keys)
	}
	if r := xattrRecords("user.a=b%", nil)[0]; r.key != "SCHILY.xattr.user.a%3Db%25" {
		t.Errorf("%q", r.key)
	}
}

func TestInBlocks(t *testing.T) {
	for _, c := range []struct {
		off, n uint64
		want   segment
	}{{0, 512, segment{0, 512}}, {700, 100, segment{512, 512}}, {1, 1024, segment{0, 1536}}, {1900, 100, segment{1536, 464}}} {
		if got := inBlocks(&chunkfmt.Extent{Offset: c.off, Length: c.n, Group: 1}, 2000); got != c.want {
			t.Errorf("%d bytes at %d: %v, want %v", c.n, c.off, got, c.want)
		}
	}
}

// TestJoin: small holes count as data once there are too many ranges.
func TestJoin(t *testing.T) {
	var all []segment
	for _, s := range []segment{{0, 10}, {10, 5}, {20, 5}, {100, 1}} {
		all = join(all, s, 1)
	}
	if len(all) != 3 || all[0] != (segment{0, 15}) {
		t.Errorf("%v", all)
	}
	var fewer []segment
	for _, s := range all {
		fewer = join(fewer, s, 6)
	}
	if len(fewer) != 2 || fewer[0] != (segment{0, 25}) {
		t.Errorf("%v", fewer)
	}
}
