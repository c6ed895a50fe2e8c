package chunkfmt

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func drawTime(t *rapid.T) Time {
	return Time{rapid.Int64().Draw(t, "sec"), rapid.Uint32Max(999999999).Draw(t, "nsec")}
}

func drawInode(t *rapid.T) Inode {
	u32 := rapid.Uint32()
	return Inode{
		Attr: Attr{
			Mode: u32.Draw(t, "mode"), Nlink: u32.Draw(t, "nlink"), Uid: u32.Draw(t, "uid"), Gid: u32.Draw(t, "gid"),
			Rdev: u32.Draw(t, "rdev"), Flags: u32.Draw(t, "flags"),
			Size: rapid.Uint64().Draw(t, "size"), Blocks: rapid.Uint64().Draw(t, "blocks"),
			Atime: drawTime(t), Mtime: drawTime(t), Ctime: drawTime(t), Btime: drawTime(t),
			Parent: Ino(rapid.Uint64().Draw(t, "parent")), NextCookie: rapid.Uint64().Draw(t, "cookie"),
		},
		Target: string(rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "target")),
	}
}

func drawExtent(t *rapid.T) Extent {
	if rapid.Bool().Draw(t, "hole") {
		return Extent{Offset: rapid.Uint64Max(math.MaxInt64).Draw(t, "offset"), Length: rapid.Uint64Max(math.MaxInt64).Draw(t, "length")}
	}
	at := rapid.Uint32Max(MaxRaw).Draw(t, "at")
	return Extent{
		Offset: rapid.Uint64Max(math.MaxInt64).Draw(t, "offset"), Length: rapid.Uint64Max(uint64(MaxRaw-at)).Draw(t, "length"),
		Group: Seq(rapid.Uint64Min(1).Draw(t, "group")), GroupOffset: at,
	}
}

func drawGroup(t *rapid.T) GroupRecord {
	g := GroupRecord{Seq: Seq(rapid.Uint64().Draw(t, "seq"))}
	for range rapid.IntRange(1, 20).Draw(t, "blocks") {
		b := BlockRecord{Length: rapid.Uint32Max(MaxRaw/20).Draw(t, "length")}
		copy(b.Fingerprint[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "fingerprint"))
		g.Blocks, g.RawLen = append(g.Blocks, b), g.RawLen+b.Length
	}
	return g
}

func drawArchive(t *rapid.T) ArchiveRecord {
	u64 := rapid.Uint64()
	return ArchiveRecord{
		Number: rapid.Uint32().Draw(t, "number"), Time: rapid.Int64().Draw(t, "time"),
		Label: string(rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "label")),
		Files: u64.Draw(t, "files"), Bytes: u64.Draw(t, "bytes"), Stored: u64.Draw(t, "stored"), Last: Seq(u64.Draw(t, "last")),
	}
}

func drawHealed(t *rapid.T) Healed {
	n := rapid.Uint32Max(MaxRaw).Draw(t, "length")
	return Healed{
		Offset: rapid.Uint32Max(MaxRaw-n).Draw(t, "offset"), Length: n,
		Group: Seq(rapid.Uint64Min(1).Draw(t, "group")), GroupOffset: rapid.Uint32Max(MaxRaw-n).Draw(t, "at"),
	}
}

