package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// calls is a Control made of functions.
type calls struct {
	status  func(ctx context.Context) (any, error)
	sync    func(ctx context.Context) error
	unmount func(ctx context.Context) (any, error)
	put     func(ctx context.Context, request PutRequest, tell func(any)) error
}

func (c calls) Status(ctx context.Context) (any, error)                { return c.status(ctx) }
func (c calls) Sync(ctx context.Context, _ json.RawMessage) error      { return c.sync(ctx) }
func (c calls) Snapshot(context.Context, json.RawMessage) (any, error) { return nil, nil }

func (c calls) Archives(context.Context) (any, error)               { return nil, nil }
func (c calls) Amend(context.Context, json.RawMessage) (any, error) { return nil, nil }

func (c calls) Forget(context.Context, json.RawMessage) (any, error) { return nil, nil }

func (c calls) Prune(context.Context, json.RawMessage) (any, error) { return nil, nil }

func (c calls) Index(context.Context) (any, error) { return nil, nil }

func (c calls) Unmount(ctx context.Context) (any, error) { return c.unmount(ctx) }
func (c calls) Put(ctx context.Context, request PutRequest, tell func(any)) error {
	return c.put(ctx, request, tell)
}

// ignore is for lines that do not matter.
func ignore(json.RawMessage) error { return nil }

// wrong is an error that cannot be told as JSON.
type wrong struct{ error }

func (wrong) MarshalJSON() ([]byte, error) { return nil, errors.New("no JSON") }

func TestErrorsAreTold(t *testing.T) {
	var err error
	var v any
	c := calls{
		status:  func(context.Context) (any, error) { return v, err },
		sync:    func(context.Context) error { return err },
		unmount: func(context.Context) (any, error) { return v, err },
		put:     func(context.Context, PutRequest, func(any)) error { return err },
	}
	listenFor(t, c)
	client := only(t)
	for _, test := range []struct {
		err        error
		body, text string
	}{
		{errors.New("disk \"a\"\nfailed"), `{"error":"disk \"a\"\nfailed"}`, "disk \"a\"\nfailed"},
		{fmt.Errorf("wrapped: %w", &coded{7}), `{"code":7}`, `{"code":7}`},
		{wrong{errors.New("odd")}, `{"error":"odd"}`, "odd"},
	} {
		err = test.err
		for what, got := range map[string]error{
			"status": client.Call(t.Context(), "status", nil, nil),
			"sync":   client.Call(t.Context(), "sync", nil, nil),
			"umount": client.Call(t.Context(), "umount", nil, nil),
			"put":    client.Put(t.Context(), nil, ignore),
		} {
			var remote *RemoteError
			if !errors.As(got, &remote) || string(remote.Body) != test.body || remote.Error() != test.text {
				t.Errorf("%s told %v as %v", what, test.err, got)
			}
		}
	}
	err, v = nil, make(chan int)
	if got := client.Call(t.Context(), "status", nil, nil); got == nil || !strings.Contains(got.Error(), "chan int") {
		t.Errorf("a status that is no JSON: %v", got)
	}
	v = map[string]string{"archive": "3"}
	var out struct{ Archive string }
	if err := client.Call(t.Context(), "umount", nil, &out); err != nil || out.Archive != "3" {
		t.Errorf("umount: %+v, %v", out, err)
	}
	if err := client.Call(t.Context(), "umount", make(chan int), nil); err == nil {
		t.Error("a request that is no JSON was made")
	}
}

func TestRequestIsBounded(t *testing.T) {
	var got int
	listenFor(t, calls{put: func(_ context.Context, r PutRequest, _ func(any)) error { got = len(r); return nil }})
	client := only(t)
	if err := client.Put(t.Context(), strings.Repeat("x", maxRequest-2), ignore); err != nil || got != maxRequest {
		t.Errorf("a request of %d bytes arrived with %d: %v", maxRequest, got, err)
	}
	got = 0
	var remote *RemoteError
	err := client.Put(t.Context(), strings.Repeat("x", maxRequest), ignore)
	if !errors.As(err, &remote) || !strings.Contains(remote.Error(), "too large") || got != 0 {
		t.Errorf("a request too large by 2 bytes: the owner got %d bytes: %v", got, err)
	}
}

