package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// owner is a mount's owner in a test.
type owner struct {
	synced  chan struct{}
	putting chan struct{} // closed when a put that never ends has begun
	left    chan struct{} // closed when it was called off
}

func (o *owner) Status(context.Context) (any, error)         { return map[string]int{"pending": 7}, nil }
func (o *owner) Sync(context.Context, json.RawMessage) error { o.synced <- struct{}{}; return nil }

type coded struct {
	Code int `json:"code"`
}

func (c *coded) Error() string { return "busy" }
func (c *coded) MarshalJSON() ([]byte, error) {
	return []byte(`{"code":` + strconv.Itoa(c.Code) + `}`), nil
}

func (o *owner) Unmount(context.Context) (any, error) { return nil, &coded{21} }

func (o *owner) Snapshot(_ context.Context, request json.RawMessage) (any, error) {
	return request, nil
}

func (o *owner) Archives(context.Context) (any, error) { return []int{1, 2}, nil }

func (o *owner) Amend(_ context.Context, request json.RawMessage) (any, error) { return request, nil }

func (o *owner) Forget(_ context.Context, request json.RawMessage) (any, error) { return request, nil }

func (o *owner) Prune(context.Context, json.RawMessage) (any, error) { return 3, nil }

func (o *owner) Index(context.Context) (any, error) { return "copy", nil }

func (o *owner) Put(ctx context.Context, request PutRequest, tell func(any)) error {
	var what string
	if err := json.Unmarshal(request, &what); err != nil {
		return err
	}
	switch what {
	case "fail":
		tell("one")
		return errors.New("it failed")
	case "stay":
		close(o.putting)
		<-ctx.Done()
		close(o.left)
		return ctx.Err()
	}
	tell("one")
	tell("two")
	return nil
}

func listen(t *testing.T) (*owner, *Socket, string) {
	t.Helper()
	o := &owner{synced: make(chan struct{}, 1), putting: make(chan struct{}), left: make(chan struct{})}
	s := listenFor(t, o)
	return o, s, filepath.Dir(s.path)
}

// listenFor makes a run directory of the test's own, and in it the socket of c.
func listenFor(t *testing.T, c Control) *Socket {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	s, err := Listen(c, Info{MountPoint: "/mnt/x", Store: "/store", Volume: "main", Pid: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func only(t *testing.T) *Client {
	t.Helper()
	clients, err := Mounts()
	if err != nil || len(clients) != 1 {
		t.Fatalf("mounts: %v, %v", clients, err)
	}
	return clients[0]
}

func TestCalls(t *testing.T) {
	o, s, dir := listen(t)
	c := only(t)
	if c.MountPoint != "/mnt/x" || c.Store != "/store" || c.Volume != "main" || c.Pid != os.Getpid() {
		t.Errorf("info %+v", c.Info)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, s.path: 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	var status map[string]int
	if err := c.Call(t.Context(), "status", nil, &status); err != nil || status["pending"] != 7 {
		t.Errorf("status %v, %v", status, err)
	}
	if err := c.Call(t.Context(), "sync", nil, nil); err != nil {
		t.Error(err)
	}
	<-o.synced
	var remote *RemoteError
	if err := c.Call(t.Context(), "umount", nil, nil); !errors.As(err, &remote) || !strings.Contains(string(remote.Body), `"code":21`) {
		t.Errorf("umount: %v", err)
	}
	if err := c.Call(t.Context(), "nothing", nil, nil); err == nil {
		t.Error("a call that does not exist was answered")
	}
}

func TestPut(t *testing.T) {
	o, _, _ := listen(t)
	c := only(t)
	var lines []string
	keep := func(b json.RawMessage) error { lines = append(lines, string(b)); return nil }
	if err := c.Put(t.Context(), "go", keep); err != nil || strings.Join(lines, " ") != `"one" "two"` {
		t.Errorf("put: %q, %v", lines, err)
	}
	var remote *RemoteError
	if err := c.Put(t.Context(), "fail", keep); !errors.As(err, &remote) || remote.Error() != "it failed" {
		t.Errorf("a put that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Put(ctx, "stay", keep) }()
	<-o.putting
	cancel()
	<-o.left
	if err := <-ended; err == nil {
		t.Error("a put that was called off ended well")
	}
}

// TestGarbage: what is no request is refused, and neither stops the server nor hangs it.
func TestGarbage(t *testing.T) {
	_, s, _ := listen(t)
	for _, test := range []struct{ request, want string }{
		{"", ""},
		{"\x00\xff\n\n", "400 Bad Request"},
		{"GET /v1/info HTTP/1.1\r\n\r\n", "400 Bad Request"}, // no host
		{"GET /v1/info HTTP/9.9\r\nHost: x\r\n\r\n", "505 HTTP Version Not Supported"},
		{"GET / HTTP/1.0\r\n\r\n", "404 Not Found"},
		{"GET /v1/sync/ HTTP/1.0\r\n\r\n", "404 Not Found"},
		{"GET /v1/sync HTTP/1.0\r\n\r\n", "405 Method Not Allowed"},
		{"POST /v1/info HTTP/1.0\r\n\r\n", "405 Method Not Allowed"},
		{"POST /v1/put HTTP/1.0\r\nContent-Length: 3\r\n\r\n{", "unexpected EOF"},
		{"POST /v1/put HTTP/1.0\r\nContent-Length: 99999999999\r\n\r\n" + strings.Repeat("x", maxRequest+1), "too large"},
		{"POST /v1/put HTTP/1.0\r\n\r\n", "unexpected end of JSON input"},
		{"POST /v1/put HTTP/1.0\r\nContent-Length: 2\r\n\r\n{]", "invalid character"},
		{"POST /v1/sync HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n", "501 Not Implemented"},
		{"GET /v1/info HTTP/1.0\r\nX: " + strings.Repeat("x", 2<<20) + "\r\n\r\n", "431 Request Header Fields Too Large"},
	} {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan string)
		go func() {
			b, _ := io.ReadAll(conn) // it may be reset after the answer
			answer <- string(b)
		}()
		// The server need not read all of it before it answers and goes.
		_, _ = io.WriteString(conn, test.request)
		_ = conn.CloseWrite()
		if got := <-answer; !strings.Contains(got, test.want) {
			t.Errorf("%.60q was answered with %.300q, want %q", test.request, got, test.want)
		}
		conn.Close()
	}
	only(t)
}

// TestBind has what a process of the same number left behind in the way, and
// finds the new socket under its own name only.
func TestBind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "1.sock")
	for _, left := range []string{path, path + ".new"} {
		if err := os.WriteFile(left, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := bind(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("the directory holds %v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestDeadSocket leaves a socket without a listener behind: it is cleared away.
func TestDeadSocket(t *testing.T) {
	_, _, dir := listen(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "1.sock")
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: dead}), syscall.Close(fd)); err != nil {
		t.Fatal(err)
	}
	only(t)
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead socket is still there: %v", err)
	}
}