// roundTrip checks that parsing gives back what was packed behind other bytes.
func roundTrip[T any](t *rapid.T, want T, pack func(T, []byte) []byte, parse func([]byte) (T, error)) {
	b := pack(want, []byte("front"))
	if !bytes.HasPrefix(b, []byte("front")) {
		t.Fatalf("%T: packed over what was there", want)
	}
	got, err := parse(b[5:])
	if err != nil {
		t.Fatalf("%T: %v", want, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestRecordRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roundTrip(t, drawInode(t), func(v Inode, b []byte) []byte { return v.Append(b) }, ParseInode)
		roundTrip(t, drawExtent(t), func(v Extent, b []byte) []byte { return v.Append(b) }, ParseExtent)
		d := Dirent{Ino(rapid.Uint64Min(1).Draw(t, "ino")), rapid.Byte().Draw(t, "type"), rapid.Uint64Range(3, math.MaxInt64).Draw(t, "cookie")}
		roundTrip(t, d, func(v Dirent, b []byte) []byte { return v.Append(b) }, ParseDirent)
		g := drawGroup(t)
		roundTrip(t, g, func(v GroupRecord, b []byte) []byte { return v.Append(b) },
			func(b []byte) (GroupRecord, error) { return ParseGroup(g.Seq, b) })
		a := drawArchive(t)
		roundTrip(t, a, func(v ArchiveRecord, b []byte) []byte { return v.Append(b) },
			func(b []byte) (ArchiveRecord, error) { return ParseArchive(a.Number, b) })
		h := drawHealed(t)
		roundTrip(t, h, func(v Healed, b []byte) []byte { return v.Append(b) },
			func(b []byte) (Healed, error) { return ParseHealed(h.Offset, b) })
	})
}

func TestKeysSortAndParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		if (a < b) != (bytes.Compare(InodeKey(Ino(a)), InodeKey(Ino(b))) < 0) {
			t.Fatal("inode keys do not sort by number")
		}
		name := string(rapid.SliceOfN(rapid.Byte(), 1, 30).Draw(t, "name"))
		if !bytes.HasPrefix(DirentKey(Ino(a), name), InodeKey(Ino(a))) {
			t.Fatal("a directory is not the prefix of its entries")
		}
		if ino, n, err := ParseNameKey(XattrKey(Ino(a), name)); ino != Ino(a) || n != name || err != nil {
			t.Fatal(ino, n, err)
		}
		if ino, off, err := ParseExtentKey(ExtentKey(Ino(a), b)); ino != Ino(a) || off != b || err != nil {
			t.Fatal(ino, off, err)
		}
		if s, err := ParseGroupKey(BadKey(Seq(a))); s != Seq(a) || err != nil {
			t.Fatal(s, err)
		}
		if s, off, err := ParseHealedKey(HealedKey(Seq(a), uint32(b))); s != Seq(a) || off != uint32(b) || err != nil {
			t.Fatal(s, off, err)
		}
		if !bytes.HasPrefix(HealedKey(Seq(a), uint32(b)), BadKey(Seq(a))) {
			t.Fatal("a damaged group is not the prefix of its blocks")
		}
		if n, err := ParseArchiveKey(ArchiveKey(uint32(a))); n != uint32(a) || err != nil {
			t.Fatal(n, err)
		}
		if ino, err := ParseInodeKey(OrphanKey(Ino(b))); ino != Ino(b) || err != nil {
			t.Fatal(ino, err)
		}
	})
}

func TestParseRecordsRefuse(t *testing.T) {
	late := Inode{Attr: Attr{Ctime: Time{Nsec: 1000000000}}}
	low, none, high := Dirent{1, 1, 2}, Dirent{0, 1, 5}, Dirent{1, 1, 1 << 63}
	far, hole, wide := Extent{Offset: 1 << 63}, Extent{Length: 1, GroupOffset: 1}, Extent{Length: MaxRaw, Group: 1, GroupOffset: 1}
	sum := GroupRecord{RawLen: 2, Blocks: []BlockRecord{{Length: 1}}}
	nowhere, beyond := Healed{Length: 1}, Healed{Length: 1, Group: 1}
	big := GroupRecord{RawLen: MaxRaw + 1, Blocks: []BlockRecord{{Length: MaxRaw + 1}}}
	parsers := map[string]func([]byte) error{
		"inode":   func(b []byte) error { _, err := ParseInode(b); return err },
		"dirent":  func(b []byte) error { _, err := ParseDirent(b); return err },
		"extent":  func(b []byte) error { _, err := ParseExtent(b); return err },
		"group":   func(b []byte) error { _, err := ParseGroup(1, b); return err },
		"archive": func(b []byte) error { _, err := ParseArchive(1, b); return err },
		"name":    func(b []byte) error { _, _, err := ParseNameKey(b); return err },
		"ino":     func(b []byte) error { _, err := ParseInodeKey(b); return err },
		"offset":  func(b []byte) error { _, _, err := ParseExtentKey(b); return err },
		"number":  func(b []byte) error { _, err := ParseArchiveKey(b); return err },
		"healed":  func(b []byte) error { _, err := ParseHealed(MaxRaw, b); return err },
		"block":   func(b []byte) error { _, _, err := ParseHealedKey(b); return err },
	}
	for _, c := range []struct {
		parser string
		b      []byte
	}{
		{"inode", late.Append(nil)}, {"inode", make([]byte, AttrSize+MaxTarget+1)},
		{"dirent", low.Append(nil)}, {"dirent", none.Append(nil)}, {"dirent", high.Append(nil)},
		{"extent", far.Append(nil)}, {"extent", hole.Append(nil)}, {"extent", wide.Append(nil)},
		{"group", sum.Append(nil)}, {"group", big.Append(nil)}, {"group", make([]byte, 4)},
		{"archive", make([]byte, archiveFixed+MaxLabel+1)},
		{"healed", nowhere.Append(nil)}, {"healed", beyond.Append(nil)},
	} {
		if err := parsers[c.parser](c.b); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s of %d bytes: %v", c.parser, len(c.b), err)
		}
	}
	for what, parse := range parsers {
		for _, n := range []int{0, 3} {
			if err := parse(make([]byte, n)); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s of %d bytes: %v", what, n, err)
			}
		}
	}
}

