package main

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// relay passes connections on to target as a long way would: each byte comes after half the round trip, and no more
// than window bytes of a connection are on their way in one direction before the first of them is confirmed a round
// trip later, as with sockets of that size. Every so often, unless reset is 0, it breaks the connection that is there
// longest. It ends with its process.
func relay(listen, target string, trip time.Duration, window int, reset time.Duration) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("relay to %s: %w", target, err)
	}
	fmt.Println("relayed at", l.Addr())
	r := &relaying{target: target, trip: trip, window: window}
	if reset > 0 {
		go func() {
			for range time.Tick(reset) {
				r.reset()
			}
		}()
	}
	for {
		near, err := l.Accept()
		if err != nil {
			return fmt.Errorf("relay to %s: %w", target, err)
		}
		go r.pass(near.(*net.TCPConn))
	}
}

type relaying struct {
	target string
	trip   time.Duration
	window int

	mu    sync.Mutex // guards conns
	conns [][2]*net.TCPConn
}

// reset breaks the oldest connection.
func (r *relaying) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) == 0 {
		return
	}
	for _, c := range r.conns[0] {
		_ = c.SetLinger(0) // of a connection that is closed already: nothing to do
		c.Close()
	}
	r.conns = r.conns[1:]
}

func (r *relaying) pass(near *net.TCPConn) {
	far, err := net.Dial("tcp", r.target)
	if err != nil {
		near.Close()
		return
	}
	both := [2]*net.TCPConn{near, far.(*net.TCPConn)}
	r.mu.Lock()
	r.conns = append(r.conns, both)
	r.mu.Unlock()
	var ways sync.WaitGroup
	ways.Go(func() { r.way(both[1], both[0]) })
	ways.Go(func() { r.way(both[0], both[1]) })
	ways.Wait()
	near.Close()
	far.Close()
}

// parcel is some bytes on their way; none: the sender has no more.
type parcel struct {
	data []byte
	due  time.Time
}

// parcels is how many may be on their way in one direction, however small they are.
const parcels = 4096

// way is one direction of a connection: one reads, one delivers, one confirms.
func (r *relaying) way(to, from *net.TCPConn) {
	const most = 64 << 10 // bytes of a parcel
	underway, delivered := make(chan parcel, parcels), make(chan parcel, parcels)
	room := newRoom(r.window)
	var all sync.WaitGroup
	all.Go(func() {
		defer close(delivered)
		for p := range underway {
			time.Sleep(time.Until(p.due))
			if len(p.data) == 0 {
				_ = to.CloseWrite() // whoever has closed it already needs no end
			} else if _, err := to.Write(p.data); err != nil {
				from.Close() // and the rest goes nowhere
			}
			delivered <- parcel{p.data, time.Now().Add(r.trip / 2)}
		}
	})
	all.Go(func() {
		for p := range delivered {
			time.Sleep(time.Until(p.due))
			room.give(len(p.data))
		}
	})
	for {
		b := make([]byte, room.take(most))
		n, err := from.Read(b)
		room.give(len(b) - n)
		if n > 0 {
			underway <- parcel{b[:n], time.Now().Add(r.trip / 2)}
		}
		if err != nil {
			underway <- parcel{due: time.Now().Add(r.trip / 2)}
			break
		}
	}
	close(underway)
	all.Wait()
}

// room is how many bytes may still be sent.
type room struct {
	mu    sync.Mutex
	more  *sync.Cond
	bytes int
}

func newRoom(bytes int) *room {
	r := &room{bytes: bytes}
	r.more = sync.NewCond(&r.mu)
	return r
}

// take waits until there is some, and takes at most n of it.
func (r *room) take(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.bytes == 0 {
		r.more.Wait()
	}
	n = min(n, r.bytes)
	r.bytes -= n
	return n
}

func (r *room) give(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes += n
	r.more.Signal()
}
