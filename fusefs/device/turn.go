package device

import (
	"sync/atomic"
	"time"
)

// turn says whose it is to read: nobody's but the reader's who took the last request with it, until it passes.
type turn struct {
	// current is the number of the request that the reader with the turn answers; 0 while he reads, and for
	// requests that the turn can't pass from. Numbers are not used again, so whoever finds his own here has the turn.
	current atomic.Uint64
	asleep  atomic.Bool // the watch
	wake    chan struct{}
}

// taken notes that the reader with the turn answers a request.
func (t *turn) taken(number uint64) {
	t.current.Store(number)
	if t.asleep.Load() && t.asleep.CompareAndSwap(true, false) {
		t.wake <- struct{}{}
	}
}

// kept says whether the reader who answered a request still has the turn, or takes it from him.
// At most one caller for a number is told that it was there.
func (t *turn) kept(number uint64) bool { return t.current.CompareAndSwap(number, 0) }

// watchEvery is how often somebody looks whether a request holds the turn up. It is the safety net for what neither
// says that it waits nor waits for long, such as a lock or a page of the index; what waits says so itself.
const watchEvery = 5 * time.Millisecond

// watch calls stuck with the number of a request that has had the turn for a while. It sleeps with the mount.
func (t *turn) watch(stop <-chan struct{}, stuck func(number uint64)) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var last uint64
	idle := 0
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now := t.current.Load()
		if now != 0 && now == last {
			stuck(now)
		}
		if idle++; now != last {
			idle = 0
		}
		last = now
		if idle < 3 {
			continue
		}
		t.asleep.Store(true)
		if t.current.Load() != 0 && t.asleep.CompareAndSwap(true, false) {
			continue // somebody was just taking it
		}
		tick.Stop()
		select {
		case <-stop:
			return
		case <-t.wake:
		}
		tick.Reset(watchEvery)
	}
}
