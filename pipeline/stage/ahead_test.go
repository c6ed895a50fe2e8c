package stage

import (
	"testing"
	"time"

	"coffer/chunkfmt"
)

// TestAheadWidth: groups that hold each other up come fewer at a time, over a way that is long as over one that is narrow.
func TestAheadWidth(t *testing.T) {
	for _, way := range []struct {
		name        string
		trip        time.Duration
		each        time.Duration // that the way takes for a group
		least, most int
	}{
		{"near", 0, time.Millisecond, mostWidth, mostWidth},
		{"far", 300 * time.Millisecond, time.Millisecond, mostWidth, mostWidth},
		{"narrow", 0, time.Second, 1, 2},
		{"in between", 20 * time.Millisecond, 40 * time.Millisecond, 2, 7},
	} {
		a := newAhead()
		for i := range 200 {
			a.took(way.trip + time.Duration(a.width)*way.each)
			if i > 50 && (a.width < way.least || a.width > way.most) {
				t.Fatalf("%s: %d at a time, want %d to %d", way.name, a.width, way.least, way.most)
			}
		}
	}
}

// TestAheadCredit: where nothing of it is used reading ahead ends, but for a try now and then; where half is, it goes on.
func TestAheadCredit(t *testing.T) {
	steps := func(n int, used func(int) bool) (read int) {
		a := newAhead()
		for i := range n {
			a.earn(creditStep)
			for range a.near() {
				read++
				if used(i) {
					a.earn(creditUsed)
				} else {
					a.lose(creditUnused)
				}
			}
		}
		return read
	}
	if n := steps(10_000, func(int) bool { return false }); n > 10_000/20 {
		t.Errorf("%d groups were read in vain", n)
	}
	if n := steps(1000, func(i int) bool { return i%4 > 0 }); n < 1000*mostWidth/2 {
		t.Errorf("only %d groups were read ahead where most are used", n)
	}
}

// TestForeseen: of what was loaded ahead it is told once whether it was used or went without.
func TestForeseen(t *testing.T) {
	c := newTestCache(t, 4<<10)
	var used, unused int
	c.foreseen = func(yes bool) {
		if yes {
			used++
		} else {
			unused++
		}
	}
	room := func(room func(int) []byte) error { room(1 << 10); return nil }
	for seq := range chunkfmt.Seq(4) {
		if !c.foresee(seq+1, room) {
			t.Fatalf("group %d was not loaded", seq+1)
		}
	}
	if c.foresee(1, room) {
		t.Error("group 1 was loaded twice")
	}
	for range 2 {
		it, err := filled(c, 1, 1<<10)
		if err != nil {
			t.Fatal(err)
		}
		c.release(it)
	}
	for seq := range chunkfmt.Seq(8) {
		it, err := filled(c, 10+seq, 1<<10)
		if err != nil {
			t.Fatal(err)
		}
		c.release(it)
	}
	if used != 1 || unused != 3 {
		t.Errorf("%d used and %d not, want 1 and 3", used, unused)
	}
	if c.wants(1) || c.wants(17) || !c.wants(2) {
		t.Error("what was used and went is wanted, or what is there, or what was not used is not")
	}
}

// TestWalkSteps: what is new and near is a step, to and fro is none, nor is what is far.
func TestWalkSteps(t *testing.T) {
	var w walks
	for i, test := range []struct {
		seq  chunkfmt.Seq
		step bool
	}{
		{100, false}, {100, false}, {101, true}, {100, false}, {101, false}, {99, true}, {99 + walkStep + 1, false}, {98, true},
		{1000, false}, {1001, true}, {98 + walkStep, true},
	} {
		if step := w.read(test.seq); step != test.step {
			t.Errorf("read %d, of group %d: %v", i, test.seq, step)
		}
	}
}

// TestForeseenStays: what was loaded ahead outlives what was used again, if all else was.
func TestForeseenStays(t *testing.T) {
	c := newTestCache(t, 4<<10)
	for range 2 {
		for seq := range chunkfmt.Seq(3) {
			it, err := filled(c, 1+seq, 1<<10)
			if err != nil {
				t.Fatal(err)
			}
			c.release(it)
		}
	}
	if !c.foresee(9, func(room func(int) []byte) error { room(1 << 10); return nil }) {
		t.Fatal("it was not loaded")
	}
	it, err := filled(c, 10, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	c.release(it)
	if !c.has(9) {
		t.Error("it went before it was used")
	}
}
