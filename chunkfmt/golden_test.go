package chunkfmt

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// field is a stretch of a golden dump and what it is.
type field struct {
	size int
	what string
}

var (
	tagFields = []field{
		{8, "sync magic"}, {1, "version"}, {1, "kind"}, {1, "flags"}, {1, "reserved"},
		{4, "options length"}, {4, "sealed length"}, {4, "CRC32C of options and sealed bytes"},
		{8, "sequence number"}, {8, "watermark"}, {8, "restart"}, {8, "offset in chunk"},
		{12, "nonce"}, {16, "private, encrypted"}, {8, "reserved"}, {4, "CRC32C of the tag"},
	}
	headerFields = []field{
		{8, "magic"}, {2, "version"}, {1, "layout"}, {5, "reserved"}, {16, "store"}, {16, "volume"},
		{32, "session"}, {8, "chunk"}, {8, "first sequence number"}, {156, "reserved"}, {4, "CRC32C of the header"},
	}
	footerHeadFields = []field{
		{8, "footer magic"}, {2, "version"}, {2, "reserved"}, {4, "count"}, {8, "length of the body"},
		{4, "reserved"}, {4, "CRC32C of the head"},
	}
	trailerFields = []field{
		{4, "count"}, {2, "version"}, {2, "reserved"}, {8, "length of the chunk"}, {32, "BLAKE3 of head and directory"},
		{4, "reserved"}, {4, "CRC32C of the trailer"}, {8, "end magic"},
	}
	batchFields = []field{
		{2, "version"}, {2, "reserved"}, {4, "part"}, {4, "archive"}, {4, "count of records"},
		{8, "cut"}, {8, "prefix"}, {8, "time"}, {32, "chain before the batch"},
	}
	attrFields = []field{
		{4, "mode"}, {4, "nlink"}, {4, "uid"}, {4, "gid"}, {4, "rdev"}, {4, "flags"}, {8, "size"}, {8, "blocks"},
		{8, "atime s"}, {4, "atime ns"}, {8, "mtime s"}, {4, "mtime ns"}, {8, "ctime s"}, {4, "ctime ns"},
		{8, "btime s"}, {4, "btime ns"}, {8, "parent"}, {8, "next cookie"},
	}
)

// optionFields are the fields of TLVs.
func optionFields(b []byte, what func(typ uint16) string) (f []field) {
	o, err := parseTLVs(b)
	if err != nil {
		return []field{{len(b), "options that do not parse"}}
	}
	for _, opt := range o {
		f = append(f, field{2, "type: " + what(opt.Type)}, field{2, "reserved"}, field{4, "length"})
		if len(opt.Value) > 0 {
			f = append(f, field{len(opt.Value), what(opt.Type)})
		}
	}
	return f
}

func optionName(typ uint16) string {
	return map[uint16]string{
		OptPredecessorOrdinal: "predecessor ordinal", OptPredecessorID: "predecessor session",
		OptLastSeq: "last sequence number", OptChunkHeader: "chunk header", OptMediaClass: "media class", OptTime: "time",
	}[typ]
}

func fieldName(typ uint16) string {
	return map[uint16]string{
		fieldTime: "time", fieldHost: "host", fieldUser: "user", fieldProgram: "program", fieldVolume: "volume name",
		fieldChain: "chain", fieldLast: "last sequence number", fieldBatches: "batches", fieldGroups: "groups", fieldRaw: "raw bytes",
		fieldStored: "stored bytes", fieldNumber: "archive number", fieldLabel: "label", fieldArchive: "archive record",
	}[typ]
}

// chunkFields are the fields of a framed chunk.
func chunkFields(c *chunk) []field {
	f := append([]field(nil), headerFields...)
	for i, t := range c.tags {
		at := c.ends[i] - t.StoredLen()
		f = append(f, tagFields...)
		f = append(f, optionFields(c.bytes[at:at+int(t.OptionsLen)], optionName)...)
		f = append(f, field{int(t.SealedLen) - SealOverhead, "ciphertext"}, field{SealOverhead, "GCM tag"})
	}
	f = append(f, footerHeadFields...)
	for i := range c.tags {
		f = append(f, field{TagSize, fmt.Sprintf("tag %d of the directory", i+1)})
	}
	return append(f, trailerFields...)
}

// dump writes b with an offset in front and the name of its field behind each line.
func dump(title string, b []byte, fields []field) string {
	var out strings.Builder
	fmt.Fprintf(&out, "# %s: %d bytes\n", title, len(b))
	at := 0
	for _, f := range fields {
		what := f.what
		for size := f.size; size > 0; {
			n := min(size, 16, len(b)-at)
			if n <= 0 {
				fmt.Fprintf(&out, "# %s is missing\n", what)
				break
			}
			line := fmt.Sprintf("%04x  % x", at, b[at:at+n])
			out.WriteString(strings.TrimRight(fmt.Sprintf("%-55s%s", line, what), " ") + "\n")
			at, size, what = at+n, size-n, ""
		}
	}
	if at < len(b) {
		fmt.Fprintf(&out, "# and without a name: % x\n", b[at:])
	}
	return out.String()
}

