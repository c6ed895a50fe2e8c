package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"coffer/chunkfmt"
	"coffer/pipeline"
	"coffer/pipeline/stage"
)

// Way leads to the machine of the receiver; *channel.Link is one.
type Way interface {
	Call(ctx context.Context, method, path string, in, out any) error
	Upgrade(ctx context.Context, path string) (net.Conn, *bufio.Reader, error)
}

// ErrAway: the other machine has not answered for as long as the user wants to wait.
var ErrAway = errors.New("the server does not answer")

// Pipes is where the other machine's pipes are asked for, with an Attach; below it, by the name of the pipe, are the
// connections of the agents (/agents/K) and of acknowledgements (/acks).
const Pipes = "/v1/pipes"

// Attach asks for the receiving half of a pipe (EXTEND_PIPE): for the one that there is, or for another that goes on
// where the last one ended.
type Attach struct {
	Pipe    string       `json:"pipe"`   // its name, the same on both machines
	Volume  string       `json:"volume"` // hexadecimal, as Session
	Session string       `json:"session"`
	Ordinal uint32       `json:"ordinal"` // of the session
	Acked   chunkfmt.Seq `json:"acked"`   // the last number known to be stable, of whichever session
	Agents  int          `json:"agents"`
	Holder  string       `json:"holder"` // who writes, for others who would like to
	// Attempt grows with each request of a machine for pipes of a volume: it is a time in nanoseconds, or one more than
	// that of the last. One that was held up on its way, and comes after a later one, knows less than was acknowledged
	// meanwhile: it is refused, see SenderConfig.Overtaken.
	Attempt uint64 `json:"attempt"`
}

// Attached is the answer.
type Attached struct {
	Acked  chunkfmt.Seq `json:"acked"`
	Window int          `json:"window"` // buffers that may be under way
}

// SenderConfig says where to ship to. All fields but Agents, Timeout and Log are needed.
type SenderConfig struct {
	Way    Way
	Attach Attach // but Agents, which the Sender fills in
	Agents int    // connections; 0: as many as it takes to fill the way, at most MostAgents
	// Fatal says of an error of Way that trying again is of no use.
	Fatal func(error) bool
	// Overtaken says of an error of Way that an Attach came after a later one, and which attempt that was: who asks again
	// is no request that was held up, but one whose clock was set back.
	Overtaken func(error) (last uint64, ok bool)
	// Trouble makes an error of what the receiver says is wrong.
	Trouble func(Trouble) error
	// Timeout is for how long those who wait for the other machine are left waiting; 0: for ever. What waits is not
	// lost after that, and goes on when the machine comes back.
	Timeout time.Duration
	Log     *slog.Logger
}

// Cargo is whose buffers a Sender ships: a *stage.Writer, or a *stage.Relay.
type Cargo interface {
	// Shipment makes a buffer of the pipe ready to be shipped.
	Shipment(b *pipeline.Buffer) stage.Shipment
	// Bound has who fills the pipe wait once so many bytes are not acknowledged; Bounded says how many do, and how often one
	// has had to.
	Bound(bytes int64)
	Bounded() (now int, ever int64)
	// Stalled is told why nothing is acknowledged for now; nil: it is again. It says whether that is news.
	Stalled(err error) bool
	// Retry has a token when somebody wants to know what is so now.
	Retry() <-chan struct{}
	// Failed is told that nothing more will be acknowledged.
	Failed(err error)
}

// Sender is the last stage of a pipe whose store is on another machine.
type Sender struct {
	cfg    SenderConfig
	w      Cargo
	window *window
	agents atomic.Int32  // that have not returned
	over   chan struct{} // closed when all have

	mu       sync.Mutex    // guards what follows; nothing is locked after it
	attached chan struct{} // closed while the other half is there
	there    bool
	since    time.Time // of the present state
	cause    error     // why the other half is not there
	attaches int       // how often it came to be there
}

// NewSender makes the last stage of w's pipe; Spec describes it.
func NewSender(w Cargo, cfg SenderConfig) *Sender {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Attach.Agents = cfg.Agents
	if cfg.Agents == 0 {
		cfg.Attach.Agents = MostAgents
	}
	crew := newCrew(cfg.Attach.Agents, cfg.Agents != 0)
	s := &Sender{cfg: cfg, w: w, window: newWindow(w, crew), attached: make(chan struct{}), over: make(chan struct{}), since: time.Now()}
	s.window.acked = cfg.Attach.Acked
	w.Bound(s.window.meter.bound())
	s.agents.Store(int32(cfg.Attach.Agents))
	return s
}

// Spec describes the stage: an instance for each agent, and one for what is said about them.
func (s *Sender) Spec() pipeline.StageSpec {
	return pipeline.StageSpec{
		Name: "send", Instances: s.cfg.Attach.Agents + 1,
		New: func(i int) (pipeline.Module, error) {
			if i == s.cfg.Attach.Agents {
				return &control{Sender: s}, nil
			}
			return &sendAgent{s: s, number: i}, nil
		},
	}
}

