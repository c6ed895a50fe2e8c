package chunkfmt

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestSealRoundTrip(t *testing.T) {
	s := sampleSealer(t)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "plain")
		options := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "options")
		content := rapid.SliceOfN(rapid.Byte(), 0, 48).Draw(t, "content")
		want := Private{
			Codec:  Codec(rapid.Byte().Draw(t, "codec")),
			Level:  rapid.Int8().Draw(t, "level"),
			Marks:  Marks(rapid.Byte().Draw(t, "marks")),
			RawLen: rapid.Uint32Range(0, MaxRaw).Draw(t, "rawlen"),
			Blocks: rapid.Uint16().Draw(t, "blocks"),
		}
		tag := Tag{Kind: KindData, Seq: MakeSeq(1, rapid.Uint64Range(1, 99).Draw(t, "seq"))}
		front := fill(5, 0)
		out := s.Seal(bytes.Clone(front), &tag, want, content, options, plain)
		sealed := out[len(front):]
		if !bytes.HasPrefix(out, front) || len(sealed) != len(plain)+SealOverhead || tag.StoredLen() != len(options)+len(sealed) {
			t.Fatalf("%d sealed bytes after %x, tag %+v", len(sealed), out[:len(front)], tag)
		}
		if err := tag.Check(options, sealed); err != nil {
			t.Fatal(err)
		}
		if p := s.OpenPrivate(&tag); p != want {
			t.Fatalf("peeked %+v, want %+v", p, want)
		}
		got, p, err := s.Open(nil, &tag, options, sealed)
		if err != nil || !bytes.Equal(got, plain) || p != want {
			t.Fatalf("%x, %+v, %v; want %x, %+v", got, p, err, plain, want)
		}

		// In place, with room behind.
		buf := append(make([]byte, 0, len(plain)+SealOverhead), plain...)
		again := Tag{Kind: KindData, Seq: tag.Seq}
		if out := s.Seal(buf[:0], &again, want, content, options, buf); !bytes.Equal(out, sealed) || again != tag {
			t.Fatalf("sealed in place %x, want %x", out, sealed)
		}
		if got, _, err = s.Open(sealed[:0], &tag, options, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opened in place %x, %v", got, err)
		}
	})
}

func TestPlacementIsNotAuthenticated(t *testing.T) {
	s := sampleSealer(t)
	tag := Tag{Kind: KindData, Seq: MakeSeq(3, 1)}
	sealed := s.Seal(nil, &tag, Private{RawLen: 5}, nil, nil, []byte("plain"))
	tag.Watermark, tag.Restart, tag.Offset, tag.CRC = 1, 2, 3, 4
	tag.Flags |= FlagCopy
	if _, _, err := s.Open(nil, &tag, nil, sealed); err != nil {
		t.Fatal(err)
	}
}

func TestEverythingElseIsAuthenticated(t *testing.T) {
	s, keys := sampleSealer(t), sampleKeys()
	other := keys
	other.ID[0]++
	otherVolume, _ := NewSealer(&other, sampleSession)
	otherSession, _ := NewSealer(&keys, SessionID{1})
	options := AppendOptions(nil, []Option{{OptMediaClass, []byte("tape")}})
	sealed := []byte(nil)
	for what, open := range map[string]func(t *Tag) (*Sealer, []byte, []byte){
		"kind":    func(t *Tag) (*Sealer, []byte, []byte) { t.Kind++; return s, options, sealed },
		"version": func(t *Tag) (*Sealer, []byte, []byte) { t.Version++; return s, options, sealed },
		"flags":   func(t *Tag) (*Sealer, []byte, []byte) { t.Flags |= FlagMore; return s, options, sealed },
		"seq":     func(t *Tag) (*Sealer, []byte, []byte) { t.Seq++; return s, options, sealed },
		"nonce":   func(t *Tag) (*Sealer, []byte, []byte) { t.Nonce[11] ^= 1; return s, options, sealed },
		"private": func(t *Tag) (*Sealer, []byte, []byte) { t.Private[15] ^= 1; return s, options, sealed },
		"options": func(t *Tag) (*Sealer, []byte, []byte) {
			o := bytes.Clone(options)
			o[9] ^= 1
			return s, o, sealed
		},
		"volume":  func(t *Tag) (*Sealer, []byte, []byte) { return otherVolume, options, sealed },
		"session": func(t *Tag) (*Sealer, []byte, []byte) { return otherSession, options, sealed },
		"payload": func(t *Tag) (*Sealer, []byte, []byte) {
			b := bytes.Clone(sealed)
			b[0] ^= 1
			return s, options, b
		},
	} {
		tag := Tag{Kind: KindBatch, Seq: MakeSeq(3, 1)}
		sealed = s.Seal(nil, &tag, Private{RawLen: 5}, nil, options, []byte("plain"))
		opener, o, b := open(&tag)
		if _, _, err := opener.Open(nil, &tag, o, b); !errors.Is(err, ErrAuth) {
			t.Errorf("%s changed: %v", what, err)
		}
	}
	tag := Tag{Kind: KindBatch, Seq: MakeSeq(3, 1)}
	sealed = s.Seal(nil, &tag, Private{}, nil, nil, nil)
	if _, _, err := s.Open(nil, &tag, nil, sealed[:15]); !errors.Is(err, ErrDamaged) {
		t.Errorf("short: %v", err)
	}
}

