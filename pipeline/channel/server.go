package channel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of what a peer may make a server keep, whoever it is.
const (
	maxHeader  = 16 << 10         // bytes of a request's header
	helloTime  = 10 * time.Second // to shake hands and to send a header
	idleTime   = 5 * time.Minute  // of a connection between requests
	maxMessage = 1 << 20          // bytes of a JSON body
)

// enrollPath is the one request that who is not known yet may make.
const enrollPath = "/v1/enroll"

// Server listens for clients. Whoever is one gets to the handler, which finds out with ClientOf who asks.
type Server struct {
	id       Identity
	registry *Registry
	handler  http.Handler
	log      *slog.Logger
	clock    func() time.Time
	conns    sync.Map // of *knock by net.Conn
}

// knock is a connection, and whether it has made a request.
type knock struct {
	wire  *wire
	asked atomic.Bool
}

// NewServer makes a server. Log gets one line for everybody who is not let in.
func NewServer(id Identity, r *Registry, h http.Handler, clock func() time.Time, log *slog.Logger) *Server {
	return &Server{id: id, registry: r, handler: h, log: log, clock: clock}
}

type clientKey struct{}

// ClientOf is the client that makes the request. Only for requests that came through a Server.
func ClientOf(ctx context.Context) Client {
	c, _ := ctx.Value(clientKey{}).(Client)
	return c
}

// Serve answers on l until ctx ends, and closes it. Requests under way are called off then; connections that were
// upgraded belong to whoever upgraded them.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: helloTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		// Connections that are upgraded are HTTP/1.1.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext:  func(net.Listener) context.Context { return ctx },
		ConnContext:  s.knocks,
		ConnState:    s.leaves,
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(tls.NewListener(wireListener{l}, s.id.serverConfig())) }()
	select {
	case err := <-ended:
		return fmt.Errorf("listen for clients: %w", err)
	case <-ctx.Done():
	}
	err := h.Close()
	<-ended // always http.ErrServerClosed now
	return err
}

type knockKey struct{}

func (s *Server) knocks(ctx context.Context, c net.Conn) context.Context {
	k := &knock{wire: c.(*tls.Conn).NetConn().(*wire)} // the listener makes no others
	s.conns.Store(c, k)
	return context.WithValue(ctx, knockKey{}, k)
}

// leaves has a line for who shook hands and then said nothing that is a request. Who did not even shake hands has one
// of package http's.
func (s *Server) leaves(c net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	k, ok := s.conns.LoadAndDelete(c)
	if !ok || k.(*knock).asked.Load() {
		return
	}
	if secure, ok := c.(*tls.Conn); ok && secure.ConnectionState().HandshakeComplete {
		s.log.Warn("not let in", "from", c.RemoteAddr().String(), "cause", "sent nothing that is a request in time")
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if k, ok := r.Context().Value(knockKey{}).(*knock); ok {
		k.asked.Store(true)
		w = wiredResponse{w, k.wire}
	}
	key, err := peerKey(r.TLS)
	if err == nil && r.URL.Path == enrollPath {
		s.enroll(w, r, key)
		return
	}
	var c Client
	if err == nil {
		c, err = s.registry.Client(key)
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), clientKey{}, c)))
}

// refuse answers somebody who is not let in, and tells them nothing more.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.log.Warn("not let in", "from", r.RemoteAddr, "cause", err)
	code := http.StatusForbidden
	if !errors.Is(err, ErrRefused) {
		code = http.StatusInternalServerError
	}
	w.Header().Set("Connection", "close")
	Answer(w, code, Failure{Code: "refused", Message: "the server does not let this machine in"})
}

type enrollment struct {
	Secret []byte `json:"secret"`
}

func (s *Server) enroll(w http.ResponseWriter, r *http.Request, key Key) {
	var e enrollment
	if err := Read(w, r, &e); err != nil {
		s.refuse(w, r, fmt.Errorf("%w: %w", ErrRefused, err))
		return
	}
	if len(e.Secret) != len(Secret{}) {
		s.refuse(w, r, fmt.Errorf("%w: an invitation of %d bytes", ErrRefused, len(e.Secret)))
		return
	}
	c, err := s.registry.Enroll(Secret(e.Secret), key, s.clock())
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.log.Info("let a new client in", "client", c.Name, "key", c.Key.String(), "from", r.RemoteAddr)
	Answer(w, http.StatusOK, struct{}{})
}

// Failure is the body of an answer that says why not. Code is for programs, Message for people.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// After is the number of the request that this one should have come after, where that is what is wrong.
	After uint64 `json:"after,omitempty"`
}

// Error is the message.
func (f *Failure) Error() string { return f.Message }

// Answer sends v as JSON.
func Answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // who asked may have gone
}

// Read reads the JSON body of a request, at most a mebibyte.
func Read(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessage))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err)
	}
	return nil
}
