package mover

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/dir"
	"coffer/media/remote"
	"coffer/pipeline/agent"
	"coffer/pipeline/channel"
)

// lines counts the warnings and errors of a server.
type lines struct {
	mu   sync.Mutex
	text []string
	wake chan struct{}
}

func newLines() *lines { return &lines{wake: make(chan struct{}, 1)} }

func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *lines) WithGroup(string) slog.Handler                    { return l }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.mu.Lock()
	l.text = append(l.text, text)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

func (l *lines) logger() *slog.Logger { return slog.New(l) }

// all are the lines so far, which are taken.
func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.Join(l.text, "\n")
	l.text = nil
	return text
}

// take waits for a line, and returns all there are.
func (l *lines) take(t *testing.T) []string {
	t.Helper()
	for {
		l.mu.Lock()
		text := l.text
		l.text = nil
		l.mu.Unlock()
		if len(text) > 0 {
			return text
		}
		select {
		case <-l.wake:
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was logged")
		}
	}
}

// doors is a server in a test, with a client that it knows and one whose things are none of the first's business.
type doors struct {
	t        *testing.T
	address  string
	id       channel.Identity
	registry *channel.Registry
	log      *lines
	store    chunkfmt.StoreID
	to       *Destination

	mu  sync.Mutex // guards now
	now time.Time

	client, other *guest
}

// guest is a machine with a key.
type guest struct {
	id     channel.Identity
	link   *channel.Link
	volume chunkfmt.VolumeID
	medium *remote.Medium
}

func newDoors(t *testing.T) *doors {
	t.Helper()
	m, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return newDoorsOn(t, m)
}

// newDoorsOn serves what is on a medium, which it closes.
func newDoorsOn(t *testing.T, m media.Medium) *doors {
	t.Helper()
	d := &doors{t: t, log: newLines(), now: time.Now()}
	var err error
	if d.store, err = media.CreateStore(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	log := slog.New(d.log)
	state := t.TempDir()
	if d.registry, err = channel.OpenRegistry(state); err != nil {
		t.Fatal(err)
	}
	d.id = d.identity("server")
	d.to = NewDestination(t.Context(), DestinationOptions{
		Medium: m, Store: d.store, Registry: d.registry, Starter: starter{}, Log: log, LeaseDir: filepath.Join(state, "leases"),
		CatalogPath: func(chunkfmt.VolumeID) string { return "" }, Clock: d.time,
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.address = l.Addr().String()
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	server := channel.NewServer(d.id, d.registry, d.to.Handler(), d.time, log)
	go func() { served <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		end()
		if err := errors.Join(<-served, d.to.Close(), m.Close()); err != nil {
			t.Error(err)
		}
	})
	d.client, d.other = d.let("client"), d.let("other")
	return d
}

func (d *doors) identity(name string) channel.Identity {
	d.t.Helper()
	id, err := channel.EnsureIdentity(filepath.Join(d.t.TempDir(), name))
	if err != nil {
		d.t.Fatal(err)
	}
	return id
}

func (d *doors) time() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *doors) setNow(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = now
}

// stranger is a machine that nobody has let in.
func (d *doors) stranger() *guest {
	var volume chunkfmt.VolumeID
	rand.Read(volume[:])
	return d.strangerFor(volume)
}

func (d *doors) strangerFor(volume chunkfmt.VolumeID) *guest {
	d.t.Helper()
	g := &guest{id: d.identity("stranger"), volume: volume}
	g.link = channel.NewLink(d.address, g.id, d.id.Key())
	g.medium = remote.New(remote.Config{Client: g.link.HTTP(), Base: g.link.Base() + "/v1/volumes/" + g.volume.String()})
	return g
}

// let lets a machine in, which gets a volume.
func (d *doors) let(name string) *guest {
	var volume chunkfmt.VolumeID
	rand.Read(volume[:])
	return d.letVolume(name, volume)
}

// letVolume lets a machine in that has a certain volume, alone or with others.
func (d *doors) letVolume(name string, volume chunkfmt.VolumeID, with ...string) *guest {
	return d.letVolumeWith(name, volume, channel.Rights{With: with})
}

func (d *doors) letVolumeWith(name string, volume chunkfmt.VolumeID, rights channel.Rights) *guest {
	d.t.Helper()
	g := d.strangerFor(volume)
	secret, err := d.registry.Invite(name, rights, d.time().Add(time.Hour))
	if err != nil {
		d.t.Fatal(err)
	}
	if err := g.link.Enroll(d.t.Context(), secret); err != nil {
		d.t.Fatal(err)
	}
	if _, err := g.medium.List(d.t.Context(), media.VolumePrefix(g.volume)); err != nil {
		d.t.Fatal(err)
	}
	return g
}

// attach asks for a pipe with what change makes of a good request.
func (g *guest) attach(ctx context.Context, change func(*agent.Attach)) error {
	var session chunkfmt.SessionID
	rand.Read(session[:])
	a := agent.Attach{
		Pipe: "pipe-of-" + g.volume.String(), Volume: g.volume.String(), Session: hex.EncodeToString(session[:]),
		Ordinal: 1, Agents: 2, Holder: "a test", Attempt: uint64(time.Now().UnixNano()),
	}
	if change != nil {
		change(&a)
	}
	var reply agent.Attached
	return g.link.Call(ctx, http.MethodPost, agent.Pipes, a, &reply)
}

func (g *guest) pipe() string { return agent.Pipes + "/pipe-of-" + g.volume.String() }

// raw sends bytes without TLS and gives what comes back before the end.
func (d *doors) raw(b string) error {
	conn, err := net.Dial("tcp", d.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, b); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	return outcome(conn)
}

// secure shakes hands as config says and sends bytes.
func (d *doors) secure(config *tls.Config, b string) error {
	config.InsecureSkipVerify = true
	conn, err := tls.Dial("tcp", d.address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, b); err != nil {
		return err
	}
	return outcome(conn)
}

// outcome is an error unless an HTTP answer of success comes.
func outcome(conn io.Reader) error {
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		return fmt.Errorf("answer %s", answer.Status)
	}
	return nil
}

func otherCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// frame sends one frame as agent 0 of a good pipe, and gives what ends the connection.
func (g *guest) frame(ctx context.Context, first uint64, n uint32, b []byte) error {
	if err := g.attach(ctx, nil); err != nil {
		return nil // not what is tested
	}
	conn, _, err := g.link.Upgrade(ctx, g.pipe()+"/agents/0")
	if err != nil {
		return nil
	}
	defer conn.Close()
	head := binary.BigEndian.AppendUint64(nil, first)
	head = binary.BigEndian.AppendUint32(head, n)
	if _, err := conn.Write(append(head, b...)); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil
	}
	_, err = conn.Read(make([]byte, 1))
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		return nil // it went on listening
	}
	return err
}

// TestNotLetIn knocks at the door of a server in ways that must not get in. Each has one line in the log, and the
// server goes on.
func TestNotLetIn(t *testing.T) {
	t.Parallel()
	const request = "GET /v1/store HTTP/1.1\r\nHost: x\r\n\r\n"
	good := func(d *doors) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{otherCertificate(d.t)}} }
	long := strings.Repeat("x", 1<<20)
	call := func(g *guest, method, path string, in any) error {
		return g.link.Call(t.Context(), method, path, in, nil)
	}
	secret := func(d *doors, expires time.Time) channel.Secret {
		s, err := d.registry.Invite(fmt.Sprintf("guest-%d", time.Now().UnixNano()), channel.Rights{}, expires)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	type knocking struct {
		name string
		do   func(d *doors) error
	}
	cases := []knocking{
		{"no TLS", func(d *doors) error { return d.raw(request) }},
		{"noise", func(d *doors) error { return d.raw("\x00\xff\x17 noise") }},
		{"half a handshake", func(d *doors) error { return d.raw("\x16\x03\x01\x02\x00\x01") }},
		{"no certificate", func(d *doors) error { return d.secure(&tls.Config{}, request) }},
		{"TLS 1.2", func(d *doors) error {
			c := good(d)
			c.MaxVersion = tls.VersionTLS12
			return d.secure(c, request)
		}},
		{"a key of another kind", func(d *doors) error { return d.secure(good(d), request) }},
		{"another kind of key at the enrollment", func(d *doors) error {
			return d.secure(good(d), "POST /v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
		}},
		{"no HTTP", func(d *doors) error { return d.secure(good(d), "\x00\x01\x02\r\n\r\n") }},
		{"a header without end", func(d *doors) error { return d.secure(good(d), "GET / HTTP/1.1\r\nHost: x\r\nX: "+long) }},
		{"a header that does not come", func(d *doors) error { return d.secure(good(d), "GET / HTTP/1.1\r\nHo") }},
		{"an unknown key", func(d *doors) error { return call(d.stranger(), "GET", "/v1/store", nil) }},
		{"an unknown key that wants a pipe", func(d *doors) error { return d.stranger().attach(t.Context(), nil) }},
		{"an unknown key that wants a connection", func(d *doors) error {
			_, _, err := d.stranger().link.Upgrade(t.Context(), d.client.pipe()+"/acks")
			return err
		}},
		{"a revoked key", func(d *doors) error {
			g := d.let("leaver")
			if err := d.registry.Revoke("leaver"); err != nil {
				t.Fatal(err)
			}
			return call(g, "GET", "/v1/store", nil)
		}},
		{"a used invitation", func(d *doors) error {
			s := secret(d, d.time().Add(time.Hour))
			if err := d.stranger().link.Enroll(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			return d.stranger().link.Enroll(t.Context(), s)
		}},
		{"an expired invitation", func(d *doors) error {
			return d.stranger().link.Enroll(t.Context(), secret(d, d.time().Add(-time.Second)))
		}},
		{"no invitation", func(d *doors) error { return d.stranger().link.Enroll(t.Context(), channel.Secret{1}) }},
		{"a short invitation", func(d *doors) error {
			return call(d.stranger(), "POST", "/v1/enroll", map[string]any{"secret": []byte{1}})
		}},
		{"an invitation of another form", func(d *doors) error { return call(d.stranger(), "POST", "/v1/enroll", []int{1}) }},
		{"a large invitation", func(d *doors) error {
			return call(d.stranger(), "POST", "/v1/enroll", map[string]any{"secret": []byte(long + long)})
		}},
		{"another's chunks", func(d *doors) error {
			return call(d.client, "GET", "/v1/volumes/"+d.other.volume.String()+"/objects?prefix="+media.VolumePrefix(d.other.volume), nil)
		}},
		{"another's space", func(d *doors) error {
			return call(d.client, "GET", "/v1/volumes/"+d.other.volume.String()+"/space", nil)
		}},
		{"another's lease", func(d *doors) error {
			return call(d.client, "POST", "/v1/volumes/"+d.other.volume.String()+"/lease", map[string]string{"holder": "me"})
		}},
		{"a second volume", func(d *doors) error {
			return call(d.client, "GET", "/v1/volumes/"+strings.Repeat("ab", 16)+"/space", nil)
		}},
		{"a volume that is none", func(d *doors) error { return call(d.client, "GET", "/v1/volumes/zz/space", nil) }},
		{"a pipe into another's volume", func(d *doors) error {
			return d.client.attach(t.Context(), func(a *agent.Attach) { a.Volume = d.other.volume.String() })
		}},
		{"another's pipe", func(d *doors) error {
			if err := d.other.attach(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			_, _, err := d.client.link.Upgrade(t.Context(), d.other.pipe()+"/agents/0")
			return err
		}},
		{"another's acknowledgements", func(d *doors) error {
			if err := d.other.attach(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			_, _, err := d.client.link.Upgrade(t.Context(), d.other.pipe()+"/acks")
			return err
		}},
		{"the end of another's pipe", func(d *doors) error {
			if err := d.other.attach(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			return call(d.client, "DELETE", d.other.pipe(), nil)
		}},
		{"an agent of no pipe", func(d *doors) error {
			_, _, err := d.client.link.Upgrade(t.Context(), agent.Pipes+"/none/agents/0")
			return err
		}},
		{"an agent with a number too high", func(d *doors) error {
			if err := d.client.attach(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			_, _, err := d.client.link.Upgrade(t.Context(), d.client.pipe()+"/agents/2")
			return err
		}},
		{"an agent without a number", func(d *doors) error {
			if err := d.client.attach(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			_, _, err := d.client.link.Upgrade(t.Context(), d.client.pipe()+"/agents/x")
			return err
		}},
		{"a pipe without agents", func(d *doors) error {
			return d.client.attach(t.Context(), func(a *agent.Attach) { a.Agents = 0 })
		}},
		{"a pipe of a thousand agents", func(d *doors) error {
			return d.client.attach(t.Context(), func(a *agent.Attach) { a.Agents = 1000 })
		}},
		{"a pipe without a name", func(d *doors) error {
			return d.client.attach(t.Context(), func(a *agent.Attach) { a.Pipe = "" })
		}},
		{"a pipe without a session", func(d *doors) error {
			return d.client.attach(t.Context(), func(a *agent.Attach) { a.Session = "00" })
		}},
		{"a session of number 0", func(d *doors) error {
			return d.client.attach(t.Context(), func(a *agent.Attach) { a.Ordinal = 0 })
		}},
		{"a pipe of another form", func(d *doors) error { return call(d.client, "POST", agent.Pipes, []string{"x"}) }},
		{"what is not offered", func(d *doors) error { return call(d.client, "GET", "/v1/secrets", nil) }},
		{"a frame that is too large", func(d *doors) error { return d.client.frame(t.Context(), 1<<40|1, 1<<30, nil) }},
		{"a frame without a number", func(d *doors) error { return d.client.frame(t.Context(), 0, 100, make([]byte, 100)) }},
		{"a frame without tags", func(d *doors) error { return d.client.frame(t.Context(), 1<<40|1, 100, make([]byte, 100)) }},
	}
	d := newDoors(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d.t = t
			err := c.do(d)
			if err == nil {
				t.Fatal("it got in")
			}
			if text := d.log.take(t); len(text) != 1 {
				t.Errorf("%d lines in the log: %q", len(text), text)
			} else {
				t.Logf("%v; the log: %s", err, text[0])
			}
			if err := d.client.link.Call(t.Context(), "GET", "/v1/store", nil, nil); err != nil {
				t.Fatalf("and then the client that is known: %v", err)
			}
		})
	}
}

// TestReplayedHandshake plays what a client that was let in has sent once more.
func TestReplayedHandshake(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var recorded bytes.Buffer
	passed := make(chan error, 1)
	go func() {
		near, err := l.Accept()
		if err != nil {
			passed <- err
			return
		}
		defer near.Close()
		far, err := net.Dial("tcp", d.address)
		if err != nil {
			passed <- err
			return
		}
		defer far.Close()
		go io.Copy(near, far)
		_, err = io.Copy(far, io.TeeReader(near, &recorded))
		passed <- err
	}()
	link := channel.NewLink(l.Addr().String(), d.client.id, d.id.Key())
	if err := link.Call(t.Context(), "GET", "/v1/store", nil, nil); err != nil {
		t.Fatal(err)
	}
	link.HTTP().CloseIdleConnections()
	// Both ends close at once: either may find out by a reset.
	if err := <-passed; err != nil && !errors.Is(err, unix.ECONNRESET) {
		t.Fatal(err)
	}
	if err := d.raw(recorded.String()); err == nil {
		t.Fatal("a recorded connection got in")
	} else if text := d.log.take(t); len(text) != 1 {
		t.Errorf("%d lines in the log: %q", len(text), text)
	}
}