// TestNonces: the same thing sealed again gives the same bytes, and whatever differs in
// plaintext or associated data gives another nonce.
func TestNonces(t *testing.T) {
	s := sampleSealer(t)
	seen := map[[12]byte]string{}
	seal := func(what string, tag Tag, p Private, content, options, plain []byte) {
		s.Seal(nil, &tag, p, content, options, plain)
		if before, ok := seen[tag.Nonce]; ok {
			t.Errorf("%s has the nonce of %s", what, before)
		}
		seen[tag.Nonce] = what
	}
	tag, p, content := Tag{Kind: KindData, Seq: 5}, Private{RawLen: 9}, []byte("fingerprint")
	seal("the first", tag, p, content, nil, []byte("x"))
	seal("content", tag, p, []byte("fingerprinT"), nil, []byte("x"))
	seal("no content", tag, p, nil, nil, []byte("x"))
	seal("no content, other plaintext", tag, p, nil, nil, []byte("y"))
	seal("length", tag, p, content, nil, []byte("xx"))
	seal("options", tag, p, content, []byte("o"), []byte("x"))
	seal("options against content", tag, p, content[1:], content[:1], []byte("x"))
	seal("seq", Tag{Kind: KindData, Seq: 6}, p, content, nil, []byte("x"))
	seal("kind", Tag{Kind: KindBatch, Seq: 5}, p, content, nil, []byte("x"))
	seal("more", Tag{Kind: KindData, Flags: FlagMore, Seq: 5}, p, content, nil, []byte("x"))
	seal("codec", tag, Private{RawLen: 9, Codec: CodecS2}, content, nil, []byte("x"))
	seal("level", tag, Private{RawLen: 9, Level: -1}, content, nil, []byte("x"))
	seal("marks", tag, Private{RawLen: 9, Marks: MarkSnooped}, content, nil, []byte("x"))

	one, two := Tag{Kind: KindData, Seq: 5}, Tag{Kind: KindData, Seq: 5, Flags: FlagCopy, Offset: 7, Watermark: 3}
	if a, b := s.Seal(nil, &one, p, content, nil, []byte("x")), s.Seal(nil, &two, p, content, nil, []byte("x")); !bytes.Equal(a, b) {
		t.Error("a copy is sealed differently")
	}
}

func TestKeysDifferByVolumeAndStore(t *testing.T) {
	seen := map[[32]byte]bool{}
	for _, k := range []VolumeKeys{
		sampleKeys(),
		DeriveVolumeKeys(sampleMaster, sampleStore, "other"),
		DeriveVolumeKeys(sampleMaster, StoreID{}, "home"),
		DeriveVolumeKeys([32]byte{}, sampleStore, "home"),
	} {
		for _, secret := range [][32]byte{k.Seal, k.Fingerprint, k.Cut} {
			if seen[secret] {
				t.Fatal("two keys are the same")
			}
			seen[secret] = true
		}
	}
	derived, copied := sampleKeys(), VolumeKeys{Fingerprint: sampleKeys().Fingerprint}
	if a, b := derived.Sum([]byte("block")), copied.Sum([]byte("block")); a != b {
		t.Errorf("fingerprints %v and %v of the same keys", a, b)
	}
}

func TestSealingDoesNotAllocate(t *testing.T) {
	s, keys := sampleSealer(t), sampleKeys()
	plain := make([]byte, 4096)
	sealed, opened := make([]byte, 0, len(plain)+SealOverhead), make([]byte, 0, len(plain))
	options := AppendOptions(nil, []Option{{OptMediaClass, []byte("tape")}})
	content := fill(64, 0)
	n := testing.AllocsPerRun(200, func() {
		tag := Tag{Kind: KindData, Seq: MakeSeq(3, 9)}
		b := s.Seal(sealed, &tag, Private{RawLen: 4096}, content, options, plain)
		if _, _, err := s.Open(opened, &tag, options, b); err != nil {
			t.Error(err)
		}
		keys.Sum(plain)
	})
	// A pool may lose an item to the collector or, under the race detector, at random.
	if n > 0 && !raceEnabled {
		t.Errorf("%v allocations a call", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	s, keys := sampleSealer(t), sampleKeys()
	want := keys.Sum([]byte("block"))
	var wg sync.WaitGroup
	for worker := range uint64(4) {
		wg.Go(func() {
			for n := range uint64(50) {
				tag := Tag{Kind: KindData, Seq: MakeSeq(1, worker*50+n)}
				plain := fill(100, byte(n))
				sealed := s.Seal(nil, &tag, Private{RawLen: 100}, nil, nil, plain)
				got, p, err := s.Open(nil, &tag, nil, sealed)
				if err != nil || !bytes.Equal(got, plain) || p.RawLen != 100 {
					t.Errorf("%v: %x, %+v, %v", tag.Seq, got, p, err)
				}
				if fp := keys.Sum([]byte("block")); fp != want {
					t.Errorf("fingerprint %v, want %v", fp, want)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{4 << 10, 256 << 10, 1 << 20} {
		b.Run(name(size>>10, "KiB"), func(b *testing.B) {
			s, plain, content := sampleSealer(b), make([]byte, size), fill(16, 0)
			dst := make([]byte, 0, size+SealOverhead)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				tag := Tag{Kind: KindData, Seq: 1}
				s.Seal(dst, &tag, Private{}, content, nil, plain)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{4 << 10, 256 << 10, 1 << 20} {
		b.Run(name(size>>10, "KiB"), func(b *testing.B) {
			s := sampleSealer(b)
			tag := Tag{Kind: KindData, Seq: 1}
			sealed := s.Seal(nil, &tag, Private{}, nil, nil, make([]byte, size))
			dst := make([]byte, 0, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.Open(dst, &tag, nil, sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFingerprint(b *testing.B) {
	keys, block := sampleKeys(), make([]byte, 256<<10)
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	for b.Loop() {
		keys.Sum(block)
	}
}
