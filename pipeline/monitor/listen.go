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
	MountPoint string    `json:"mount_point"`      // empty where nothing is mounted
	Serves     string    `json:"serves,omitempty"` // the address at which a store is served to other machines
	Store      string    `json:"store"`
	Volume     string    `json:"volume"`
	Pid        int       `json:"pid"`
	Started    time.Time `json:"started"`
	ReadOnly   bool      `json:"read_only,omitempty"` // of a mount: it writes nothing
}

// PutRequest is the owner's own description, in JSON, of what to put.
type PutRequest = json.RawMessage

// Control is what the owner of a mount does on request. Methods are called
// concurrently. What they return as a value is answered as JSON. An error is
// answered as JSON too if it is a json.Marshaler, else as {"error": text}.
type Control interface {
	Status(ctx context.Context) (any, error)
	// Sync waits until what was written is stable, as the owner's own description in JSON says where.
	Sync(ctx context.Context, request json.RawMessage) error
	Unmount(ctx context.Context) (any, error)
	// Snapshot seals an archive, as the owner's own description in JSON says.
	Snapshot(ctx context.Context, request json.RawMessage) (any, error)
	// Archives lists what was sealed.
	Archives(ctx context.Context) (any, error)
	// Forget forgets archives or sets the rules that do, as the owner's own description in JSON says.
	Forget(ctx context.Context, request json.RawMessage) (any, error)
	// Prune gives back what nothing refers to, likewise.
	Prune(ctx context.Context, request json.RawMessage) (any, error)
	// Index makes a copy of the index for another process to read.
	Index(ctx context.Context) (any, error)
	// Amend puts into the log what another process has found out about what is stored.
	Amend(ctx context.Context, request json.RawMessage) (any, error)
	// Put calls tell, from one goroutine at a time, for each line of its answer.
	// No line has a member "end", which is how the client knows the last one.
	Put(ctx context.Context, request PutRequest, tell func(any)) error
}

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 4 << 20

// Socket is the listening end of the control API.
type Socket struct {
	path   string
	server *http.Server
	grace  time.Duration // that requests have to finish once it closes
	done   chan struct{} // closed when no more connections are accepted
	busy   sync.RWMutex  // held for reading by each request, for writing once it has closed
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
	s := &Socket{path: path, grace: 5 * time.Second, done: make(chan struct{})}
	s.server = &http.Server{Handler: s.counted(routes(c, info))}
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

// counted has Close wait for the requests that h serves, and refuses those that
// come later.
func (s *Socket) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.busy.TryRLock() {
			http.Error(w, "closing", http.StatusServiceUnavailable)
			return
		}
		defer s.busy.RUnlock()
		h.ServeHTTP(w, r)
	})
}

// Close stops listening, gives requests under way five seconds to finish before it
// calls them off, waits until the owner has returned from all of them, and removes
// the socket. Further calls return what the first did.
func (s *Socket) Close() error {
	s.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.grace)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			s.server.Close()
		}
		<-s.done
		s.busy.Lock() // for good
		if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) && s.err == nil {
			s.err = err
		}
	})
	return s.err
}

// ownUsersOnly drops connections of other users. The modes of directory and socket
// keep them out already; this holds when somebody has changed those.
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
	return allowed(cred.Uid, uint32(os.Getuid()))
}

// allowed says whether user peer may use the socket of user own.
func allowed(peer, own uint32) bool { return peer == own || peer == 0 }

func routes(c Control, info Info) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/info", func(w http.ResponseWriter, _ *http.Request) { answer(w, info, nil) })
	status := withBody(func(w http.ResponseWriter, r *http.Request, _ []byte) {
		v, err := c.Status(r.Context())
		answer(w, v, err)
	})
	archives := withBody(func(w http.ResponseWriter, r *http.Request, _ []byte) {
		v, err := c.Archives(r.Context())
		answer(w, v, err)
	})
	mux.HandleFunc("GET /v1/status", status)
	mux.HandleFunc("POST /v1/status", status)
	mux.HandleFunc("GET /v1/archives", archives)
	mux.HandleFunc("POST /v1/archives", archives)
	mux.HandleFunc("POST /v1/sync", withBody(func(w http.ResponseWriter, r *http.Request, body []byte) {
		answer(w, struct{}{}, c.Sync(r.Context(), body))
	}))
	mux.HandleFunc("POST /v1/snapshot", withBody(func(w http.ResponseWriter, r *http.Request, body []byte) {
		v, err := c.Snapshot(r.Context(), body)
		answer(w, v, err)
	}))
	mux.HandleFunc("POST /v1/forget", withBody(func(w http.ResponseWriter, r *http.Request, body []byte) {
		v, err := c.Forget(r.Context(), body)
		answer(w, v, err)
	}))
	mux.HandleFunc("POST /v1/prune", withBody(func(w http.ResponseWriter, r *http.Request, body []byte) {
		v, err := c.Prune(r.Context(), body)
		answer(w, v, err)
	}))
	mux.HandleFunc("POST /v1/index", withBody(func(w http.ResponseWriter, r *http.Request, _ []byte) {
		v, err := c.Index(r.Context())
		answer(w, v, err)
	}))
	mux.HandleFunc("POST /v1/amend", withBody(func(w http.ResponseWriter, r *http.Request, body []byte) {
		v, err := c.Amend(r.Context(), body)
		answer(w, v, err)
	}))
	mux.HandleFunc("POST /v1/umount", withBody(func(w http.ResponseWriter, r *http.Request, _ []byte) {
		// Whoever asked may go away; a volume half closed would be worse.
		v, err := c.Unmount(context.WithoutCancel(r.Context()))
		answer(w, v, err)
	}))
	mux.HandleFunc("POST /v1/put", withBody(func(w http.ResponseWriter, r *http.Request, body []byte) {
		stream(w, func(tell func(any)) error { return c.Put(r.Context(), body, tell) })
	}))
	return mux
}

// withBody reads the body of a request before f is called. Also f that has no use for it needs
// that: not before the body has ended does the server look whether the client is still there.
func withBody(f func(w http.ResponseWriter, r *http.Request, body []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			answer(w, nil, fmt.Errorf("read the request: %w", err))
			return
		}
		f(w, r, body)
	}
}

func answer(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	if err != nil {
		status, v = http.StatusInternalServerError, errorBody(err)
	}
	body, err := json.Marshal(v)
	if err != nil {
		status = http.StatusInternalServerError
		body, _ = json.Marshal(lineError{Error: err.Error()}) // a string always can be
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client has gone; nobody to tell
}

func errorBody(err error) any {
	var m json.Marshaler
	if errors.As(err, &m) {
		if body, err := json.Marshal(m); err == nil {
			return json.RawMessage(body)
		}
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
