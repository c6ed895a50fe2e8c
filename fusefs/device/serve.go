package device

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// slack is what a large buffer has room for beside a payload.
	slack = 4096
	// smallAnswer is the answer that needs no large buffer: the target of a symbolic link and a head at least.
	smallAnswer = 2 * slack
	// longWrite is the payload from which on a write takes long enough for the turn to pass, in bytes.
	longWrite = 64 << 10
)

// Handle answers a request. It takes the request in pieces and returns how many bytes of out are the answer,
// 0 for none, or else the error that is. Both are the caller's again when it returns. It is called concurrently.
type Handle func(in, out [][]byte) (n int, errno unix.Errno)

// First answers the request that the kernel sends first and alone, by which both agree what they can.
func (c *Conn) First(handle Handle) error {
	r := &reader{conn: c, handle: handle}
	large := c.large.get()
	defer c.large.put(large)
	if err := c.next(&r.request, large); err != nil {
		return fmt.Errorf("read the first request: %w", err)
	}
	return r.answer()
}

// Serve answers requests until the mount is gone, which returns nil, or the device fails. It calls gone when it
// knows, while requests are still under way, and returns when all have been answered. Once only.
func (c *Conn) Serve(handle Handle, gone func()) error {
	s := &service{conn: c, handle: handle, ended: make(chan struct{})}
	c.serving.Store(s)
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { c.turn.watch(stop, c.Pass) })
	s.start(nil)
	<-s.ended // until then there is a reader, or the watch is about to start one
	gone()
	s.readers.Wait()
	close(stop)
	watch.Wait()
	c.closing.Lock()
	defer c.closing.Unlock()
	c.closed = true
	if c.notifier != nil {
		c.notifier.close()
	}
	unix.Close(c.fd)
	return s.err
}

// Pass has another reader go on, because the request of this number is going to wait. Whoever answers it may call
// it at any time and any number of times; it does nothing if the turn has passed.
func (c *Conn) Pass(number uint64) {
	if number != 0 && c.turn.kept(number) {
		c.serving.Load().start(nil)
	}
}

// service is what Serve does.
type service struct {
	conn    *Conn
	handle  Handle
	readers sync.WaitGroup
	ended   chan struct{} // closed by the reader who had the turn last
	err     error         // read when it is
}

// start starts a reader, who has the turn. It is given a large buffer if there is one to spare.
func (s *service) start(large []byte) {
	s.readers.Go(func() {
		if large == nil {
			large = s.conn.large.get()
		}
		r := readers.Get().(*reader)
		defer readers.Put(r)
		r.conn, r.handle = s.conn, s.handle
		r.run(s, large)
	})
}

func (s *service) end(err error) {
	if !errors.Is(err, unix.ENODEV) {
		s.err = fmt.Errorf("read requests from the kernel: %w", err)
	}
	close(s.ended)
}

// reader reads requests and answers them, as long as he has the turn.
type reader struct {
	conn   *Conn
	handle Handle
	request
	small [smallAnswer]byte
}

// readers saves making one each time that the turn passes.
var readers = sync.Pool{New: func() any { return new(reader) }}

func (r *reader) run(s *service, large []byte) {
	c := r.conn
	for {
		if err := c.next(&r.request, large); err != nil {
			c.large.put(large)
			s.end(err)
			return
		}
		if r.isLong() {
			// The next reader gets the buffer, unless the request is in it.
			if len(r.rest) == 0 {
				s.start(large)
				r.reply()
			} else {
				s.start(nil)
				r.reply()
				c.large.put(large)
			}
			return
		}
		number := r.number()
		c.turn.taken(number)
		r.reply()
		if !c.turn.kept(number) {
			c.large.put(large)
			return
		}
	}
}

// isLong says of a request that it keeps a processor busy for so long that others should not wait for it.
func (r *reader) isLong() bool {
	switch r.operation() {
	case opRead:
		return true // small files too: the next request is looked up meanwhile
	case opWrite:
		return len(r.rest) >= longWrite
	}
	return false
}

func (r *reader) reply() {
	// The kernel does not know of a request whose process was killed meanwhile, nor of any after an unmount.
	if err := r.answer(); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EPERM) {
		r.conn.log.Warn("a request of the kernel could not be answered", "operation", r.operation(), "err", err)
	}
}

func (r *reader) answer() error {
	out := r.small[:]
	if r.answerSize() > len(out)-slack {
		large := r.conn.large.get()
		defer r.conn.large.put(large)
		out = large
	}
	n, errno := r.handle(r.parts(), [][]byte{out})
	if errno != 0 {
		out = appendHead(out[:0], -int32(errno), r.number(), 0)
		n = len(out)
	}
	if n == 0 {
		return nil
	}
	_, err := unix.Write(r.conn.fd, out[:n])
	if errors.Is(err, unix.EINVAL) {
		// The kernel takes no part of an answer that is not well formed. Whoever asked must not wait for ever.
		_, unanswered := unix.Write(r.conn.fd, appendHead(nil, -int32(unix.EIO), r.number(), 0))
		return errors.Join(err, unanswered)
	}
	return err
}
