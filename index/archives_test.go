package index

import (
	"testing"

	"coffer/chunkfmt"
)

func sealed(n uint32, time int64, label string) chunkfmt.Record {
	a := chunkfmt.ArchiveRecord{Number: n, Time: time, Label: label}
	return rec(chunkfmt.RecArchive, chunkfmt.ArchiveKey(n), a.Append(nil))
}

// TestFindArchives looks archives up by time and label, among labels that begin with
// one another, times that go back, and after some were deleted.
func TestFindArchives(t *testing.T) {
	x := openTemp(t)
	number := func(a chunkfmt.ArchiveRecord, ok bool, err error) uint32 {
		t.Helper()
		noError(t, err)
		if ok != (a.Number != 0) {
			t.Fatalf("archive %d, found %v", a.Number, ok)
		}
		return a.Number
	}
	check := func(what string, got, want uint32) {
		t.Helper()
		if got != want {
			t.Errorf("%s is archive %d, want %d", what, got, want)
		}
	}
	check("at 5, of none,", number(x.ArchiveAt(5)), 0)
	check("a, of none,", number(x.ArchiveLabelled("a")), 0)
	apply(t, x,
		sealed(1, 100, "a"), sealed(2, 200, "ab"), sealed(3, 150, "a"), sealed(4, -7, "a\x00b"),
		sealed(5, 200, ""), sealed(6, 300, "a\x00\x00\x00\x00\x09"))
	for ns, want := range map[int64]uint32{-8: 0, -7: 4, 99: 4, 100: 1, 149: 1, 150: 3, 200: 5, 299: 5, 1 << 62: 6} {
		check("at a time", number(x.ArchiveAt(ns)), want)
	}
	for label, want := range map[string]uint32{"a": 3, "ab": 2, "abc": 0, "": 0, "a\x00b": 4} {
		check("label "+label, number(x.ArchiveLabelled(label)), want)
	}
	apply(t, x, del(chunkfmt.RecArchive, chunkfmt.ArchiveKey(3)), del(chunkfmt.RecArchive, chunkfmt.ArchiveKey(5)))
	check("after deletion, 150", number(x.ArchiveAt(150)), 1)
	check("after deletion, 200", number(x.ArchiveAt(200)), 2)
	check("after deletion, a", number(x.ArchiveLabelled("a")), 1)
	check("deleted", number(x.ArchiveNumbered(3)), 0)
	check("kept", number(x.ArchiveNumbered(4)), 4)
	var from []uint32
	noError(t, x.Archives(1, func(a chunkfmt.ArchiveRecord) bool {
		from = append(from, a.Number)
		return a.Number < 4
	}))
	if len(from) != 2 || from[0] != 2 || from[1] != 4 {
		t.Errorf("archives after 1 up to 4: %v", from)
	}
}
