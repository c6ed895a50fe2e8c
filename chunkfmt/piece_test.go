package chunkfmt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// pieceRecords reads a piece to its end.
func pieceRecords(b []byte) (h PieceHeader, all []PieceRecord, err error) {
	h, seq := ParsePiece(b)
	for r, e := range seq {
		if e != nil {
			return h, all, e
		}
		all = append(all, r)
	}
	return h, all, nil
}

func TestPieceRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := PieceHeader{
			Version: PieceVersion,
			Part:    rapid.Uint32().Draw(rt, "part"),
			Total:   rapid.Uint64Range(0, 1<<50).Draw(rt, "total"),
			Head:    Seq(rapid.Uint64().Draw(rt, "head")),
			Chain:   Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "chain")),
		}
		room := rapid.IntRange(BatchHeaderSize, 2000).Draw(rt, "room")
		w := NewPieceWriter(fill(room, 0xdd), want)
		var all []PieceRecord
		for range 40 {
			r := PieceRecord{
				Table: rapid.Byte().Draw(rt, "table"),
				Key:   rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(rt, "key"),
				Value: rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(rt, "value"),
			}
			cut := rapid.IntRange(0, len(r.Value)).Draw(rt, "cut")
			before := len(w.Bytes())
			switch {
			case w.Add(r.Table, r.Key, r.Value[:cut], r.Value[cut:]):
				all = append(all, r)
				want.Total += uint64(r.Size())
			case before+r.Size() <= room:
				rt.Fatalf("record of %d bytes refused at %d of %d", r.Size(), before, room)
			}
		}
		want.First = Seq(rapid.Uint64().Draw(rt, "first"))
		SetPieceFirst(w.Bytes(), want.First)
		if len(w.Bytes()) > room || w.Records() != len(all) || w.Total() != want.Total {
			rt.Fatalf("%d bytes in %d, %d records of %d", len(w.Bytes()), room, w.Records(), len(all))
		}
		got, err := Decompress(nil, CodecColumns, len(w.Bytes()), columnsOf(t, w.Bytes()))
		if err != nil || !bytes.Equal(got, w.Bytes()) {
			rt.Fatalf("by columns the piece came back different: %v", err)
		}
		h, records, err := pieceRecords(got)
		if err != nil || h != want {
			rt.Fatalf("%+v, %v; want %+v", h, err, want)
		}
		if diff := cmp.Diff(all, records, cmpopts.EquateEmpty()); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// samplePiece names two tables and has a record of each.
func samplePiece() []byte {
	w := NewPieceWriter(make([]byte, 0, 500), PieceHeader{Part: 1, Total: 4096, Head: MakeSeq(3, 9), Chain: Hash(fill(32, 0xc0))})
	w.Add(0, []byte{1}, []byte("orphan"), nil)
	w.Add(1, OrphanKey(5), binary.BigEndian.AppendUint32(nil, 0), nil)
	w.Add(0, []byte{2}, []byte("history.xattr"), nil)
	w.Add(2, append(XattrKey(5, "user.a"), 0, 0, 0, 1, 0, 0, 0, 3), binary.BigEndian.AppendUint32(nil, 1), []byte("value"))
	SetPieceFirst(w.Bytes(), MakeSeq(3, 12))
	return w.Bytes()
}

func TestParsePieceRefuses(t *testing.T) {
	whole := samplePiece()
	for n := range len(whole) {
		if _, _, err := pieceRecords(whole[:n]); err == nil {
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
		{"more reserved", 8, 1, ErrVersion},
		{"count", batchCountAt + 3, 3, ErrDamaged},
		{"op", BatchHeaderSize, 2, ErrVersion},
		{"key length", BatchHeaderSize + 2, 0xff, ErrTruncated},
		{"value length", BatchHeaderSize + 4, 0xff, ErrTruncated},
	} {
		b := append([]byte(nil), whole...)
		b[c.at] = c.to
		if _, _, err := pieceRecords(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

func TestGoldenPiece(t *testing.T) {
	record := func(table string, key, value []field) []field {
		return append(append([]field{{1, "operation"}, {1, table}, {2, "key length"}, {4, "value length"}}, key...), value...)
	}
	var f []field
	f = append(f, field{2, "version"}, field{2, "reserved"}, field{4, "part"}, field{4, "reserved"}, field{4, "count of records"},
		field{8, "first"}, field{8, "total"}, field{8, "head"}, field{32, "chain at the head"})
	f = append(f, record("table 0: name of a table", []field{{1, "its number"}}, []field{{6, "name"}})...)
	f = append(f, record("table 1", []field{{8, "inode"}}, []field{{4, "since archive"}})...)
	f = append(f, record("table 0: name of a table", []field{{1, "its number"}}, []field{{13, "name"}})...)
	f = append(f, record("table 2", []field{{8, "inode"}, {6, "name"}, {4, "from archive"}, {4, "to archive"}}, []field{{4, "since archive"}, {5, "value"}})...)
	b := undump(t, golden(t, "piece", dump("a piece of a checkpoint", samplePiece(), f)))
	if _, got, err := pieceRecords(b); err != nil || len(got) != 4 {
		t.Errorf("%d records, %v", len(got), err)
	}
}

func FuzzParsePiece(f *testing.F) {
	f.Add(samplePiece())
	f.Fuzz(func(t *testing.T, b []byte) {
		boundedAlloc(t, len(b), func() {
			h, all, err := pieceRecords(b)
			classified(t, err)
			if err != nil {
				return
			}
			w := NewPieceWriter(make([]byte, 0, len(b)), h)
			for _, r := range all {
				if !w.Add(r.Table, r.Key, r.Value, nil) {
					t.Fatal("what was read does not fit")
				}
			}
			SetPieceFirst(w.Bytes(), h.First)
			binary.BigEndian.PutUint64(w.Bytes()[pieceTotalAt:], h.Total)
			if !bytes.Equal(w.Bytes(), b) {
				t.Fatal("the piece written again differs")
			}
		})
	})
}
