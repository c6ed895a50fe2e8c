package channel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// serve has a server with one client, and gives its address and key.
func serve(t *testing.T, client Key, h http.Handler) (address string, server Key) {
	t.Helper()
	r := newRegistry(t)
	enroll(t, r, "client", client, Rights{})
	id, err := EnsureIdentity(filepath.Join(t.TempDir(), "server"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	served := make(chan error, 1)
	s := NewServer(id, r, h, time.Now, slog.New(slog.NewTextHandler(io.Discard, nil)))
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		end()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), id.Key()
}

func clientIdentity(t *testing.T) Identity {
	t.Helper()
	id, err := EnsureIdentity(filepath.Join(t.TempDir(), "client"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestWrongServer: a client talks to the server with the key that it knows, and tells others nothing.
func TestWrongServer(t *testing.T) {
	id := clientIdentity(t)
	asked := false
	address, _ := serve(t, id.Key(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	link := NewLink(address, id, Key{1, 2, 3})
	if err := link.Call(t.Context(), "GET", "/v1/store", nil, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("call: %v", err)
	}
	if _, _, err := link.Upgrade(t.Context(), "/x"); !errors.Is(err, ErrRefused) {
		t.Errorf("upgrade: %v", err)
	}
	if err := link.Enroll(t.Context(), newSecret()); !errors.Is(err, ErrRefused) {
		t.Errorf("enroll: %v", err)
	}
	if asked {
		t.Error("a request reached it")
	}
}

func TestUpgrade(t *testing.T) {
	id := clientIdentity(t)
	address, key := serve(t, id.Key(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := ClientOf(r.Context()); c.Name != "client" {
			t.Errorf("the client is %q", c.Name)
		}
		conn, in, err := Hijack(w, r)
		if err != nil {
			return
		}
		defer conn.Close()
		io.Copy(conn, in)
	}))
	link := NewLink(address, id, key)
	conn, in, err := link.Upgrade(t.Context(), "/echo")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(in, b); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	var failure *Failure
	if err := link.Call(t.Context(), "GET", "/echo", nil, nil); !errors.As(err, &failure) || failure.Code != "bad" {
		t.Errorf("without an upgrade: %v", err)
	}
}
