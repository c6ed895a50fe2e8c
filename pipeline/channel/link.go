package channel

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Link is a client's way to one server: as many connections as are needed. Methods may be called concurrently.
type Link struct {
	host   string
	config *tls.Config
	http   *http.Client
	dialer net.Dialer
}

// silence is after how long without an answer to what was sent a connection counts as dead.
const silence = 10 * time.Second

// notSent is how many bytes more than are on their way a connection takes from who writes to it.
const notSent = 256 << 10

// NewLink makes a link to the server at host:port with that key. It connects when it is first used.
func NewLink(host string, id Identity, server Key) *Link {
	l := &Link{host: host, config: id.clientConfig(server)}
	l.dialer = net.Dialer{
		Timeout:         silence,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: silence / 4, Count: 2},
		ControlContext: func(_ context.Context, _, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				// Bytes on their way that are not confirmed are no reason to wait for ever. Where the system can't, the
				// keep-alive finds a connection without them.
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence/time.Millisecond))
				// What is not on its way yet waits here, where another connection may take it, and not in the system.
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
			})
		},
	}
	l.http = &http.Client{Transport: &http.Transport{
		DialTLSContext:      l.dial,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     idleTime / 2,
		DisableCompression:  true, // what is stored is sealed
	}}
	return l
}

func (l *Link) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := l.dialer.DialContext(ctx, "tcp", l.host)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(&wire{Conn: conn}, l.config)
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return newWired(secure), nil
}

// Host is the server's host:port.
func (l *Link) Host() string { return l.host }

// HTTP makes requests of URLs that begin with Base. Whoever answers them is the server.
func (l *Link) HTTP() *http.Client { return l.http }

// Base is what the URL of every request begins with.
func (l *Link) Base() string { return "https://" + l.host }

// Call makes a request with in as its JSON body and takes the JSON answer in out; both may be nil. What the server
// says is wrong is a *Failure.
func (l *Link) Call(ctx context.Context, method, path string, in, out any) error {
	r, err := l.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	answer, err := l.http.Do(r)
	if err != nil {
		return l.unanswered(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return FailureOf(answer)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxMessage)).Decode(out); err != nil {
		return fmt.Errorf("answer of %s: %w", l.host, err)
	}
	return nil
}

// unanswered is the error of a request that nothing came back on.
func (l *Link) unanswered(err error) error {
	if errors.Is(err, ErrRefused) {
		return fmt.Errorf("ask %s: %w", l.host, err)
	}
	return fmt.Errorf("ask %s: %w: %w", l.host, ErrAway, err)
}

func (l *Link) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	return http.NewRequestWithContext(ctx, method, l.Base()+path, body)
}

// FailureOf reads why a server did not do what it was asked: a *Failure.
func FailureOf(answer *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxMessage))
	if err != nil {
		return fmt.Errorf("answer %s: %w", answer.Status, err)
	}
	var f Failure
	if json.Unmarshal(b, &f) != nil || f.Message == "" {
		f = Failure{Message: fmt.Sprintf("the server answered %s: %.200q", answer.Status, b)}
	}
	if f.Code == "refused" {
		return fmt.Errorf("%w: %w", ErrRefused, &f)
	}
	return &f
}

// Enroll shows the server an invitation. After that this machine is a client.
func (l *Link) Enroll(ctx context.Context, s Secret) error {
	if err := l.Call(ctx, http.MethodPost, enrollPath, enrollment{s[:]}, nil); err != nil {
		return fmt.Errorf("use the invitation: %w", err)
	}
	return nil
}

// upgradeTo names what a connection is upgraded to.
const upgradeTo = "coffer"

// Upgrade makes a request on a connection of its own and returns that connection when the server has agreed to use it
// for something else from then on. The reader has what came with the answer.
func (l *Link) Upgrade(ctx context.Context, path string) (_ net.Conn, _ *bufio.Reader, err error) {
	conn, err := l.dial(ctx, "", "")
	if err != nil {
		return nil, nil, l.unanswered(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	r, err := l.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", upgradeTo)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(helloTime)); err != nil {
		return nil, nil, err
	}
	if err := r.Write(conn); err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", l.host, err)
	}
	in := bufio.NewReaderSize(conn, 64<<10)
	answer, err := http.ReadResponse(in, r)
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", l.host, err)
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		defer answer.Body.Close()
		return nil, nil, FailureOf(answer)
	}
	if !stop() {
		return nil, nil, context.Cause(ctx)
	}
	return conn, in, conn.SetDeadline(time.Time{})
}

// Hijack is the server's end of Upgrade. The connection belongs to the caller.
func Hijack(w http.ResponseWriter, r *http.Request) (net.Conn, *bufio.Reader, error) {
	if r.Header.Get("Upgrade") != upgradeTo {
		err := &Failure{Code: "bad", Message: "this is for a connection that is upgraded"}
		Answer(w, http.StatusUpgradeRequired, err)
		return nil, nil, err
	}
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("upgrade a connection: %w", err)
	}
	_, err = fmt.Fprintf(both, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", upgradeTo)
	if err = errors.Join(err, both.Flush(), conn.SetDeadline(time.Time{})); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("upgrade a connection: %w", err), conn.Close())
	}
	return newWired(conn), both.Reader, nil
}
