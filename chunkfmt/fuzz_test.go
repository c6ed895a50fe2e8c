package chunkfmt

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// classified fails unless err is nil or of a class that callers know.
func classified(t *testing.T, err error) {
	t.Helper()
	if err != nil && !isFormat(err) && !errors.Is(err, ErrAuth) {
		t.Fatalf("error without a class: %v", err)
	}
}

func FuzzParseTag(f *testing.F) {
	for _, tag := range framed(f, 1, 4).tags {
		var b [TagSize]byte
		tag.Put(b[:])
		f.Add(b[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tag, err := ParseTag(b)
		classified(t, err)
		if err == nil {
			var again [TagSize]byte
			tag.Put(again[:])
			if !bytes.Equal(again[:], b[:TagSize]) {
				t.Fatalf("%x put again as %x", b[:TagSize], again)
			}
		}
	})
}

func FuzzParseOptions(f *testing.F) {
	p := Predecessor{Ordinal: 1, Last: 2}
	f.Add(AppendOptions(nil, p.Options()))
	f.Add(AppendOptions(nil, []Option{{OptMediaClass, []byte("tape")}, {OptTime, fill(8, 0)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		boundedAlloc(t, len(b), func() {
			o, err := ParseOptions(b)
			classified(t, err)
			if err == nil && !bytes.Equal(AppendOptions(nil, o), b) {
				t.Fatalf("%x appended again differs", b)
			}
			_, err = ParsePredecessor(o)
			classified(t, err)
			_, err = ParseTransfer(b)
			classified(t, err)
		})
	})
}

func FuzzParseChunkHeader(f *testing.F) {
	h := sampleHeader(1, LayoutFramed)
	f.Add(h.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseChunkHeader(b)
		classified(t, err)
		if err == nil && !bytes.Equal(h.Append(nil), b[:ChunkHeaderSize]) {
			t.Fatalf("%x appended again differs", b[:ChunkHeaderSize])
		}
	})
}

func FuzzReadFooter(f *testing.F) {
	f.Add(framed(f, 1, 3).bytes)
	tape, _ := stream(f, LayoutTape, 2, 1)
	f.Add(tape)
	f.Fuzz(func(t *testing.T, b []byte) {
		boundedAlloc(t, len(b), func() {
			tags, err := ReadFooter(bytes.NewReader(b), int64(len(b)))
			classified(t, err)
			if err == nil && !bytes.HasSuffix(b, AppendFooter(nil, tags)) {
				t.Fatal("the footer appended again differs")
			}
		})
	})
}

func FuzzScanner(f *testing.F) {
	for _, layout := range []Layout{LayoutFramed, LayoutTape, LayoutHeaders} {
		b, _ := stream(f, layout, 2, 1)
		f.Add(b, 0, byte(0))
		f.Add(b, 300, byte(1))
		f.Add(b[:len(b)-1], 10, byte(0xff))
	}
	f.Fuzz(func(t *testing.T, b []byte, at int, flip byte) {
		b = bytes.Clone(b)
		if at >= 0 && at < len(b) {
			b[at] ^= flip
		}
		boundedAlloc(t, len(b), func() {
			s := NewScanner(bytes.NewReader(b), int64(len(b)))
			last := int64(-1)
			for {
				e, err := s.Next()
				var damage *DamageError
				switch {
				case err == nil:
					if e.At <= last || e.At+int64(TagSize+e.Tag.StoredLen()) > int64(len(b)) {
						t.Fatalf("entry at %d after %d in %d bytes", e.At, last, len(b))
					}
					last = e.At
					classified(t, s.CheckPayload(e))
				case errors.As(err, &damage):
					if damage.From < last || damage.To <= damage.From || damage.To > int64(len(b)) {
						t.Fatalf("damage from %d to %d after %d in %d bytes", damage.From, damage.To, last, len(b))
					}
					last = damage.From
				default:
					if err != io.EOF {
						classified(t, err)
					}
					if s.Valid() > int64(len(b)) {
						t.Fatalf("valid to %d of %d", s.Valid(), len(b))
					}
					return
				}
			}
		})
	})
}

func FuzzParseBatch(f *testing.F) {
	all, _ := goldenRecords()
	w := NewBatchWriter(make([]byte, 0, 4096), BatchHeader{Cut: 1})
	for _, r := range all {
		w.Add(r)
	}
	f.Add(w.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		boundedAlloc(t, len(b), func() {
			h, got, err := records(b)
			classified(t, err)
			if err != nil {
				return
			}
			w := NewBatchWriter(make([]byte, 0, len(b)), h)
			for _, r := range got {
				if !w.Add(r) {
					t.Fatal("what was read does not fit")
				}
			}
			if !bytes.Equal(w.Bytes(), b) {
				t.Fatal("the batch written again differs")
			}
		})
	})
}

// FuzzRecords reads the same bytes as every key, value and payload.
func FuzzRecords(f *testing.F) {
	all, _ := goldenRecords()
	for _, r := range all {
		f.Add(r.Key)
		f.Add(r.Value)
	}
	info, summary, opened, sealed := SessionInfo{}, SessionSummary{}, ArchiveInfo{}, ArchiveSummary{}
	for _, b := range [][]byte{info.Append(nil), summary.Append(nil), opened.Append(nil), sealed.Append(nil)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(what string, err error, again func() []byte) {
			classified(t, err)
			if err == nil && !bytes.Equal(again(), b) {
				t.Fatalf("%s: %x packed again is %x", what, b, again())
			}
		}
		boundedAlloc(t, len(b), func() {
			inode, err := ParseInode(b)
			same("inode", err, func() []byte { return inode.Append(nil) })
			dirent, err := ParseDirent(b)
			same("dirent", err, func() []byte { return dirent.Append(nil) })
			extent, err := ParseExtent(b)
			same("extent", err, func() []byte { return extent.Append(nil) })
			group, err := ParseGroup(1, b)
			same("group", err, func() []byte { return group.Append(nil) })
			archive, err := ParseArchive(1, b)
			same("archive", err, func() []byte { return archive.Append(nil) })
			ino, err := ParseInodeKey(b)
			same("inode key", err, func() []byte { return InodeKey(ino) })
			seq, err := ParseGroupKey(b)
			same("group key", err, func() []byte { return GroupKey(seq) })
			parent, name, err := ParseNameKey(b)
			same("dirent key", err, func() []byte { return DirentKey(parent, name) })
			of, off, err := ParseExtentKey(b)
			same("extent key", err, func() []byte { return ExtentKey(of, off) })
			number, err := ParseArchiveKey(b)
			same("archive key", err, func() []byte { return ArchiveKey(number) })
			_, err = ParseSessionInfo(b)
			classified(t, err)
			_, err = ParseSessionSummary(b)
			classified(t, err)
			_, err = ParseArchiveInfo(b)
			classified(t, err)
			_, err = ParseArchiveSummary(b)
			classified(t, err)
		})
	})
}

