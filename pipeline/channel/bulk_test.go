package channel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
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
	const record = 16 << 10
	under := &pieces{room: 2 << 20}
	w := &wire{Conn: under}
	records := func(p []byte) (n int, err error) {
		for len(p) > 0 {
			m, err := w.Write(p[:min(record, len(p))])
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
	under.room = gatherSize / 2
	if _, err := w.write(records, data[:gatherSize]); !errors.Is(err, errNoRoom) {
		t.Errorf("where there is no room for the last step: %v", err)
	}
}
