package chunkfmt

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// records reads a batch to its end.
func records(b []byte) (h BatchHeader, all []Record, err error) {
	h, seq := ParseBatch(b)
	for r, e := range seq {
		if e != nil {
			return h, all, e
		}
		all = append(all, r)
	}
	return h, all, nil
}

func drawRecord(t *rapid.T) Record {
	r := Record{
		Op:   rapid.SampledFrom([]Op{OpPut, OpDelete}).Draw(t, "op"),
		Kind: rapid.SampledFrom(slices.Sorted(maps.Keys(recordKinds))).Draw(t, "kind"),
		Key:  rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "key"),
	}
	if r.Op == OpPut {
		r.Value = rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "value")
	}
	return r
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wantHead := BatchHeader{
			Version: BatchVersion,
			Part:    rapid.Uint32().Draw(t, "part"),
			Archive: rapid.Uint32().Draw(t, "archive"),
			Cut:     rapid.Uint64().Draw(t, "cut"),
			Prefix:  Seq(rapid.Uint64().Draw(t, "prefix")),
			Time:    rapid.Int64().Draw(t, "time"),
			Prev:    Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "prev")),
		}
		room := rapid.IntRange(0, 400).Draw(t, "room")
		memory := fill(room, 0xdd)
		w := NewBatchWriter(memory, wantHead)
		var want []Record
		for range 20 {
			r := drawRecord(t)
			before := w.Len()
			switch {
			case w.Add(r):
				want = append(want, r)
			case before+r.Size() <= max(room, BatchHeaderSize):
				t.Fatalf("record of %d bytes refused at %d of %d", r.Size(), before, room)
			}
		}
		if w.Len() > max(room, BatchHeaderSize) || w.Records() != len(want) {
			t.Fatalf("%d bytes in %d, %d records of %d", w.Len(), room, w.Records(), len(want))
		}
		head, got, err := records(w.Bytes())
		if err != nil || head != wantHead {
			t.Fatalf("%+v, %v; want %+v", head, err, wantHead)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestParseBatchRefuses(t *testing.T) {
	w := NewBatchWriter(make([]byte, 0, 1000), BatchHeader{Cut: 1})
	w.Add(Record{Op: OpPut, Kind: RecMeta, Key: []byte("key"), Value: []byte("value")})
	w.Add(Record{Op: OpDelete, Kind: RecMeta, Key: []byte("gone")})
	whole := w.Bytes()
	for n := range len(whole) {
		if _, _, err := records(whole[:n]); err == nil {
			t.Errorf("cut at %d of %d: no error", n, len(whole))
		}
	}
	for _, c := range []struct {
		what string
		at   int
		to   byte
		want error
	}{
		{"version", 1, 2, ErrVersion},
		{"reserved", 3, 1, ErrVersion},
		{"count", batchCountAt + 3, 3, ErrDamaged},
		{"op", BatchHeaderSize, 3, ErrVersion},
		{"kind", BatchHeaderSize + 1, 0, ErrVersion},
		{"key length", BatchHeaderSize + 2, 0xff, ErrTruncated},
		{"value length", BatchHeaderSize + 4, 0xff, ErrTruncated},
		{"delete with a value", BatchHeaderSize, byte(OpDelete), ErrDamaged},
	} {
		b := append([]byte(nil), whole...)
		b[c.at] = c.to
		if _, _, err := records(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	if w.Add(Record{Op: OpPut, Kind: RecMeta, Key: make([]byte, 70000)}) {
		t.Error("a key of 70000 bytes fits")
	}
}

func TestParseBatchStopsWhenAsked(t *testing.T) {
	w := NewBatchWriter(make([]byte, 0, 1000), BatchHeader{})
	w.Add(Record{Op: OpPut, Kind: RecMeta})
	w.Add(Record{Op: OpPut, Kind: RecMeta})
	_, seq := ParseBatch(w.Bytes())
	n := 0
	for range seq {
		n++
		break
	}
	if n != 1 {
		t.Error(n)
	}
}

func TestChain(t *testing.T) {
	id := SessionID{1}
	start := SessionChain(Hash{}, id)
	seen := map[Hash]string{}
	for what, h := range map[string]Hash{
		"start":         start,
		"other session": SessionChain(Hash{}, SessionID{2}),
		"other prev":    SessionChain(Hash{1}, id),
		"a batch":       NextChain(start, []byte("a")),
		"b batch":       NextChain(start, []byte("b")),
		"two":           NextChain(NextChain(start, []byte("a")), []byte("b")),
		"swapped":       NextChain(NextChain(start, []byte("b")), []byte("a")),
		"joined":        NextChain(start, []byte("ab")),
		"id as batch":   NextChain(Hash{}, id[:]),
	} {
		if before, ok := seen[h]; ok {
			t.Errorf("%s and %s give one hash", before, what)
		}
		seen[h] = what
	}
}

func TestBatchWriterCountsAsItGoes(t *testing.T) {
	w := NewBatchWriter(make([]byte, 0, 1000), BatchHeader{})
	for n := range uint32(4) {
		if got := binary.BigEndian.Uint32(w.Bytes()[batchCountAt:]); got != n {
			t.Errorf("count %d, want %d", got, n)
		}
		w.Add(Record{Op: OpPut, Kind: RecOrphan, Key: OrphanKey(7)})
	}
}
