package tree

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"coffer/chunkfmt"
)

// namedRun is a run that is only compared.
type namedRun struct{ name int }

func (*namedRun) ReadAt(context.Context, []byte, int64) error { return nil }

func (*namedRun) Places(int64, int64, func(int64, int64, chunkfmt.Seq, uint32) error) error {
	return nil
}

// where is what a set of ranges says of one byte.
type where struct {
	known bool
	run   Run
	group chunkfmt.Seq
	at    int64
}

func whereIn(s span, off int64) where {
	w := where{known: true, run: s.run, group: s.group, at: s.at + off - s.off}
	if s.hole() {
		w.at = 0
	}
	return w
}

// TestSpans compares a set of ranges with what it says byte by byte.
func TestSpans(t *testing.T) {
	runs := []Run{&namedRun{0}, &namedRun{1}}
	rapid.Check(t, func(rt *rapid.T) {
		const size = 2000
		var m spans
		var model [size]where
		for k := range rapid.IntRange(1, 400).Draw(rt, "steps") {
			off := rapid.Int64Range(0, size-20).Draw(rt, "off")
			s := span{off: off, n: rapid.Int64Range(1, 20).Draw(rt, "n")}
			switch rapid.IntRange(0, 5).Draw(rt, "kind") {
			case 0: // hole
			case 1:
				s.group, s.at = 7, off+3
			case 2:
				s.group, s.at = chunkfmt.Seq(k+10), 0
			case 3, 4:
				s.run, s.at = runs[k%2], off
			case 5:
				from, to := off, min(off+4*s.n, size)
				if k%2 == 0 {
					m.clear(from, to)
					clear(model[from:to])
				} else {
					m.replace(from, to, runs[0], runs[1])
					for b := from; b < to; b++ {
						if model[b].run == runs[0] {
							model[b].run, model[b].at = runs[1], b-from
						}
					}
				}
				continue
			}
			m.put(s)
			for b := s.off; b < s.end(); b++ {
				model[b] = whereIn(s, b)
			}
		}
		var got [size]where
		last, count := int64(-1), 0
		m.each(0, size, func(s *span) bool {
			count++
			if s.off < last || s.n <= 0 {
				rt.Fatalf("range %d+%d after %d", s.off, s.n, last)
			}
			last = s.end()
			for b := s.off; b < s.end(); b++ {
				got[b] = whereIn(*s, b)
			}
			return true
		})
		if count != m.count {
			rt.Fatalf("%d ranges, and %d are counted", count, m.count)
		}
		for b := range model {
			if got[b] != model[b] {
				rt.Fatalf("byte %d: %+v, want %+v", b, got[b], model[b])
			}
		}
		for range 20 {
			from := rapid.Int64Range(0, size-1).Draw(rt, "from")
			to := rapid.Int64Range(from+1, size).Draw(rt, "to")
			seen := from
			m.each(from, to, func(s *span) bool {
				for ; seen < s.off; seen++ {
					if model[seen].known {
						rt.Fatalf("byte %d is left out of %d to %d", seen, from, to)
					}
				}
				seen = s.end()
				return true
			})
		}
	})
}

// BenchmarkSpansRandom writes blocks at random places of a large file.
func BenchmarkSpansRandom(b *testing.B) {
	for _, n := range []int64{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var m spans
			k := int64(0)
			for b.Loop() {
				k++
				m.put(span{off: k * 7919 % n * 4096, n: 4096, group: chunkfmt.Seq(k + 1)})
			}
		})
	}
}
