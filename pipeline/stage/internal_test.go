package stage

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestLateAckTellsNobodyElse: a sync that ends after the pipe has failed must not
// acknowledge a marker that was sent afterwards.
func TestLateAckTellsNobodyElse(t *testing.T) {
	ws := &waiters{}
	told := map[string]error{}
	marker := func(name string) *waiter {
		return &waiter{Marker: Marker{Acked: func(err error) { told[name] = err }}}
	}
	first, late := marker("first"), marker("late")
	ws.add(first)
	failure := errors.New("the pipe has failed")
	ws.fail(failure)
	ws.add(late)
	ws.ack(first)
	ws.check(late)
	for _, name := range []string{"first", "late"} {
		if !errors.Is(told[name], failure) {
			t.Errorf("%s marker was told %v", name, told[name])
		}
	}
}

// TestCutsDoNotDependOnBuffers: the blocks of a stretch are the same whether it
// is seen whole or in parts of any length.
func TestCutsDoNotDependOnBuffers(t *testing.T) {
	c, err := newCutter(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		data := make([]byte, rapid.IntRange(1, 3<<20).Draw(rt, "length"))
		x := rapid.Uint64Min(1).Draw(rt, "seed")
		mask := byte(rapid.SampledFrom([]int{0xff, 0x0f, 0x01}).Draw(rt, "mask"))
		for i := range data {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			data[i] = byte(x>>32) & mask
		}
		var whole []int
		for rest := data; len(rest) > 0; {
			n := c.jc.Algorithm(&c.opts, rest, len(rest))
			whole = append(whole, n)
			rest = rest[n:]
		}
		var parts []int
		from, seen := 0, 0
		for from < len(data) {
			seen = min(len(data), max(seen, from)+rapid.IntRange(1, 1<<20).Draw(rt, "more"))
			for from < seen {
				n, finished := c.next(data[from:seen])
				if !finished && seen < len(data) {
					break
				}
				parts = append(parts, n)
				from += n
			}
		}
		if !slices.Equal(whole, parts) {
			rt.Fatalf("whole: %v, in parts: %v", whole, parts)
		}
	})
}
