package monitor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Info tells what the process behind a socket serves.
type Info struct {
	MountPoint string    `json:"mount_point"`
	Store      string    `json:"store"`
	Volume     string    `json:"volume"`
	Pid        int       `json:"pid"`
	Started    time.Time `json:"started"`
}

// PutRequest is the owner's own description, in JSON, of what to put.
type PutRequest = json.RawMessage

// Control is what the owner of a mount does on request. Methods are called
// concurrently. What they return as a value is answered as JSON. An error is
// answered as JSON too if it is a json.Marshaler, else as {"error": text}.
type Control interface {
	Status(ctx context.Context) (any, error)
	Sync(ctx context.Context) error
	Unmount(ctx context.Context) (any, error)
	// Put calls tell, from one goroutine at a time, for each line of its answer.
	Put(ctx context.Context, request PutRequest, tell func(any)) error
}

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 4 << 20

// Socket is the listening end of the control API.
type Socket struct {
	path   string
	server *http.Server
	done   chan struct{}
	close  sync.Once
	err    error
}

// Listen makes this process's socket in the run directory and serves the control
// API on it until Close.
func Listen(c Control, info Info) (*Socket, error) {
	dir, err := runDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, strconv.Itoa(info.Pid)+".sock")
	listener, err := bind(path)
	if err != nil {
		return nil, fmt.Errorf("listen for control: %w", err)
	}
	s := &Socket{path: path, server: &http.Server{Handler: routes(c, info)}, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		if err := s.server.Serve(ownUsersOnly{listener}); !errors.Is(err, http.ErrServerClosed) {
			s.err = err
		}
	}()
	return s, nil
}

// bind makes a socket that is seen under its name only once it answers: a socket
// that refuses connections is taken for dead, and removed, by whoever looks for
// mounts just then. What stands under the name is left over from another process
// of the same number.
func bind(path string) (net.Listener, error) {
	hidden := path + ".new"
	if err := os.Remove(hidden); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(hidden, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	if err := os.Rename(hidden, path); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	listener.SetUnlinkOnClose(false) // Close of Socket does
	return listener, nil
}

// Close lets requests under way finish, stops listening and removes the socket.
func (s *Socket) Close() error {
	s.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			s.server.Close()
		}
		<-s.done
		if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) && s.err == nil {
			s.err = err
		}
	})
	return s.err
}

// ownUsersOnly drops connections of other users; mode 0600 keeps them out already
// on Linux, this on what else there is.
type ownUsersOnly struct{ net.Listener }

// Accept returns the next connection of this user or of root.
func (l ownUsersOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || fromOwnUser(conn) {
			return conn, err
		}
		conn.Close()
	}
}

func fromOwnUser(conn net.Conn) bool {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return false
	}
	return int(cred.Uid) == os.Getuid() || cred.Uid == 0
}

func routes(c Control, info Info) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/info", func(w http.ResponseWriter, _ *http.Request) { answer(w, info, nil) })
	mux.HandleFunc("POST /v1/status", func(w http.ResponseWriter, r *http.Request) {
		v, err := c.Status(r.Context())
		answer(w, v, err)
	})
	mux.HandleFunc("POST /v1/sync", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, c.Sync(r.Context()))
	})
	mux.HandleFunc("POST /v1/umount", func(w http.ResponseWriter, r *http.Request) {
		// Whoever asked may go away; a volume half closed would be worse.
		v, err := c.Unmount(context.WithoutCancel(r.Context()))
		answer(w, v, err)
	})
	mux.HandleFunc("POST /v1/put", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			answer(w, nil, err)
			return
		}
		stream(w, func(tell func(any)) error { return c.Put(r.Context(), body, tell) })
	})
	return mux
}

func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		v = errorBody(err)
	}
	_ = json.NewEncoder(w).Encode(v) // the client has gone; nobody to tell
}

func errorBody(err error) any {
	var m json.Marshaler
	if errors.As(err, &m) {
		return m
	}
	return lineError{Error: err.Error()}
}

type lineError struct {
	Error string `json:"error"`
}

// lastLine ends a stream of lines: Error is null if all went well.
type lastLine struct {
	End   bool `json:"end"`
	Error any  `json:"error"`
}

func stream(w http.ResponseWriter, run func(tell func(any)) error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	tell := func(v any) {
		_ = enc.Encode(v) // as in answer
		_ = out.Flush()
		_ = http.NewResponseController(w).Flush()
	}
	last := lastLine{End: true}
	if err := run(tell); err != nil {
		last.Error = errorBody(err)
	}
	tell(last)
}