// TestLinesComeAtOnce has a put that goes on only when its client has seen the line before.
func TestLinesComeAtOnce(t *testing.T) {
	seen := make(chan struct{})
	lines := []any{1, "two", []int{3}, map[string]any{"end": false}, nil}
	listenFor(t, calls{put: func(ctx context.Context, _ PutRequest, tell func(any)) error {
		for _, line := range lines {
			tell(line)
			select {
			case <-seen:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}})
	var got []string
	err := only(t).Put(t.Context(), nil, func(b json.RawMessage) error {
		got = append(got, string(b))
		seen <- struct{}{}
		return nil
	})
	if want := []string{`1`, `"two"`, `[3]`, `{"end":false}`, `null`}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestClientGoesAway: requests end with their clients, except an unmount.
func TestClientGoesAway(t *testing.T) {
	began, left, gone := make(chan struct{}), make(chan error, 1), make(chan struct{})
	waits := func(ctx context.Context) error {
		began <- struct{}{}
		<-ctx.Done()
		left <- ctx.Err()
		return ctx.Err()
	}
	listenFor(t, calls{
		status: func(ctx context.Context) (any, error) { return nil, waits(ctx) },
		sync:   waits,
		unmount: func(ctx context.Context) (any, error) {
			began <- struct{}{}
			<-gone
			left <- ctx.Err()
			return nil, nil
		},
		put: func(ctx context.Context, _ PutRequest, tell func(any)) error {
			tell("line")
			return waits(ctx)
		},
	})
	client := only(t)
	for _, test := range []struct {
		what string
		call func(ctx context.Context) error
		want error
	}{
		{"status", func(ctx context.Context) error { return client.Call(ctx, "status", nil, nil) }, context.Canceled},
		{"sync", func(ctx context.Context) error { return client.Call(ctx, "sync", "body", nil) }, context.Canceled},
		{"umount", func(ctx context.Context) error { return client.Call(ctx, "umount", nil, nil) }, nil},
		{"put", func(ctx context.Context) error { return client.Put(ctx, "it", ignore) }, context.Canceled},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- test.call(ctx) }()
		<-began
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the client got %v", test.what, err)
		}
		if test.what == "umount" {
			gone <- struct{}{}
		}
		if err := <-left; !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: the owner was told %v, want %v", test.what, err, test.want)
		}
	}
	// One that does not like what it hears goes away too.
	enough := errors.New("enough")
	ended := make(chan error, 1)
	go func() { ended <- client.Put(t.Context(), nil, func(json.RawMessage) error { return enough }) }()
	<-began
	if err := <-ended; !errors.Is(err, enough) {
		t.Errorf("the client got %v", err)
	}
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the owner was told %v", err)
	}
}

// TestCloseWaits: a request under way is finished, or called off after a while, before Close returns.
func TestCloseWaits(t *testing.T) {
	for _, patient := range []bool{true, false} {
		began, finish := make(chan struct{}), make(chan struct{})
		var owner error
		s := listenFor(t, calls{put: func(ctx context.Context, _ PutRequest, tell func(any)) error {
			close(began)
			select {
			case <-finish:
			case <-ctx.Done():
			}
			owner = ctx.Err()
			return owner
		}})
		client := only(t)
		var wg sync.WaitGroup
		var put error
		wg.Go(func() { put = client.Put(t.Context(), nil, ignore) })
		<-began
		if patient {
			close(finish)
		} else {
			s.grace = 0
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		// Without a lock: Close returns after the owner has.
		if (owner == nil) != patient {
			t.Errorf("patient %v: the owner was told %v", patient, owner)
		}
		wg.Wait()
		if (put == nil) != patient {
			t.Errorf("patient %v: the client got %v", patient, put)
		}
		if _, err := os.Stat(s.path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
		if clients, err := Mounts(); len(clients) != 0 || err != nil {
			t.Errorf("mounts after the end: %v, %v", clients, err)
		}
		if err := client.Call(t.Context(), "sync", nil, nil); err == nil {
			t.Error("a closed socket answered")
		}
	}
}

// speaks listens on path and answers the first connection with text; "" is silence until the test ends.
func speaks(t *testing.T, path, text string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if text == "" {
			_, _ = io.Copy(io.Discard, conn) // until the client goes
			return
		}
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, text)
	})
}

// TestOneOfManyIsBroken: mounts whose processes answer are found beside one whose process does not.
func TestOneOfManyIsBroken(t *testing.T) {
	for name, says := range map[string]string{
		"no HTTP":     "hello\r\n",
		"no JSON":     "HTTP/1.0 200 OK\r\n\r\n]",
		"no info":     "HTTP/1.0 404 Not Found\r\n\r\nnothing here\n",
		"cut off":     "HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\n{",
		"wrong types": "HTTP/1.0 200 OK\r\n\r\n{\"pid\":\"one\"}",
	} {
		t.Run(name, func(t *testing.T) {
			_, s, dir := listen(t)
			broken := filepath.Join(dir, "0.sock") // asked first
			speaks(t, broken, says)
			clients, err := Mounts()
			if len(clients) != 1 || clients[0].Pid != os.Getpid() || err == nil || !strings.Contains(err.Error(), broken) {
				t.Errorf("found %v, %v", clients, err)
			}
			for _, path := range []string{broken, s.path} {
				if _, err := os.Stat(path); err != nil {
					t.Errorf("a socket that is listened on was removed: %v", err)
				}
			}
		})
	}
}

func TestSilentProcess(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir, err := runDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "0.sock")
	speaks(t, path, "")
	if clients, err := mounts(time.Millisecond); len(clients) != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("found %v, %v", clients, err)
	}
}

// TestProcessDies during a put, after what may be taken for an end if one does not look closely.
func TestProcessDies(t *testing.T) {
	for said, want := range map[string]error{
		"":                                   io.ErrUnexpectedEOF,
		"\"line\"\n":                         io.ErrUnexpectedEOF,
		"{\"end\":false}\n":                  io.ErrUnexpectedEOF,
		"{\"end\":tr":                        io.ErrUnexpectedEOF,
		"1\n{\"end\":true,\"error\":null}\n": nil,
	} {
		path := filepath.Join(t.TempDir(), "s")
		speaks(t, path, "HTTP/1.0 200 OK\r\n\r\n"+said)
		if err := dial(path).Put(t.Context(), nil, ignore); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%q: %v, want %v", said, err, want)
		}
	}
}