// undump gives back the bytes of a dump.
func undump(t *testing.T, text string) (b []byte) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimRight(line, "\n")
		part, err := hex.DecodeString(strings.ReplaceAll(line[6:min(len(line), 54)], " ", ""))
		if err != nil {
			t.Fatalf("golden line %q: %v", line, err)
		}
		b = append(b, part...)
	}
	return b
}

func golden(t *testing.T, name, got string) string {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s: the format has changed: %s", name, diff)
	}
	return string(want)
}

// goldenChunk is a session in one chunk: header, data, batch, footer.
func goldenChunk(t *testing.T) *chunk {
	s := sampleSealer(t)
	h := sampleHeader(1, LayoutFramed)
	c := &chunk{bytes: h.Append(nil)}
	before := Predecessor{Ordinal: 2, ID: SessionID(fill(32, 0x20)), Last: MakeSeq(2, 99)}
	info := SessionInfo{Time: 1700000000000000000, Host: "host", User: "user", Program: "coffer 1", Volume: "home", Chain: Hash(fill(32, 0xc0))}
	c.add(s, Tag{Kind: KindSessionHeader, Seq: MakeSeq(3, 1), Watermark: before.Last, Restart: MakeSeq(3, 1)},
		Private{RawLen: uint32(len(info.Append(nil)))}, AppendOptions(nil, before.Options()), info.Append(nil))
	c.add(s, Tag{Kind: KindData, Seq: MakeSeq(3, 2), Watermark: MakeSeq(3, 1), Restart: MakeSeq(3, 2)},
		Private{Marks: MarkIncompressible, RawLen: 10, Blocks: 1}, nil, []byte("ten bytes."))
	c.add(s, Tag{Kind: KindBatch, Seq: MakeSeq(3, 3), Watermark: MakeSeq(3, 1), Restart: MakeSeq(3, 2)},
		Private{RawLen: BatchHeaderSize}, AppendOptions(nil, []Option{{OptMediaClass, []byte("fast")}}), NewBatchWriter(nil, BatchHeader{Cut: 1}).Bytes())
	c.footer()
	return c
}

func TestGoldenChunk(t *testing.T) {
	c := goldenChunk(t)
	b := undump(t, golden(t, "chunk", dump("a framed chunk", c.bytes, chunkFields(c))))
	if !bytes.Equal(b, c.bytes) {
		t.Fatal("the golden dump is not the chunk")
	}
	s := sampleSealer(t)
	for _, e := range scan(b).entries {
		at := e.At + TagSize + int64(e.Tag.OptionsLen)
		if _, _, err := s.Open(nil, &e.Tag, e.Options, b[at:at+int64(e.Tag.SealedLen)]); err != nil {
			t.Error(err)
		}
	}
}

func TestGoldenTransfer(t *testing.T) {
	h := sampleHeader(2, LayoutHeaders)
	b, tag := AppendTransfer(nil, &h, 4096)
	f := append(append([]field(nil), tagFields...), field{2, "type: chunk header"}, field{2, "reserved"}, field{4, "length"})
	b = undump(t, golden(t, "transfer", dump("a header transfer", b, append(f, headerFields...))))
	if got, err := ParseTag(b); err != nil || got != tag {
		t.Errorf("%+v, %v; want %+v", got, err, tag)
	}
	h.Layout = LayoutTaped
	if got, err := ParseTransfer(b[TagSize:]); err != nil || got != h {
		t.Errorf("%+v, %v; want %+v", got, err, h)
	}
}

// goldenRecords has one record of each kind, with the fields of its value.
func goldenRecords() (all []Record, fields [][]field) {
	tm := Time{1700000000, 123456789}
	inode := Inode{Attr{0o120777, 1, 1000, 100, 7, 0, 6, 1, tm, tm, tm, tm, 0, 0}, "target"}
	dirent := Dirent{5, 10, 3}
	extent := Extent{4096, 10, MakeSeq(3, 2), 100}
	group := GroupRecord{MakeSeq(3, 2), 110, []BlockRecord{{Fingerprint(fill(16, 0xf0)), 100}, {Fingerprint(fill(16, 0x0f)), 10}}}
	archive := ArchiveRecord{4, 1700000000000000000, "label", 1, 2, 3, MakeSeq(3, 9)}
	block := []field{{16, "fingerprint"}, {4, "length"}}
	put := func(k RecordKind, key, value []byte, f ...field) {
		all, fields = append(all, Record{OpPut, k, key, value}), append(fields, f)
	}
	put(RecInode, InodeKey(5), inode.Append(nil), append(append([]field(nil), attrFields...), field{6, "target"})...)
	put(RecDirent, DirentKey(1, "name"), dirent.Append(nil), field{8, "inode"}, field{1, "type"}, field{8, "cookie"})
	put(RecXattr, XattrKey(5, "user.a"), []byte("value"), field{5, "value"})
	put(RecExtent, ExtentKey(5, 4096), extent.Append(nil), field{8, "offset"}, field{8, "length"}, field{8, "group"}, field{4, "offset in group"})
	put(RecOrphan, OrphanKey(5), nil)
	put(RecGroup, GroupKey(group.Seq), group.Append(nil), append(append([]field{{4, "raw length"}}, block...), block...)...)
	put(RecArchive, ArchiveKey(4), archive.Append(nil), field{8, "time"}, field{8, "files"}, field{8, "bytes"}, field{8, "stored"}, field{8, "last"}, field{5, "label"})
	put(RecMeta, MetaKey("next"), []byte("v"), field{1, "value"})
	put(RecBad, BadKey(9), []byte("rot"), field{3, "why"})
	healed := Healed{100, 10, MakeSeq(4, 7), 20}
	put(RecHealed, HealedKey(9, healed.Offset), healed.Append(nil), field{4, "length"}, field{8, "group"}, field{4, "offset in group"})
	removed := Removed{MakeSeq(3, 2), MakeSeq(3, 7)}
	put(RecRemoved, RemovedKey(removed.First), removed.Append(nil), field{8, "last"})
	put(RecMoved, RemovedKey(removed.First), removed.Append(nil), field{8, "last"})
	all, fields = append(all, Record{OpDelete, RecInode, InodeKey(6), nil}), append(fields, nil)
	return all, fields
}