func TestSessionPayloads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(what string) string { return string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, what)) }
		u64 := func(what string) uint64 { return rapid.Uint64().Draw(t, what) }
		chain := Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "chain"))
		roundTrip(t, SessionInfo{int64(u64("time")), text("host"), text("user"), text("program"), text("volume"), chain},
			func(v SessionInfo, b []byte) []byte { return v.Append(b) }, ParseSessionInfo)
		roundTrip(t, SessionSummary{int64(u64("time")), Seq(u64("last")), chain, u64("batches"), u64("groups"), u64("raw"), u64("stored")},
			func(v SessionSummary, b []byte) []byte { return v.Append(b) }, ParseSessionSummary)
		roundTrip(t, ArchiveInfo{uint32(u64("number")), int64(u64("time")), text("label")},
			func(v ArchiveInfo, b []byte) []byte { return v.Append(b) }, ParseArchiveInfo)
		roundTrip(t, ArchiveSummary{drawArchive(t), chain},
			func(v ArchiveSummary, b []byte) []byte { return v.Append(b) }, ParseArchiveSummary)

		want := Predecessor{rapid.Uint32().Draw(t, "ordinal"), SessionID(chain), Seq(u64("last"))}
		o, err := ParseOptions(AppendOptions(nil, want.Options()))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParsePredecessor(o); err != nil || got != want {
			t.Fatal(got, err)
		}
	})
}

func TestSessionPayloadsRefuse(t *testing.T) {
	info, summary := SessionInfo{Host: "h"}, SessionSummary{Last: 1}
	opened, sealed := ArchiveInfo{Number: 1}, ArchiveSummary{Archive: ArchiveRecord{Label: "l"}}
	for what, c := range map[string]struct {
		whole []byte
		parse func([]byte) error
	}{
		"session header": {info.Append(nil), func(b []byte) error { _, err := ParseSessionInfo(b); return err }},
		"session footer": {summary.Append(nil), func(b []byte) error { _, err := ParseSessionSummary(b); return err }},
		"archive header": {opened.Append(nil), func(b []byte) error { _, err := ParseArchiveInfo(b); return err }},
		"archive footer": {sealed.Append(nil), func(b []byte) error { _, err := ParseArchiveSummary(b); return err }},
	} {
		for n := range len(c.whole) {
			if err := c.parse(c.whole[:n]); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTruncated) {
				t.Errorf("%s cut at %d: %v", what, n, err)
			}
		}
		if err := c.parse(AppendOptions(c.whole, []Option{{0x4000, []byte("later")}})); err != nil {
			t.Errorf("%s with a field of a later program: %v", what, err)
		}
	}
	if _, err := ParsePredecessor(nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("session header without predecessor: %v", err)
	}
}
