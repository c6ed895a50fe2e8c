package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"coffer/chunkfmt"
	"coffer/pipeline"
	"coffer/pipeline/stage"
)

// Receiver is the first stage of a pipe whose writer is on another machine. Connections are given to it by whoever
// listens. Methods may be called concurrently.
type Receiver struct {
	agents int
	conns  []chan conn // by agent; the latest connection
	ended  chan struct{}
	end    sync.Once
	acks   *acks
	intake *stage.Intake
	log    *slog.Logger

	mu    sync.Mutex // guards what follows; held while buffers are sent on, which never waits
	next  chunkfmt.Seq
	early map[chunkfmt.Seq]arrival // what came before its turn
}

type conn struct {
	net.Conn
	in *bufio.Reader
}

type arrival struct {
	b *pipeline.Buffer
	n int
}

// Buffers is how many buffers a receiving pipe is to have for a window and that many agents.
func Buffers(window, agents int) int { return window + 2*agents }

// NewReceiver makes the first stage for a number of agents. Intake is made with the receiver's OnAcked and OnStalled
// and then given to Feed, before the pipe starts. Trouble says in the words of this machine what is wrong.
func NewReceiver(agents int, trouble func(error) Trouble, log *slog.Logger) *Receiver {
	r := &Receiver{
		agents: agents, ended: make(chan struct{}), acks: newAcks(trouble), log: log,
		early: map[chunkfmt.Seq]arrival{},
	}
	for range agents {
		r.conns = append(r.conns, make(chan conn, 1))
	}
	return r
}

// OnAcked is for the intake.
func (r *Receiver) OnAcked(upTo chunkfmt.Seq, places []stage.Place) { r.acks.acked(upTo, places) }

// OnStalled is for the intake.
func (r *Receiver) OnStalled(err error) { r.acks.stalled(err) }

// Feed says what the buffers are for.
func (r *Receiver) Feed(in *stage.Intake) { r.intake, r.next = in, in.Next() }

// Spec describes the stage.
func (r *Receiver) Spec() pipeline.StageSpec {
	return pipeline.StageSpec{
		Name: "receive", Instances: r.agents, Allocates: true,
		New: func(i int) (pipeline.Module, error) { return &receiveAgent{r: r, number: i}, nil },
	}
}

// Agent gives agent k a connection, instead of the one that it has. The receiver closes it. False if there is no such
// agent, or the pipe ends.
func (r *Receiver) Agent(k int, c net.Conn, in *bufio.Reader) bool {
	if k < 0 || k >= r.agents {
		return false
	}
	for {
		select {
		case <-r.ended:
			return false
		case r.conns[k] <- conn{c, in}:
			select {
			case <-r.ended: // End may not have seen it
				r.End()
			default:
			}
			return true
		case old := <-r.conns[k]: // nobody has looked at it yet
			_ = old.Close()
		}
	}
}

// Acks says on c what becomes of buffers until the connection breaks, another one comes, ctx ends or the pipe fails with
// cause. It closes c.
func (r *Receiver) Acks(ctx context.Context, c net.Conn, in *bufio.Reader) error {
	return r.acks.serve(ctx, c, in, r.intake.Retry)
}

// Fail says on the connection of acknowledgements, now or when one comes, that the pipe has failed.
func (r *Receiver) Fail(err error) { r.acks.failed(err) }

// Silence is for how long the other half has not been heard of.
func (r *Receiver) Silence() time.Duration { return r.acks.silence() }

// End ends the stage once the agents have received what is under way on their connections: the sender has said that
// there is no more. It may be called more than once.
func (r *Receiver) End() {
	r.end.Do(func() { close(r.ended) })
	for _, conns := range r.conns {
		select {
		case c := <-conns:
			_ = c.Close() // nobody will look at it
		default:
		}
	}
}

// receiveAgent is one agent.
type receiveAgent struct {
	r      *Receiver
	number int
	port   *pipeline.Port
}

func (a *receiveAgent) Run(ctx context.Context, p *pipeline.Port) error {
	a.port = p
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.r.ended:
			return nil
		case c := <-a.r.conns[a.number]:
			if err := a.connection(ctx, c); err != nil {
				return err
			}
		}
	}
}

// connection receives until the connection breaks, or another one is there. An error is one that ends the pipe.
func (a *receiveAgent) connection(parent context.Context, c conn) error {
	ctx, cancel := context.WithCancel(parent)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		a.watch(ctx, c)
	}()
	err := a.receive(ctx, c)
	cancel()
	<-watched
	_ = c.Close()
	var broken *brokenError
	if errors.As(err, &broken) && parent.Err() == nil {
		if errors.Is(err, ErrProtocol) {
			a.r.log.Warn("an agent's connection was cut off", "agent", a.number, "cause", err)
		}
		return nil
	}
	return err
}

// watch breaks the connection when it is no longer wanted.
func (a *receiveAgent) watch(ctx context.Context, c conn) {
	select {
	case <-ctx.Done():
	case <-a.r.ended:
	case next := <-a.r.conns[a.number]:
		select {
		case a.r.conns[a.number] <- next:
		default: // there is an even newer one
			_ = next.Close()
		}
	}
	_ = c.SetDeadline(time.Unix(1, 0))
}

// brokenError is what a connection ended with.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

func (a *receiveAgent) receive(ctx context.Context, c conn) error {
	for {
		first, n, err := readFrame(c.in, stage.Headroom+stage.BufferSize)
		if err != nil {
			return &brokenError{err}
		}
		if a.r.known(first) {
			if _, err := io.CopyN(io.Discard, c.in, int64(n)); err != nil {
				return &brokenError{err}
			}
			continue
		}
		b, err := a.port.AllocBuf(ctx)
		if err != nil {
			return err
		}
		if n > len(b.Raw()) {
			a.port.FreeBuf(b)
			return fmt.Errorf("frame of %d bytes: %w", n, ErrProtocol)
		}
		if _, err := io.ReadFull(c.in, b.Raw()[:n]); err != nil {
			a.port.FreeBuf(b)
			return &brokenError{err}
		}
		if err := a.r.arrived(a.port, first, b, n); err != nil {
			return err
		}
	}
}

// known says whether the buffer that begins with first is here already.
func (r *Receiver) known(first chunkfmt.Seq) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, early := r.early[first]
	return early || first < r.next
}

// arrived sends on what is next in turn, and keeps what is not.
func (r *Receiver) arrived(port *pipeline.Port, first chunkfmt.Seq, b *pipeline.Buffer, n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.early[first]; twice || first < r.next {
		port.FreeBuf(b)
		return nil
	}
	r.early[first] = arrival{b: b, n: n}
	for {
		e, ok := r.early[r.next]
		if !ok {
			return nil
		}
		delete(r.early, r.next)
		next, err := r.intake.Take(e.b, e.n)
		if err != nil {
			port.FreeBuf(e.b)
			return fmt.Errorf("what came is not what was sent: %w", err)
		}
		r.next = next
		port.SendBuf(e.b)
	}
}