func TestGoldenBatch(t *testing.T) {
	all, values := goldenRecords()
	w := NewBatchWriter(make([]byte, 0, 4096), BatchHeader{
		Part: 1, Archive: 4, Cut: 12, Prefix: MakeSeq(3, 2), Time: 1700000000000000000, Prev: Hash(fill(32, 0xc0)),
	})
	f := append([]field(nil), batchFields...)
	for i, r := range all {
		if !w.Add(r) {
			t.Fatalf("%v does not fit", r.Kind)
		}
		f = append(f, field{1, "operation"}, field{1, "kind: " + r.Kind.String()}, field{2, "key length"}, field{4, "value length"}, field{len(r.Key), "key"})
		f = append(f, values[i]...)
	}
	b := undump(t, golden(t, "batch", dump("a batch with a record of each kind", w.Bytes(), f)))
	if _, got, err := records(b); err != nil || len(got) != len(all) {
		t.Errorf("%d records, %v; want %d", len(got), err, len(all))
	}
}

func TestGoldenPayloads(t *testing.T) {
	chain := Hash(fill(32, 0xc0))
	info := SessionInfo{1700000000000000000, "host", "user", "coffer 1", "home", chain}
	summary := SessionSummary{1700000001000000000, MakeSeq(3, 9), chain, 2, 3, 4, 5}
	opened := ArchiveInfo{4, 1700000000000000000, "label"}
	sealed := ArchiveSummary{ArchiveRecord{4, 1700000001000000000, "label", 1, 2, 3, MakeSeq(3, 9)}, chain}
	var out strings.Builder
	for _, p := range []struct {
		title string
		b     []byte
	}{
		{"session header", info.Append(nil)}, {"session footer", summary.Append(nil)},
		{"archive header", opened.Append(nil)}, {"archive footer", sealed.Append(nil)},
	} {
		out.WriteString(dump(p.title, p.b, optionFields(p.b, fieldName)) + "\n")
	}
	golden(t, "payloads", out.String())
}

// TestGoldenSecrets keeps what is derived: a change of it makes every store unreadable.
func TestGoldenSecrets(t *testing.T) {
	k := sampleKeys()
	s := sampleSealer(t)
	tag := Tag{Kind: KindData, Seq: MakeSeq(3, 2)}
	p := Private{CodecZstd, -3, MarkSnooped | MarkFileGroup, 1000, 7}
	packed := p.pack()
	sealed := s.Seal(nil, &tag, p, fill(16, 1), []byte("options"), []byte("plain"))
	fp, start := k.Sum([]byte("block")), SessionChain(Hash(fill(32, 1)), sampleSession)
	next := NextChain(start, []byte("payload"))
	var out strings.Builder
	for _, d := range []struct {
		title string
		b     []byte
		f     []field
	}{
		{"volume id", k.ID[:], nil},
		{"volume key: seal", k.Seal[:], nil},
		{"volume key: fingerprint", k.Fingerprint[:], nil},
		{"volume key: cut", k.Cut[:], nil},
		{"fingerprint", fp[:], nil},
		{"private, packed", packed[:], []field{{1, "codec"}, {1, "level"}, {1, "marks"}, {1, "reserved"}, {4, "raw length"}, {2, "blocks"}, {6, "reserved"}}},
		{"private, encrypted", tag.Private[:], nil},
		{"nonce", tag.Nonce[:], nil},
		{"sealed", sealed, []field{{5, "ciphertext"}, {16, "GCM tag"}}},
		{"chain at the start of a session", start[:], nil},
		{"chain after a batch", next[:], nil},
	} {
		if d.f == nil {
			d.f = []field{{len(d.b), ""}}
		}
		out.WriteString(dump(d.title, d.b, d.f) + "\n")
	}
	golden(t, "secrets", out.String())
}
