package chunkfmt

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
)

// The identities of the samples: fixed, so that golden bytes stay.
var (
	sampleStore   = StoreID(fill(16, 0x51))
	sampleSession = SessionID(fill(32, 0x5e))
	sampleMaster  = [32]byte(fill(32, 0x3a))
)

// fill returns n bytes that count up from first.
func fill(n int, first byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func sampleKeys() VolumeKeys { return DeriveVolumeKeys(sampleMaster, sampleStore, "home") }

func sampleSealer(t testing.TB) *Sealer {
	t.Helper()
	k := sampleKeys()
	s, err := NewSealer(&k, sampleSession)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sampleHeader(n uint32, layout Layout) ChunkHeader {
	return ChunkHeader{
		Version: HeaderVersion, Layout: layout, Store: sampleStore, Volume: sampleKeys().ID,
		Session: sampleSession, Chunk: MakeChunkID(3, n, false), First: MakeSeq(3, 1),
	}
}

// chunk puts a chunk together as the store stage does.
type chunk struct {
	bytes []byte
	tags  []Tag
	ends  []int // where each tag's bytes end
	base  int   // what offsets count from
}

func (c *chunk) add(s *Sealer, t Tag, p Private, options, plain []byte) {
	sealed := s.Seal(nil, &t, p, nil, options, plain)
	t.Offset = uint64(len(c.bytes) - c.base)
	var b [TagSize]byte
	t.Put(b[:])
	c.bytes = append(c.bytes, b[:]...)
	c.bytes = append(c.bytes, options...)
	c.bytes = append(c.bytes, sealed...)
	c.tags = append(c.tags, t)
	c.ends = append(c.ends, len(c.bytes))
}

// fillTags adds n tags of several kinds with numbers from first, every third with options.
func (c *chunk) fillTags(s *Sealer, first, n int) {
	for i := first; i < first+n; i++ {
		t := Tag{Kind: KindData, Seq: MakeSeq(3, uint64(i)), Watermark: MakeSeq(3, uint64(i/2)), Restart: MakeSeq(3, uint64(i/2+1))}
		plain := bytes.Repeat([]byte{byte(i)}, 40+13*i%97)
		var options []byte
		if i%3 == 0 {
			t.Kind = KindBatch
			options = AppendOptions(nil, []Option{{OptMediaClass, []byte("archive")}})
		}
		c.add(s, t, Private{RawLen: uint32(len(plain)), Blocks: 1}, options, plain)
	}
}

func (c *chunk) footer() { c.bytes = AppendFooter(c.bytes, c.tags) }

// framed returns a whole chunk of n tags, with its footer.
func framed(t testing.TB, number uint32, n int) *chunk {
	h := sampleHeader(number, LayoutFramed)
	c := &chunk{bytes: h.Append(nil)}
	c.fillTags(sampleSealer(t), 1, n)
	c.footer()
	return c
}

// stream returns chunks of the given numbers of tags one after the other in the layout,
// and all their tags.
func stream(t testing.TB, layout Layout, sizes ...int) (b []byte, tags []Tag) {
	s := sampleSealer(t)
	tape := &chunk{}
	first := 1
	if layout == LayoutTape {
		h := sampleHeader(1, LayoutTape)
		tape.bytes = h.Append(nil)
	}
	for i, n := range sizes {
		h := sampleHeader(uint32(i+1), layout)
		c := &chunk{}
		if layout == LayoutTape {
			var transfer Tag
			tape.bytes, transfer = AppendTransfer(tape.bytes, &h, uint64(len(tape.bytes)))
			tape.tags = append(tape.tags, transfer)
			tape.base = len(tape.bytes) - ChunkHeaderSize
			before := len(tape.tags)
			tape.fillTags(s, first, n)
			tags = append(tags, tape.tags[before:]...)
			first += n
			continue
		}
		c.bytes = h.Append(nil)
		c.fillTags(s, first, n)
		tags = append(tags, c.tags...)
		if layout == LayoutFramed {
			c.footer()
		}
		b = append(b, c.bytes...)
		first += n
	}
	if layout == LayoutTape {
		tape.footer()
		return tape.bytes, tags
	}
	return b, tags
}

// boundedAlloc fails if f allocates more than a small multiple of n bytes, the input's length.
func boundedAlloc(t *testing.T, n int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+64*n); got > limit {
		t.Fatalf("allocated %d bytes for an input of %d", got, n)
	}
}

func name(parts ...any) string { return fmt.Sprint(parts...) }
