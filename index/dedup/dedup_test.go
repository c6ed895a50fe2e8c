package dedup

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"coffer/chunkfmt"
)

// source is a plain map of group records that counts its calls.
type source struct {
	groups map[chunkfmt.Seq]chunkfmt.GroupRecord
	calls  int
	err    error
}

func (s *source) Group(seq chunkfmt.Seq) (chunkfmt.GroupRecord, chunkfmt.Location, bool, error) {
	s.calls++
	g, ok := s.groups[seq]
	return g, chunkfmt.Location{}, ok, s.err
}

// print makes the n-th fingerprint of a series that is as even as real ones are.
func print(n uint64) (f chunkfmt.Fingerprint) {
	r := rand.NewPCG(n, 7)
	binary.BigEndian.PutUint64(f[:], r.Uint64())
	binary.BigEndian.PutUint64(f[8:], r.Uint64())
	return f
}

// group makes a group of blocks first, first+1, … n of them.
func group(seq chunkfmt.Seq, first, n uint64) chunkfmt.GroupRecord {
	g := chunkfmt.GroupRecord{Seq: seq}
	for i := range n {
		l := uint32(100 + (first+i)%50)
		g.Blocks = append(g.Blocks, chunkfmt.BlockRecord{Fingerprint: print(first + i), Length: l})
		g.RawLen += l
	}
	return g
}

// fill makes a table and its source with groups of per blocks each, of session 1.
func fill(limit int64, groups, per uint64) (*Table, *source) {
	s := &source{groups: map[chunkfmt.Seq]chunkfmt.GroupRecord{}}
	t := New(limit, s)
	for i := range groups {
		g := group(chunkfmt.MakeSeq(1, i+1), i*per, per)
		s.groups[g.Seq] = g
		t.Add(g)
	}
	return t, s
}

// found looks a block up; whatever it says must be true.
func found(t require, table *Table, s *source, fp chunkfmt.Fingerprint, length uint32) bool {
	t.Helper()
	p, ok, err := table.Lookup(fp, length)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return false
	}
	var off uint32
	for _, b := range s.groups[p.Seq].Blocks {
		if b.Fingerprint == fp && off == p.Offset && b.Length == p.Length && p.Length == length {
			return true
		}
		off += b.Length
	}
	t.Fatalf("block %v of %d bytes is not at %+v", fp, length, p)
	return false
}

type require interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func TestFindsAll(t *testing.T) {
	const groups, per = 30000, 3
	table, s := fill(1<<30, groups, per)
	if st := table.Stats(); st.Entries != groups*per || st.SampleBits != 0 {
		t.Fatalf("%+v, want %d entries", st, groups*per)
	}
	for i := range uint64(groups * per) {
		if !found(t, table, s, print(i), uint32(100+i%50)) {
			t.Fatalf("block %d is not found", i)
		}
	}
	if s.calls > groups {
		t.Errorf("%d records were read, want at most one for each of %d groups", s.calls, groups)
	}
	for i := range uint64(10000) {
		if found(t, table, s, print(1<<40+i), 100) {
			t.Fatal("a block that was never added is found")
		}
		if found(t, table, s, print(i), 7) {
			t.Fatal("a block is found by the wrong length")
		}
	}
}

// TestSampleFindsRuns checks that under a tight limit a file that comes back is
// still found nearly whole, and that the limit holds.
func TestSampleFindsRuns(t *testing.T) {
	const groups, limit = 200_000, 400_000
	table, s := fill(limit, groups, 1)
	st := table.Stats()
	if st.Bytes > limit || st.SampleBits < 2 || st.Entries > limit/entryBytes {
		t.Fatalf("%+v", st)
	}
	hits := 0
	const from, run = 77_000, 5000
	for i := range uint64(run) {
		if found(t, table, s, print(from+i), uint32(100+(from+i)%50)) {
			hits++
		}
	}
	if hits < run*9/10 {
		t.Errorf("%d of %d blocks in a row are found, want nine of ten", hits, run)
	}
	if n := len(table.recent.places); n > recentBlocks {
		t.Errorf("%d recent blocks, want at most %d", n, recentBlocks)
	}
}