func FuzzDecompress(f *testing.F) {
	raw := text(3000)
	for _, c := range []Codec{CodecStored, CodecS2, CodecZstd} {
		f.Add(byte(c), 3000, compress(f, c, zstd.SpeedDefault, raw))
	}
	f.Fuzz(func(t *testing.T, c byte, rawLen int, src []byte) {
		boundedAlloc(t, len(src), func() {
			got, err := Decompress([]byte("x"), Codec(c), rawLen, src)
			classified(t, err)
			if err == nil && len(got) != 1+rawLen {
				t.Fatalf("%d bytes, want %d", len(got)-1, rawLen)
			}
		})
	})
}

func FuzzOpen(f *testing.F) {
	s := sampleSealer(f)
	tag := Tag{Kind: KindData, Seq: MakeSeq(3, 1)}
	sealed := s.Seal(nil, &tag, Private{RawLen: 5}, nil, []byte("opt"), []byte("plain"))
	var head [TagSize]byte
	tag.Put(head[:])
	f.Add(head[:], []byte("opt"), sealed)
	f.Fuzz(func(t *testing.T, head, options, sealed []byte) {
		tag, err := ParseTag(head)
		if err != nil {
			tag = Tag{OptionsLen: uint32(len(options)), SealedLen: uint32(len(sealed))}
			copy(tag.Nonce[:], head)
		}
		boundedAlloc(t, len(options)+len(sealed), func() {
			plain, _, err := s.Open(nil, &tag, options, sealed)
			classified(t, err)
			if err == nil && string(plain) != "plain" {
				t.Fatalf("opened %q, which nobody sealed", plain)
			}
		})
	})
}
