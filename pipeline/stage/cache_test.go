package stage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"coffer/chunkfmt"
)

// filled loads an item of n bytes that all say which group they are.
func filled(c *cache, seq chunkfmt.Seq, n int) (*item, error) {
	return c.get(context.Background(), seq, func(room func(int) []byte) error {
		p := room(n)
		for i := range p {
			p[i] = byte(seq)
		}
		return nil
	})
}

func checkItem(it *item, n int) error {
	if len(it.data) != n {
		return fmt.Errorf("group %v has %d bytes, not %d", it.seq, len(it.data), n)
	}
	for i, b := range it.data {
		if b != byte(it.seq) {
			return fmt.Errorf("byte %d of group %v is that of group %d", i, it.seq, b)
		}
	}
	return nil
}

func newTestCache(t *testing.T, limit int64) *cache {
	t.Helper()
	c, err := newCache(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// checkRing looks at the list of items: ascending, disjoint, within the memory.
func checkRing(t *testing.T, c *cache) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	end, n := 0, 0
	var left *item
	for it := c.ring.first; it != nil; it = it.right {
		if it.at < end || it.end > len(c.ring.memory) || it.left != left || c.items[it.seq] != it {
			t.Fatalf("group %v at %d to %d lies wrong behind %d", it.seq, it.at, it.end, end)
		}
		end, left = it.end, it
		n++
	}
	if c.ring.last != left {
		t.Fatal("the last item is another one")
	}
	if n != len(c.items) {
		t.Fatalf("%d items, %d of them in the ring", len(c.items), n)
	}
}

// TestPinnedItemsStay lets many goroutines hold items of a cache that is too
// small for them.
func TestPinnedItemsStay(t *testing.T) {
	const limit = 64 << 10
	c := newTestCache(t, limit)
	size := func(seq chunkfmt.Seq) int { return 1 + int(seq*2654435761%9000) }
	var wg sync.WaitGroup
	for worker := range 8 {
		rng := rand.New(rand.NewPCG(1, uint64(worker)))
		wg.Go(func() {
			for range 3000 {
				var held []*item
				for range 1 + rng.IntN(4) {
					seq := chunkfmt.Seq(1 + rng.IntN(200))
					it, err := filled(c, seq, size(seq))
					if err != nil {
						t.Error(err)
						return
					}
					held = append(held, it)
				}
				for _, it := range held {
					if err := checkItem(it, size(it.seq)); err != nil {
						t.Error(err)
						return
					}
					c.release(it)
				}
			}
		})
	}
	wg.Wait()
	checkRing(t, c)
	if c.pinned != 0 {
		t.Errorf("%d pins are left", c.pinned)
	}
}

func TestCacheKeepsWhatIsUsedAgain(t *testing.T) {
	c := newTestCache(t, 10*slotAlign)
	touch := func(seq chunkfmt.Seq) {
		t.Helper()
		it, err := filled(c, seq, slotAlign)
		if err != nil {
			t.Fatal(err)
		}
		c.release(it)
	}
	for seq := chunkfmt.Seq(1); seq < 100; seq++ {
		touch(seq)
		touch(1)
	}
	for seq, want := range map[chunkfmt.Seq]bool{1: true, 99: true, 50: false} {
		if c.has(seq) != want {
			t.Errorf("group %v is kept: %v", seq, !want)
		}
	}
	checkRing(t, c)
}

// TestCacheWithoutRoom serves what is larger than the cache, or finds all of it
// pinned, and keeps none of it.
func TestCacheWithoutRoom(t *testing.T) {
	c := newTestCache(t, 1000)
	a, err := filled(c, 1, 900)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{900, 5000} {
		b, err := filled(c, 2, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(checkItem(a, 900), checkItem(b, n)); err != nil {
			t.Error(err)
		}
		c.release(b)
		if c.has(2) {
			t.Error("what found no room is kept")
		}
	}
	c.release(a)
	checkRing(t, c)
}

func TestFailedLoadLeavesNothing(t *testing.T) {
	c := newTestCache(t, 1000)
	broken := errors.New("broken")
	for range 50 {
		_, err := c.get(t.Context(), 1, func(room func(int) []byte) error {
			room(300)
			return broken
		})
		if !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
	}
	if c.has(1) || c.pinned != 0 || c.ring.first != nil {
		t.Error("something is left of failed loads")
	}
}

func TestClosingWaitsForPins(t *testing.T) {
	c, err := newCache(1000)
	if err != nil {
		t.Fatal(err)
	}
	it, err := filled(c, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- c.close() }()
	for {
		other, err := filled(c, 2, 10)
		if errors.Is(err, ErrClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		c.release(other)
	}
	select {
	case <-closed:
		t.Fatal("closed while an item is pinned")
	default:
	}
	if err := checkItem(it, 100); err != nil {
		t.Error(err)
	}
	c.release(it)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
