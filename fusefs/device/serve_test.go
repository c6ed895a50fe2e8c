package device

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kernel is the other end of a device made of a socket, which keeps messages apart as the device does.
type kernel struct {
	t    *testing.T
	fd   int
	conn *Conn
	done chan error
	gone atomic.Bool
}

func serve(t *testing.T, maxLarge int, handle Handle) *kernel {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(pair[1], true); err != nil {
		t.Fatal(err)
	}
	k := &kernel{t: t, fd: pair[0], done: make(chan error, 1)}
	k.conn = newConn(pair[1], &Options{MaxWrite: 64 << 10, MaxLarge: maxLarge, Log: slog.Default()})
	go func() { k.done <- k.conn.Serve(handle, func() { k.gone.Store(true) }) }()
	return k
}

// send sends a request of an operation with size bytes behind the header.
func (k *kernel) send(op uint32, number uint64, size int) {
	k.t.Helper()
	m := make([]byte, headerSize+size)
	order.PutUint32(m, uint32(len(m)))
	order.PutUint32(m[4:], op)
	order.PutUint64(m[8:], number)
	if err := unix.Send(k.fd, m, 0); err != nil {
		k.t.Fatalf("send request %d: %v", number, err)
	}
}

// answered waits for the next answer, which gives its number.
func (k *kernel) answered() uint64 {
	k.t.Helper()
	m := make([]byte, 128<<10)
	n, err := unix.Read(k.fd, m)
	if err != nil || n < answerHead {
		k.t.Fatalf("no answer but %d bytes: %v", n, err)
	}
	return order.Uint64(m[8:])
}

// end takes the device away and waits for Serve.
func (k *kernel) end() {
	k.t.Helper()
	if k.gone.Load() {
		k.t.Error("told that it is gone while it was there")
	}
	unix.Close(k.fd)
	if err := <-k.done; !errors.Is(err, errEnd) {
		k.t.Errorf("serving ended with %v", err)
	}
	if !k.gone.Load() {
		k.t.Error("not told that it is gone")
	}
}

// errEnd is what a socket without another end gives: nothing, which is too short for a request.
const errEnd = unix.EINVAL

func reply(in, out [][]byte) (int, unix.Errno) {
	return len(appendHead(out[0][:0], 0, order.Uint64(in[0][8:]), 0)), 0
}

// TestPass has a request wait which says so. The others are answered, an unmount waits for it.
func TestPass(t *testing.T) {
	release := make(chan struct{})
	var k *kernel
	ready := make(chan struct{})
	k = serve(t, 4, func(in, out [][]byte) (int, unix.Errno) {
		<-ready
		if number := order.Uint64(in[0][8:]); number == 1 {
			k.conn.Pass(number)
			k.conn.Pass(number)
			<-release
		}
		return reply(in, out)
	})
	close(ready)
	k.send(1, 1, 8)
	for number := uint64(2); number < 50; number++ {
		k.send(1, number, 100)
		if got := k.answered(); got != number {
			t.Fatalf("request %d was answered, not %d", got, number)
		}
	}
	close(release)
	if got := k.answered(); got != 1 {
		t.Fatalf("request %d was answered, not the one that waited", got)
	}
	k.end()
}

// TestStuck has a request wait which doesn't say so.
func TestStuck(t *testing.T) {
	release := make(chan struct{})
	k := serve(t, 4, func(in, out [][]byte) (int, unix.Errno) {
		if order.Uint64(in[0][8:]) == 1 {
			<-release
		}
		return reply(in, out)
	})
	for round := range 3 {
		if round > 0 {
			k.send(1, uint64(100*round), 8)
			k.answered()
		}
	}
	k.send(1, 1, 8)
	k.send(1, 2, 8)
	if got := k.answered(); got != 2 {
		t.Fatalf("request %d was answered first", got)
	}
	close(release)
	if got := k.answered(); got != 1 {
		t.Fatalf("request %d was answered second", got)
	}
	k.end()
}

// TestEach sends many requests of every kind, some of which wait or are slow: each is answered once, with what it
// brought seen whole, and Serve returns when the last has been.
func TestEach(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("COFFER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("COFFER_SEED=%d", seed)
	const requests, senders = 20000, 4
	var k *kernel
	ready := make(chan struct{})
	var under atomic.Int64
	k = serve(t, 3, func(in, out [][]byte) (int, unix.Errno) {
		<-ready
		under.Add(1)
		defer under.Add(-1)
		size := 0
		for _, p := range in {
			size += len(p)
		}
		number := order.Uint64(in[0][8:])
		if int(order.Uint32(in[0])) != size {
			t.Errorf("request %d came with %d bytes, not %d", number, size, order.Uint32(in[0]))
		}
		for _, b := range in[1:] {
			if b[len(b)-1] != 0 {
				t.Errorf("request %d has another's bytes", number)
			}
		}
		switch number % 97 {
		case 0:
			k.conn.Pass(number)
			time.Sleep(time.Millisecond)
		case 1:
			time.Sleep(2 * watchEvery)
		case 2:
			return 0, unix.EIO
		}
		return reply(in, out)
	})
	close(ready)
	var sent sync.WaitGroup
	room := make(chan struct{}, 16) // a socket takes only so many answers
	for s := range senders {
		r := rand.New(rand.NewPCG(seed, uint64(s)))
		sent.Go(func() {
			for number := s + 1; number <= requests; number += senders {
				op := []uint32{1, opRead, opWrite, opReaddir}[r.IntN(4)]
				size := 40 + r.IntN(100)
				if op == opWrite && r.IntN(4) == 0 {
					size += longWrite - 1000
				}
				room <- struct{}{}
				k.send(op, uint64(number), size)
			}
		})
	}
	seen := make(map[uint64]bool)
	for range requests {
		number := k.answered()
		if seen[number] {
			t.Fatalf("request %d was answered twice", number)
		}
		seen[number] = true
		<-room
	}
	sent.Wait()
	k.end()
	if n := under.Load(); n != 0 {
		t.Errorf("Serve returned with %d requests under way", n)
	}
}

// TestGoneWhileStuck takes the device away just when the watch has a reader started for one that is stuck: Serve
// must not take the moment between for the end.
func TestGoneWhileStuck(t *testing.T) {
	for range 20 {
		k := serve(t, 4, func(in, out [][]byte) (int, unix.Errno) {
			time.Sleep(2*watchEvery - time.Duration(rand.IntN(int(watchEvery))))
			return reply(in, out)
		})
		for number := uint64(1); number <= 5; number++ {
			k.send(1, number, 8)
			k.answered()
		}
		k.end()
	}
}
