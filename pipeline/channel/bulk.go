package channel

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

const (
	// gatherSize is how many bytes of records go to the system at a time, and how many are asked of it.
	gatherSize = 256 << 10
	// fullRecord is how many bytes of plain text are in one, as RFC 8446 has it.
	fullRecord = 16 << 10
	// bulk is from how many bytes on a write is worth gathering: some records of 16 KiB.
	bulk = 48 << 10
)

// wire is a connection below TLS, which writes and reads a record at a time. While it is held, what is written is
// gathered; once it is for bulk, what is read is read ahead. Without that a GiB is 130,000 system calls, and as many times
// that somebody is woken.
type wire struct {
	net.Conn
	in atomic.Pointer[bufio.Reader]

	mu   sync.Mutex // guards what follows
	held int        // by so many writers
	out  *[]byte    // gathered; nil unless held
}

// forBulk has what is read read ahead. A connection of somebody unknown has no room for that.
func (w *wire) forBulk() { w.in.Store(bufio.NewReaderSize(w.Conn, gatherSize)) }

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	if in := w.in.Load(); in != nil {
		return in.Read(p)
	}
	return w.Conn.Read(p)
}

// Write implements net.Conn. A record that is not full is the last of what somebody writes, as a rule: nothing is held back
// then, so that TLS knows that it is being written, and who closes the connection need not wait for whoever does not take
// it. Else it is for release to write the rest, and to say that it could not be written.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == 0 {
		return w.Conn.Write(p)
	}
	*w.out = append(*w.out, p...)
	if len(p) < fullRecord || len(*w.out)+len(p) > gatherSize {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// flush writes what was gathered; mu is held.
func (w *wire) flush() error {
	if len(*w.out) == 0 {
		return nil
	}
	_, err := w.Conn.Write(*w.out)
	*w.out = (*w.out)[:0]
	return err
}

func (w *wire) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held++; w.held == 1 {
		w.out = rooms.Get().(*[]byte)
	}
}

func (w *wire) release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held--; w.held > 0 {
		return nil
	}
	err := w.flush()
	rooms.Put(w.out)
	w.out = nil
	return err
}

// rooms are for what is gathered, which is nothing most of the time.
var rooms = sync.Pool{New: func() any {
	b := make([]byte, 0, gatherSize)
	return &b
}}

// write has write, whose records end in w, write p.
func (w *wire) write(write func([]byte) (int, error), p []byte) (int, error) {
	if len(p) < bulk {
		return write(p)
	}
	w.hold()
	n, err := write(p)
	if e := w.release(); e != nil {
		return 0, errors.Join(err, e)
	}
	return n, err
}

// wired is a TLS connection above a wire.
type wired struct {
	*tls.Conn
	wire *wire
}

// newWired takes a connection that is for bulk, if it is TLS above a wire.
func newWired(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		if w, ok := t.NetConn().(*wire); ok {
			w.forBulk()
			return wired{t, w}
		}
	}
	return c
}

// Write implements net.Conn.
func (c wired) Write(p []byte) (int, error) { return c.wire.write(c.Conn.Write, p) }

// wiredResponse answers on a wired connection.
type wiredResponse struct {
	http.ResponseWriter
	wire *wire
}

// Write implements http.ResponseWriter.
func (r wiredResponse) Write(p []byte) (int, error) { return r.wire.write(r.ResponseWriter.Write, p) }

// Unwrap is for http.ResponseController.
func (r wiredResponse) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// wireListener makes wires of what it accepts.
type wireListener struct{ net.Listener }

// Accept implements net.Listener.
func (l wireListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wire{Conn: c}, nil
}
