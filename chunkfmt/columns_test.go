package chunkfmt

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

func drawBatch(t *rapid.T) []byte {
	w := NewBatchWriter(make([]byte, 0, 64<<10), BatchHeader{Cut: 7, Time: 9})
	for range rapid.IntRange(0, 200).Draw(t, "records") {
		r := Record{
			Op:    rapid.SampledFrom([]Op{OpPut, OpDelete}).Draw(t, "op"),
			Kind:  rapid.SampledFrom([]RecordKind{RecInode, RecDirent, RecExtent, RecGroup}).Draw(t, "kind"),
			Key:   rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "key"),
			Value: rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "value"),
		}
		if r.Op == OpDelete {
			r.Value = nil
		}
		if !w.Add(r) {
			break
		}
	}
	return w.Bytes()
}

func columnsOf(t testing.TB, batch []byte) []byte {
	t.Helper()
	b, ok := AppendColumns(nil, batch)
	if !ok {
		t.Fatal("a batch has no columns")
	}
	if len(b) > len(batch)+columnsSlack {
		t.Fatalf("columns of %d bytes for a batch of %d", len(b), len(batch))
	}
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.EncodeAll(b, nil)
}

func TestColumnsRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		batch := drawBatch(rt)
		got, err := Decompress(nil, CodecColumns, len(batch), columnsOf(t, batch))
		if err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(got, batch) {
			rt.Fatal("the batch came back different")
		}
	})
}

func TestColumnsOfGarbage(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, make([]byte, BatchHeaderSize-1), bytes.Repeat([]byte{0xff}, 500)} {
		if _, ok := AppendColumns(nil, b); ok {
			t.Errorf("%d bytes of garbage have columns", len(b))
		}
	}
}

func FuzzFromColumns(f *testing.F) {
	w := NewBatchWriter(make([]byte, 0, 4096), BatchHeader{})
	w.Add(Record{Op: OpPut, Kind: RecInode, Key: InodeKey(1), Value: []byte("value")})
	w.Add(Record{Op: OpPut, Kind: RecInode, Key: InodeKey(2), Value: []byte("longer value")})
	w.Add(Record{Op: OpDelete, Kind: RecDirent, Key: DirentKey(1, "name")})
	b, _ := AppendColumns(nil, w.Bytes())
	f.Add(b, w.Len())
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if size < 0 || size > MaxRaw {
			return
		}
		got, err := fromColumns(make([]byte, 0, size), b)
		if err == nil && len(got) != size {
			t.Fatalf("%d bytes, want %d", len(got), size)
		}
	})
}
