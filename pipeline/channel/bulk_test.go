package channel

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestBulk sends messages of many sizes both ways, on a connection that was upgraded and as answers, and compares.
func TestBulk(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.NewChaCha8([32]byte(binary.LittleEndian.AppendUint64(make([]byte, 24), seed)))
	r := rand.New(rng)
	id := clientIdentity(t)
	data := make([]byte, 1<<20)
	rng.Read(data)
	address, key := serve(t, id.Key(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, err := strconv.Atoi(r.URL.Query().Get("n")); err == nil {
			w.Header().Set("Content-Length", strconv.Itoa(n))
			w.Write(data[:n])
			return
		}
		conn, in, err := Hijack(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		// What comes is held back until it is whole, and goes back in one piece.
		for {
			var size [4]byte
			if _, err := io.ReadFull(in, size[:]); err != nil {
				return
			}
			b := make([]byte, binary.BigEndian.Uint32(size[:]))
			if _, err := io.ReadFull(in, b); err != nil {
				t.Error(err)
				return
			}
			if _, err := conn.Write(b); err != nil {
				t.Error(err)
				return
			}
		}
	}))
	link := NewLink(address, id, key)
	conn, in, err := link.Upgrade(t.Context(), "/echo")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sizes := []int{1, 16 << 10, bulk - 1, bulk, bulk + 1, gatherSize, gatherSize + 1, len(data)}
	for range 40 {
		sizes = append(sizes, 1+r.IntN(len(data)))
	}
	for _, n := range sizes {
		if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, uint32(n))); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(data[:n]); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, n)
		if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got, data[:n]) {
			t.Fatalf("%d bytes came back otherwise: %v", n, err)
		}
		answer, err := link.HTTP().Get(link.Base() + "/?n=" + strconv.Itoa(n))
		if err != nil {
			t.Fatal(err)
		}
		got, err = io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !bytes.Equal(got, data[:n]) {
			t.Fatalf("an answer of %d bytes is otherwise: %v", n, err)
		}
	}
}

// pieces is a connection that keeps what is written, and fails when there is room for no more.
type pieces struct {
	net.Conn
	written [][]byte
	room    int
}

var errNoRoom = errors.New("no room")

func (p *pieces) Write(b []byte) (int, error) {
	if p.room -= len(b); p.room < 0 {
		return 0, errNoRoom
	}
	p.written = append(p.written, bytes.Clone(b))
	return len(b), nil
}

// TestWireGathers: a large write is few, in the order of all bytes; a small one is not held back; and one that could not be
// written to its end is not said to be.
func TestWireGathers(t *testing.T) {
	under := &pieces{room: 2 << 20}
	w := &wire{Conn: under}
	records := func(p []byte) (n int, err error) {
		for len(p) > 0 {
			m, err := w.Write(p[:min(fullRecord, len(p))])
			if n += m; err != nil {
				return n, err
			}
			p = p[m:]
		}
		return n, nil
	}
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i >> 8)
	}
	for _, n := range []int{100, bulk - 1, len(data)} {
		under.written = nil
		if m, err := w.write(records, data[:n]); err != nil || m != n {
			t.Fatalf("write %d: %d, %v", n, m, err)
		}
		if got := bytes.Join(under.written, nil); !bytes.Equal(got, data[:n]) {
			t.Errorf("of %d bytes %d are written, or others", n, len(got))
		}
	}
	if most := len(data)/gatherSize + 1; len(under.written) > most {
		t.Errorf("%d bytes are written in %d steps, not in at most %d", len(data), len(under.written), most)
	}
	if _, err := w.write(records, data); !errors.Is(err, errNoRoom) {
		t.Errorf("where there is no room: %v", err)
	}
	for _, n := range []int{gatherSize/2 + 1, gatherSize / 2} { // the last record is full, or not
		under.room = gatherSize / 4
		if _, err := w.write(records, data[:n]); !errors.Is(err, errNoRoom) {
			t.Errorf("where there is no room for the last step: %v", err)
		}
	}
}

// entered is a connection that says when something large is about to be written to it.
type entered struct {
	net.Conn
	write chan struct{}
}

func (e *entered) Write(b []byte) (int, error) {
	if len(b) >= bulk {
		close(e.write)
	}
	return e.Conn.Write(b)
}

// TestCloseBesideWriter closes a connection whose other side takes nothing while somebody writes to it. TLS, where it does
// not know that somebody is writing, waits for some seconds.
func TestCloseBesideWriter(t *testing.T) {
	client, server := clientIdentity(t), clientIdentity(t)
	here, there := net.Pipe() // takes nothing that is not read
	shaken := make(chan error, 1)
	go func() { shaken <- tls.Server(there, server.serverConfig()).Handshake() }()
	config := client.clientConfig(server.Key())
	config.DynamicRecordSizingDisabled = true // as after the first 128 KiB
	under := &entered{here, make(chan struct{})}
	secure := tls.Client(&wire{Conn: under}, config)
	if err := errors.Join(secure.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	conn := newWired(secure)
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, gatherSize/2+1))
		ended <- err
	}()
	<-under.write
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the writer is told: %v", err)
	}
}
