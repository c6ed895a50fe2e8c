package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"coffer/pipeline"
)

const (
	pingTime = 3 * time.Second        // between two signs of life
	deadTime = 12 * time.Second       // without one, the other side counts as gone
	lookTime = 200 * time.Millisecond // between two looks at how many agents are wanted
	stopTime = 10 * time.Second       // for the other half to end in order
)

// control is the instance of the sending stage that attaches to the other half, and hears what becomes of shipments.
type control struct {
	*Sender
	attempt uint64 // of the last request for the other half
	pause   pause
	failed  bool // the other half has ended with a failure, and has acknowledged nothing since
	// patience runs while the other half is not well; its end tells those who wait that they wait in vain for now.
	patience *time.Timer

	asked chan struct{} // has a token when somebody came to wait who would like to know what is so now

	verdict sync.Mutex // guards what follows; held while those who wait are told
	ill     bool       // the other half is not well
	lost    bool       // and patience has ended
}

func (c *control) Run(ctx context.Context, p *pipeline.Port) (err error) {
	c.window.mu.Lock()
	c.window.port = p
	c.window.mu.Unlock()
	defer func() {
		if err != nil {
			c.w.Failed(err)
		}
	}()
	alive, end := context.WithCancelCause(ctx)
	c.ill = true
	c.patience = c.losePatience(alive)
	defer c.patience.Stop()
	c.asked = make(chan struct{}, 1)
	var beside sync.WaitGroup
	beside.Go(func() {
		select {
		case <-c.over:
			end(errOver)
		case <-alive.Done():
		}
	})
	beside.Go(func() { c.heed(alive) })
	defer func() {
		end(nil)
		beside.Wait()
	}()
	for {
		err := c.session(alive)
		if errors.Is(context.Cause(alive), errOver) && ctx.Err() == nil {
			c.stop(ctx)
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var failure *endError
		if errors.As(err, &failure) && !failure.again || c.cfg.Fatal(err) {
			return err
		}
		c.failed = c.failed || failure != nil
		c.unwell(err)
		if err := c.pause.sleep(alive, c.asked); err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// errOver: all agents have ended.
var errOver = errors.New("all is shipped")

// endError is what the other half ended with.
type endError struct {
	error
	again bool // another one may go on
}

func (e *endError) Unwrap() error { return e.error }

// losePatience tells those who wait, after Timeout without the other machine, that they wait in vain for now.
func (c *control) losePatience(ctx context.Context) *time.Timer {
	return time.AfterFunc(c.timeout(), func() {
		c.verdict.Lock()
		defer c.verdict.Unlock()
		if ctx.Err() == nil && c.ill && !c.lost {
			c.lost = true
			c.w.Stalled(fmt.Errorf("%w: for %v now", ErrAway, c.cfg.Timeout))
		}
	})
}

// heed has the other half tried at once when somebody comes to wait; and has patience with it once more.
func (c *control) heed(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.w.Retry():
		}
		c.verdict.Lock()
		if c.ill && c.lost {
			c.lost = false
			c.patience.Reset(c.timeout())
		}
		c.verdict.Unlock()
		select {
		case c.asked <- struct{}{}:
		default:
		}
	}
}

// unwell says that the other half is not there, because of err.
func (c *control) unwell(err error) {
	c.set(false, err)
	c.verdict.Lock()
	defer c.verdict.Unlock()
	if c.ill {
		return
	}
	c.ill, c.lost = true, false
	c.patience.Reset(c.timeout())
	c.cfg.Log.Warn("the server does not go on: waiting for it", "server pipe", c.cfg.Attach.Pipe, "cause", err)
}

// well says that the other half is there and does its work.
func (c *control) well() {
	c.pause.reset()
	c.failed = false
	if c.cause != nil {
		c.cfg.Log.Info("the server goes on", "server pipe", c.cfg.Attach.Pipe)
	}
	c.set(true, nil)
	c.verdict.Lock()
	defer c.verdict.Unlock()
	if !c.ill {
		return
	}
	c.ill = false
	c.patience.Stop()
	c.w.Stalled(nil)
}

func (c *control) timeout() time.Duration {
	if c.cfg.Timeout > 0 {
		return c.cfg.Timeout
	}
	return 1<<63 - 1
}

// attach asks for the other half.
func (c *control) attach(ctx context.Context) (reply Attached, err error) {
	c.attempt = max(c.attempt+1, uint64(time.Now().UnixNano()))
	request := c.cfg.Attach
	request.Attempt = c.attempt
	request.Acked, _ = c.window.state()
	err = c.cfg.Way.Call(ctx, http.MethodPost, Pipes, request, &reply)
	return reply, err
}

// session attaches and listens until the connection breaks.
func (c *control) session(ctx context.Context) error {
	reply, err := c.attach(ctx)
	if last, overtaken := c.cfg.Overtaken(err); overtaken {
		c.attempt = last
		reply, err = c.attach(ctx)
	}
	if err != nil {
		return err
	}
	if reply.Window < 1 {
		return fmt.Errorf("a window of %d buffers: %w", reply.Window, ErrProtocol)
	}
	conn, in, err := c.cfg.Way.Upgrade(ctx, c.path("/acks"))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c.window.ack(reply.Acked, nil)
	c.window.open(reply.Window)
	if _, underWay := c.window.state(); c.failed && underWay > 0 {
		// Whether it is better now shows at the next acknowledgement.
		c.set(true, c.cause)
	} else {
		c.well()
	}
	talk := make(chan error, 1)
	ended, end := context.WithCancel(ctx)
	go func() { talk <- c.talk(ended, conn) }()
	err = c.listen(conn, in)
	end()
	err = errors.Join(err, conn.Close())
	<-talk
	return err
}

// talk shows that this side is there, and asks for a retry when somebody here wants to know. Besides it looks at how many
// agents are wanted.
func (c *control) talk(ctx context.Context, conn net.Conn) error {
	ping := time.NewTicker(pingTime)
	defer ping.Stop()
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for {
		kind := byte(msgPing)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
			c.window.look()
			continue
		case <-c.asked:
			kind = msgRetry
		case <-ping.C:
		}
		if _, err := conn.Write(appendMessage(nil, kind, nil)); err != nil {
			return err
		}
	}
}

