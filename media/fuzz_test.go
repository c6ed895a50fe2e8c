package media

import (
	"bytes"
	"testing"

	"coffer/chunkfmt"
)

func FuzzStore(f *testing.F) {
	f.Add(encodeStore(chunkfmt.StoreID{1, 2, 3}))
	f.Add([]byte(storeMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decodeStore(b)
		if err == nil && !bytes.Equal(encodeStore(id), b[:storeSize]) {
			t.Errorf("%x was read as %v", b, id)
		}
	})
}

func FuzzCatalogRecord(f *testing.F) {
	for _, r := range []record{
		{},
		{id: 1, gone: true},
		{id: 1 << 40, size: 1 << 27, tags: 3, complete: true, ranges: []seqRange{{1, 2}, {5, 5}}},
	} {
		f.Add(r.append(nil))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := readRecord(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(b, rec.append(nil)) {
			t.Errorf("%x was read as %+v", b, rec)
		}
		// The body alone, with the checksum put right, gets past the first gate.
		if len(b) < recordBodySize {
			return
		}
		forged := (&record{}).append(nil)[:recordHeadSize]
		forged = append(forged, b...)
		head := forged[:recordHeadSize]
		head[0], head[1], head[2], head[3] = 0, 0, byte(len(b)>>8), byte(len(b))
		sum := chunkfmt.Checksum(head[:4], b)
		head[4], head[5], head[6], head[7] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		rec, err = readRecord(bytes.NewReader(forged))
		if err == nil && !bytes.Equal(rec.append(nil), forged) {
			t.Errorf("%x was read as %+v", forged, rec)
		}
	})
}

func TestRanges(t *testing.T) {
	var seqs []chunkfmt.Seq
	for i := range chunkfmt.Seq(100) {
		seqs = append(seqs, i*10+1, i*10+2, i*10+2) // a gap of 8 each
	}
	seqs = append(seqs, 1<<40) // and one wide one
	got := makeRanges(func(yield func(chunkfmt.Seq) bool) {
		for _, s := range seqs {
			if !yield(s) {
				return
			}
		}
	})
	if len(got) != maxRanges || got[0].first != 1 || got[len(got)-1] != (seqRange{1 << 40, 1 << 40}) {
		t.Errorf("%d ranges, want %d: %v", len(got), maxRanges, got)
	}
	for _, s := range seqs {
		held := false
		for _, r := range got {
			held = held || r.first <= s && s <= r.last
		}
		if !held {
			t.Errorf("%d is in no range", s)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	c := &Catalog{cache: newDirectoryCache(16 << 20), chunks: make(map[chunkfmt.ChunkID]*chunk)}
	for n := range uint32(10_000) {
		d := &directory{}
		for i := range uint64(500) {
			d.add(&chunkfmt.Tag{Seq: chunkfmt.MakeSeq(1, uint64(n)*500+i+1)}, int64(i))
		}
		k := &chunk{Chunk: Chunk{ID: chunkfmt.MakeChunkID(1, n+1, false)}, ranges: d.ranges()}
		c.spans = c.spans.insert(k)
		if n < 1000 {
			c.cache.add(k, d)
		}
	}
	for i := range b.N {
		if _, err := c.Lookup(chunkfmt.MakeSeq(1, uint64(i)%500_000+1)); err != nil {
			b.Fatal(err)
		}
	}
}
