package rig

import (
	"net"
	"sync"
	"testing"
)

// Relay passes TCP connections on, until it is told to break them.
type Relay struct {
	Address string // where it listens
	target  string
	l       net.Listener
	wg      sync.WaitGroup

	mu     sync.Mutex // guards what follows
	conns  map[*relayed]bool
	hole   chan struct{} // closed unless bytes are swallowed for now
	closed bool
}

// relayed is a connection and the one that it is passed on to.
type relayed struct{ near, far *net.TCPConn }

// NewRelay listens on a port of its own for connections to target.
func NewRelay(tb testing.TB, target string) *Relay {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	Must(tb, err)
	r := &Relay{Address: l.Addr().String(), target: target, l: l, conns: map[*relayed]bool{}, hole: make(chan struct{})}
	close(r.hole)
	r.wg.Go(r.accept)
	tb.Cleanup(func() {
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		l.Close()
		r.Hole(false)
		r.Reset(1 << 20)
		r.wg.Wait()
	})
	return r
}

func (r *Relay) accept() {
	for {
		near, err := r.l.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.pass(near.(*net.TCPConn)) })
	}
}

func (r *Relay) pass(near *net.TCPConn) {
	r.await()
	far, err := net.Dial("tcp", r.target)
	if err != nil {
		near.Close()
		return
	}
	c := &relayed{near, far.(*net.TCPConn)}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		c.reset()
		return
	}
	r.conns[c] = true
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { r.copy(c.far, c.near) })
	both.Go(func() { r.copy(c.near, c.far) })
	both.Wait()
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
	c.near.Close()
	c.far.Close()
}

func (r *Relay) copy(to, from *net.TCPConn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		r.await()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			to.CloseWrite()
			return
		}
	}
}

// await waits while bytes are swallowed.
func (r *Relay) await() {
	r.mu.Lock()
	hole := r.hole
	r.mu.Unlock()
	<-hole
}

// Reset breaks at most n connections, and says how many it did.
func (r *Relay) Reset(n int) (done int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if done == n {
			break
		}
		c.reset()
		done++
	}
	return done
}

func (c *relayed) reset() {
	for _, conn := range []*net.TCPConn{c.near, c.far} {
		conn.SetLinger(0)
		conn.Close()
	}
}

// Hole has the relay pass nothing on, and break nothing, until it is told to end that.
func (r *Relay) Hole(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.hole:
		if on {
			r.hole = make(chan struct{})
		}
	default:
		if !on {
			close(r.hole)
		}
	}
}