func TestDrop(t *testing.T) {
	table, s := fill(1<<20, 5000, 2)
	for i := uint64(0); i < 5000; i += 2 {
		seq := chunkfmt.MakeSeq(1, i+1)
		if i%4 == 0 {
			delete(s.groups, seq) // dropped without a record to go by
			if i > 400 {
				continue
			}
		}
		if err := table.Drop(seq); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(5000) {
		if got := found(t, table, s, print(i*2), uint32(100+i*2%50)); got != (i%2 == 1) {
			t.Fatalf("group %d: found %v", i, got)
		}
	}
}

// TestDroppedStaysDropped: the neighbours that a hit on a sample brings in do not
// include what was dropped, though its record is still there.
func TestDroppedStaysDropped(t *testing.T) {
	const groups = 100_000
	table, s := fill(200_000, groups, 1)
	for i := uint64(0); i < groups; i += 2 {
		if err := table.Drop(chunkfmt.MakeSeq(1, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(20_000) {
		if found(t, table, s, print(i), uint32(100+i%50)) && i%2 == 0 {
			t.Fatalf("dropped group %d is found", i+1)
		}
	}
}

// TestNewerPlaceWins: a block that was stored again is found where it is now, and
// dropping the old group leaves it known.
// TestExclude: what is excluded is not found, by whatever way, and what is not is, before and after.
func TestExclude(t *testing.T) {
	const groups, per = 20_000, 3
	for _, limit := range []int64{1 << 30, 100_000} {
		table, s := fill(limit, groups, per)
		dead := func(seq chunkfmt.Seq) bool { return seq.Number()%3 == 0 }
		sampled := table.Stats().SampleBits > 0
		count := func() (excluded, others int) {
			for i := range uint64(groups * per) {
				if found(t, table, s, print(i), uint32(100+i%50)) {
					if dead(chunkfmt.MakeSeq(1, i/per+1)) {
						excluded++
					} else {
						others++
					}
				}
			}
			return excluded, others
		}
		_, before := count()
		table.Exclude(dead)
		excluded, others := count()
		if excluded != 0 || !sampled && others != before || others == 0 {
			t.Errorf("%d excluded are found, and %d of %d others", excluded, others, before)
		}
		again := group(chunkfmt.MakeSeq(1, 3), 6, per)
		for seq := range s.groups {
			if dead(seq) {
				delete(s.groups, seq)
			}
		}
		table.Exclude(nil)
		if excluded, _ := count(); excluded != 0 {
			t.Errorf("%d are found that are gone", excluded)
		}
		s.groups[again.Seq] = again
		table.Add(again)
		if !sampled && !found(t, table, s, print(6), 106) {
			t.Error("what was added again is not found")
		}
	}
}

func TestNewerPlaceWins(t *testing.T) {
	table, s := fill(1<<20, 10, 1)
	again := group(chunkfmt.MakeSeq(2, 1), 3, 1)
	s.groups[again.Seq] = again
	table.Add(again)
	if err := table.Drop(chunkfmt.MakeSeq(1, 4)); err != nil {
		t.Fatal(err)
	}
	p, ok, err := table.Lookup(print(3), 103)
	if err != nil || !ok || p.Seq != again.Seq {
		t.Fatal(p, ok, err)
	}
}

func TestSourceFails(t *testing.T) {
	table, s := fill(1<<20, 10, 1)
	s.err = errors.New("no medium")
	if _, ok, err := table.Lookup(print(3), 103); ok || !errors.Is(err, s.err) {
		t.Fatal(ok, err)
	}
	if err := table.Load(func(func(chunkfmt.GroupRecord, chunkfmt.Location) bool) error { return s.err }); !errors.Is(err, s.err) {
		t.Fatal(err)
	}
	s.err = nil
	if !found(t, table, s, print(3), 103) {
		t.Fatal("not found after the source has come back")
	}
}

// TestModel does random things, with fingerprints that crowd, and compares with a map.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &source{groups: map[chunkfmt.Seq]chunkfmt.GroupRecord{}}
		limit := rapid.SampledFrom([]int64{0, 20_000, 1 << 30}).Draw(t, "limit")
		crowd := rapid.Uint64Range(0, 1<<30).Draw(t, "crowd")
		table := New(limit, s)
		known := map[chunkfmt.Fingerprint]chunkfmt.Seq{}
		bad := func(n uint64) (f chunkfmt.Fingerprint) { // all of one short prefix
			binary.BigEndian.PutUint64(f[:], crowd<<34|n<<24)
			binary.BigEndian.PutUint64(f[8:], n)
			return f
		}
		next := uint64(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.IntRange(0, 4).Draw(t, "step") == 0 && next > 0 {
				seq := chunkfmt.MakeSeq(1, rapid.Uint64Range(1, next).Draw(t, "drop"))
				if err := table.Drop(seq); err != nil {
					t.Fatal(err)
				}
				for fp, at := range known {
					if at == seq {
						delete(known, fp)
					}
				}
				continue
			}
			next++
			g := chunkfmt.GroupRecord{Seq: chunkfmt.MakeSeq(1, next)}
			first := rapid.Uint64Range(0, 900).Draw(t, "first")
			for i := range uint64(rapid.IntRange(1, 120).Draw(t, "blocks")) {
				fp := bad(first + i)
				g.Blocks = append(g.Blocks, chunkfmt.BlockRecord{Fingerprint: fp, Length: 10})
				known[fp] = g.Seq
			}
			s.groups[g.Seq] = g
			table.Add(g)
		}
		for n := range uint64(1100) {
			fp := bad(n)
			got := found(t, table, s, fp, 10)
			want, ok := known[fp]
			if !got && ok && limit == 1<<30 {
				t.Fatalf("block %d of group %v is not found", n, want)
			}
		}
		if st := table.Stats(); st.Bytes > max(uint64(limit), minSegment*entryBytes) || limit == 1<<30 && st.Entries != uint64(len(known)) {
			t.Fatalf("%+v, want %d entries", st, len(known))
		}
	})
}

// TestStatsAnywhere is for the race detector.
func TestStatsAnywhere(t *testing.T) {
	table, s := fill(1<<20, 10, 1)
	var readers sync.WaitGroup
	readers.Go(func() {
		for range 1000 {
			if st := table.Stats(); st.Hits > st.Lookups {
				t.Errorf("%+v", st)
			}
		}
	})
	for i := range uint64(3000) {
		g := group(chunkfmt.MakeSeq(1, 100+i), 100+i, 1)
		s.groups[g.Seq] = g
		table.Add(g)
		found(t, table, s, print(100+i), g.RawLen)
	}
	readers.Wait()
}

// TestPlacesOutOfReach: a number too large for an entry is left out, not mangled.
func TestPlacesOutOfReach(t *testing.T) {
	s := &source{groups: map[chunkfmt.Seq]chunkfmt.GroupRecord{}}
	table := New(1<<20, s)
	for i, seq := range []chunkfmt.Seq{0, chunkfmt.MakeSeq(1<<ordinalBits, 1), chunkfmt.MakeSeq(1, 1<<numberBits), chunkfmt.MakeSeq(1<<ordinalBits-1, 1<<numberBits-1)} {
		g := group(seq, uint64(i), 1)
		s.groups[seq] = g
		table.Add(g)
		if got := found(t, table, s, print(uint64(i)), g.RawLen); got != (i == 3) {
			t.Errorf("%v: found %v", seq, got)
		}
	}
}

// TestWatch is told of the size of a table, also where it can't grow any more.
func TestWatch(t *testing.T) {
	for _, limit := range []int64{0, 20 << 10, 1 << 20} {
		table := New(limit, &source{})
		told := uint64(0)
		table.Watch(func(bytes uint64) { told = bytes })
		for n := range uint64(100) {
			if bytes := table.Stats().Bytes; told != bytes {
				t.Fatalf("limit %d: told of %d bytes, there are %d", limit, told, bytes)
			}
			table.Add(group(chunkfmt.MakeSeq(1, n+1), n*1000, 1000))
		}
	}
}