// SenderStatus is a moment's picture of a Sender.
type SenderStatus struct {
	Attached bool         `json:"attached"` // the other machine answers
	Since    time.Time    `json:"since"`
	Cause    string       `json:"cause,omitempty"` // why it does not
	Attaches int          `json:"attaches"`        // how often it came to be there
	Agents   int          `json:"agents"`          // that work at present
	Acked    chunkfmt.Seq `json:"acked"`
	UnderWay int          `json:"under_way"` // buffers shipped, or being shipped, and not acknowledged

	UnderWayBytes int64 `json:"bytes_under_way"`      // in them
	MostUnderWay  int64 `json:"bytes_under_way_most"` // that there ever were
	Resent        int64 `json:"bytes_resent"`         // shipped more than once, for each time but the first
	Rate          int64 `json:"bytes_per_second"`     // that the way was found to carry; 0: not known yet
	Bound         int64 `json:"bytes_pending_bound"`  // that may be pending before writers wait
}

// Status says how it goes.
func (s *Sender) Status() SenderStatus {
	s.mu.Lock()
	st := SenderStatus{Attached: s.there, Since: s.since, Attaches: s.attaches}
	if s.cause != nil {
		st.Cause = s.cause.Error()
	}
	s.mu.Unlock()
	s.window.fill(&st)
	return st
}

// set notes whether the other half is there.
func (s *Sender) set(there bool, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = cause
	if there == s.there {
		return
	}
	s.there, s.since = there, time.Now()
	if there {
		s.attaches++
		close(s.attached)
	} else {
		s.attached = make(chan struct{})
	}
}

// await waits until the other half is there.
func (s *Sender) await(ctx context.Context) error {
	s.mu.Lock()
	attached := s.attached
	s.mu.Unlock()
	select {
	case <-attached:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Sender) path(rest string) string { return Pipes + "/" + s.cfg.Attach.Pipe + rest }

// sendAgent ships what it receives over a connection of its own.
type sendAgent struct {
	s      *Sender
	number int
	port   *pipeline.Port
	ended  bool // nothing more will be received
}

func (a *sendAgent) Run(ctx context.Context, p *pipeline.Port) error {
	defer func() {
		if a.s.agents.Add(-1) == 0 {
			close(a.s.over)
		}
	}()
	a.port = p
	wait := pause{}
	for {
		if err := a.s.window.wanted(ctx, a.number); err == io.EOF {
			return nil // it has never been wanted
		} else if err != nil {
			return err
		}
		if err := a.s.await(ctx); err != nil {
			return err
		}
		err := a.connection(ctx, wait.reset)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if a.ended {
			if idle, _ := a.s.window.idle(a.number); idle {
				return nil
			}
		}
		a.s.cfg.Log.Debug("an agent's connection has ended", "agent", a.number, "cause", err)
		if err := wait.sleep(ctx, nil); err != nil {
			return err
		}
	}
}

// connection makes a connection and ships on it until it breaks or all is done.
func (a *sendAgent) connection(ctx context.Context, connected func()) error {
	conn, _, err := a.s.cfg.Way.Upgrade(ctx, a.s.path("/agents/"+strconv.Itoa(a.number)))
	if err != nil {
		return err
	}
	connected()
	alive, lost := context.WithCancelCause(ctx)
	stop := context.AfterFunc(alive, func() { conn.SetDeadline(time.Unix(1, 0)) })
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		// Nothing ever comes on it but its end.
		_, err := conn.Read(make([]byte, 1))
		lost(fmt.Errorf("the connection has ended: %w", errors.Join(err, io.ErrUnexpectedEOF)))
	}()
	err = a.ship(alive, conn)
	stop()
	err = errors.Join(err, conn.Close())
	<-watched
	return err
}

func (a *sendAgent) ship(alive context.Context, conn net.Conn) error {
	w := a.s.window
	for s := w.again(a.number, 0); s != nil; s = w.again(a.number, s.first) {
		if err := a.write(conn, s); err != nil {
			return err
		}
	}
	for !a.ended {
		err := w.enter(alive, a.number)
		if err == io.EOF {
			a.ended = true
			break
		}
		if err != nil {
			return err
		}
		b, err := a.port.ReceiveBuf(alive)
		if err == io.EOF {
			w.end()
			a.ended = true
			break
		}
		if err != nil {
			return err
		}
		sh := a.s.w.Shipment(b)
		s := &shipment{Shipment: sh, first: sh.First(), agent: a.number}
		w.add(s)
		if err := a.write(conn, s); err != nil {
			return err
		}
	}
	for {
		idle, changed := w.idle(a.number)
		if idle {
			return nil
		}
		select {
		case <-changed:
		case <-alive.Done():
			return context.Cause(alive)
		}
	}
}

func (a *sendAgent) write(conn net.Conn, s *shipment) error {
	defer a.s.window.written(s)
	var head [frameHeader]byte
	putFrame(&head, s.first, len(s.Bytes()))
	if _, err := conn.Write(head[:]); err != nil {
		return err
	}
	_, err := conn.Write(s.Bytes())
	return err
}

// stop ends the other half, which has got everything (STOP_PIPE). What is stable is so already: this is for the
// footers of its chunks.
func (s *Sender) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	if err := s.cfg.Way.Call(ctx, http.MethodDelete, s.path(""), nil, nil); err != nil {
		s.cfg.Log.Info("the other half of the pipe did not end in order", "cause", err)
	}
}
