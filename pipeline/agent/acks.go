package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// acks is what a receiver has to say to its sender, and the connection that it says it on.
type acks struct {
	trouble func(error) Trouble

	mu     sync.Mutex // guards what follows; nothing is locked after it
	wake   chan struct{}
	upTo   chunkfmt.Seq
	places []stage.Place // not said yet
	stall  error
	news   bool // of stall
	fail   error
	turn   int // of the connection that may speak
	heard  time.Time
}

func newAcks(trouble func(error) Trouble) *acks {
	return &acks{trouble: trouble, wake: make(chan struct{}, 1), heard: time.Now()}
}

func (a *acks) acked(upTo chunkfmt.Seq, places []stage.Place) {
	a.mu.Lock()
	a.upTo = max(a.upTo, upTo)
	a.places = append(a.places, places...)
	a.mu.Unlock()
	a.signal()
}

func (a *acks) stalled(err error) {
	a.mu.Lock()
	a.news = a.news || err != nil || a.stall != nil
	a.stall = err
	a.mu.Unlock()
	a.signal()
}

func (a *acks) failed(err error) {
	a.mu.Lock()
	a.fail = err
	a.mu.Unlock()
	a.signal()
}

func (a *acks) silence() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.heard)
}

func (a *acks) hear() {
	a.mu.Lock()
	a.heard = time.Now()
	a.mu.Unlock()
}

func (a *acks) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// next gives what is to be said. False if turn is another connection's.
func (a *acks) next(turn int, said chunkfmt.Seq, b []byte) (_ []byte, upTo chunkfmt.Seq, ours, last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if turn != a.turn {
		return nil, said, false, false
	}
	if a.upTo > said {
		b = appendAck(b, a.upTo, a.places)
		said, a.places = a.upTo, nil
	}
	if a.news {
		a.news = false
		b = appendTrouble(b, msgStall, a.troubleOf(a.stall))
	}
	if a.fail != nil {
		b = appendTrouble(b, msgFail, a.troubleOf(a.fail))
	}
	return b, said, true, a.fail != nil
}

func (a *acks) troubleOf(err error) *Trouble {
	if err == nil {
		return nil
	}
	t := a.trouble(err)
	return &t
}

// serve speaks on c.
func (a *acks) serve(parent context.Context, c net.Conn, in *bufio.Reader, retry func()) error {
	a.mu.Lock()
	a.turn++
	turn := a.turn
	a.news = a.news || a.stall != nil
	a.heard = time.Now()
	a.mu.Unlock()
	a.signal() // whoever spoke before sees that it is no longer its turn
	ctx, cancel := context.WithCancelCause(parent)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		cancel(a.listen(c, in, retry))
	}()
	err := a.speak(ctx, c, turn)
	_ = c.SetDeadline(time.Unix(1, 0))
	<-heard
	cancel(nil)
	return errors.Join(err, c.Close())
}

func (a *acks) speak(ctx context.Context, c net.Conn, turn int) error {
	ping := time.NewTicker(pingTime)
	defer ping.Stop()
	var said chunkfmt.Seq
	var room []byte
	for {
		b, upTo, ours, last := a.next(turn, said, room[:0])
		if !ours {
			a.signal() // for the connection whose turn it is
			return nil
		}
		said = upTo
		if len(b) > 0 {
			room = b
			if err := c.SetWriteDeadline(time.Now().Add(deadTime)); err != nil {
				return err
			}
			if _, err := c.Write(b); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
		}
		if last {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.wake:
		case <-ping.C:
			if err := c.SetWriteDeadline(time.Now().Add(deadTime)); err != nil {
				return err
			}
			if _, err := c.Write(appendMessage(nil, msgPing, nil)); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
		}
	}
}

// listen hears that the other side is there.
func (a *acks) listen(c net.Conn, in *bufio.Reader, retry func()) error {
	var room [256]byte
	for {
		if err := c.SetReadDeadline(time.Now().Add(deadTime)); err != nil {
			return err
		}
		kind, _, err := readMessage(in, room[:0])
		if err != nil {
			return fmt.Errorf("hear of the sender: %w", err)
		}
		a.hear()
		switch kind {
		case msgPing:
		case msgRetry:
			retry()
		default:
			return fmt.Errorf("message %q: %w", kind, ErrProtocol)
		}
	}
}