// listen takes in what the other half says.
func (c *control) listen(conn net.Conn, in *bufio.Reader) error {
	room := make([]byte, 0, 64<<10)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(deadTime)); err != nil {
			return err
		}
		kind, body, err := readMessage(in, room)
		if err != nil {
			return fmt.Errorf("listen for acknowledgements: %w", err)
		}
		switch kind {
		case msgAck:
			upTo, places, err := parseAck(body)
			if err != nil {
				return err
			}
			c.window.ack(upTo, places)
			c.well()
		case msgStall, msgFail:
			t, err := parseTrouble(body)
			if err != nil {
				return err
			}
			switch {
			case t == nil:
				c.w.Stalled(nil)
			case kind == msgStall:
				c.w.Stalled(c.cfg.Trouble(*t))
			default:
				return &endError{fmt.Errorf("the server's half of the pipe has failed: %w", c.cfg.Trouble(*t)), t.Again}
			}
		case msgPing:
		default:
			return fmt.Errorf("message %q: %w", kind, ErrProtocol)
		}
	}
}

// pause is how long to wait before trying again: longer each time, and not in step with others.
type pause struct{ next time.Duration }

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

func (p *pause) reset() { p.next = 0 }

// sleep waits, not longer than until wake has a token; nil has none.
func (p *pause) sleep(ctx context.Context, wake <-chan struct{}) error {
	p.next = min(max(2*p.next, firstPause), lastPause)
	t := time.NewTimer(p.next/2 + rand.N(p.next/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-wake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
