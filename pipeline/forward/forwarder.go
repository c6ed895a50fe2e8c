package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/spool"
	"coffer/pipeline"
	"coffer/pipeline/agent"
	"coffer/pipeline/stage"
)

// Session is one that lies near by.
type Session struct {
	ID      chunkfmt.SessionID
	Ordinal uint32
	// Acked is the last number known to be stable far away, of whichever session. All behind it is near by.
	Acked chunkfmt.Seq
	// Last is the number that the session goes up to; 0: it is being written, see Forwarder.Written and End.
	Last chunkfmt.Seq
}

// Starter starts pipes; *monitor.Monitor is one.
type Starter interface {
	Initiate(ctx context.Context, spec pipeline.Spec) (*pipeline.Pipe, error)
}

// Config says what is forwarded, and how. All fields but those with a default are needed.
type Config struct {
	Volume  chunkfmt.VolumeID
	Near    *spool.Near
	Catalog *media.Catalog // of Near
	Starter Starter
	// Sender makes the last stage of a session's pipe. Name is the pipe's.
	Sender func(name string, s Session, cargo agent.Cargo) *agent.Sender
	// NewName names a pipe.
	NewName func() string
	// Buffers of 1 MiB of a pipe; 16.
	Buffers int
	// OnAcked is told that all of a session up to a number is stable far away. It must be quick.
	OnAcked func(s Session, upTo chunkfmt.Seq)
	// OnPlaced is told where groups lie far away. It must be quick. nil: nobody is.
	OnPlaced func(stage.Place)
	// OnStalled is told, when a writer waits for room near by, that it will not come for now, and why; and with nil
	// that it will. It may be told the same again. It must be quick. nil: nobody is.
	OnStalled func(error)
	Log       *slog.Logger
}

// ErrStopped: the forwarder was stopped before all was moved on. What was not is near by.
var ErrStopped = errors.New("stopped before all of the spool was moved on")

// Forwarder moves sessions on. Methods may be called concurrently.
type Forwarder struct {
	cfg  Config
	stop context.CancelCauseFunc
	done chan struct{} // closed when it has ended

	mu      sync.Mutex    // guards what follows; nothing is locked after it
	changed chan struct{} // closed, and another made, when anything below has changed
	written chunkfmt.Seq  // stable near by, of the session being written
	ended   bool          // nothing more will be written
	remote  chunkfmt.Seq  // stable far away
	relay   *stage.Relay  // of the session under way
	sender  *agent.Sender
	stalled error // why the other machine takes nothing for now
	failed  error // why it has ended before all was moved on
}

// Start begins to move sessions, oldest first, on; ctx ends that. The last one may be one that is being written.
func Start(ctx context.Context, cfg Config, sessions []Session) *Forwarder {
	if cfg.Buffers == 0 {
		cfg.Buffers = 16
	}
	f := &Forwarder{cfg: cfg, done: make(chan struct{}), changed: make(chan struct{})}
	if len(sessions) > 0 {
		f.remote = sessions[0].Acked
	}
	ctx, f.stop = context.WithCancelCause(ctx)
	go func() {
		defer close(f.done)
		var beside sync.WaitGroup
		// What is stable far away when the last session ends is removed too.
		cleaning, end := context.WithCancel(ctx)
		beside.Go(func() { f.clean(cleaning) })
		beside.Go(func() { f.watch(cleaning) })
		err := f.run(ctx, sessions)
		f.update(func() { f.failed = err })
		end()
		beside.Wait()
	}()
	return f
}

func (f *Forwarder) run(ctx context.Context, sessions []Session) error {
	for _, s := range sessions {
		if err := f.session(ctx, s); err != nil {
			return fmt.Errorf("move session %d of the spool on: %w", s.Ordinal, err)
		}
	}
	return nil
}

// session moves one session on: its pipe lasts until all of it is stable far away.
func (f *Forwarder) session(ctx context.Context, s Session) error {
	name := f.cfg.NewName()
	relay := stage.NewRelay(stage.RelayConfig{
		Ordinal: s.Ordinal, Acked: s.Acked, OnStalled: f.onStalled,
		OnAcked: func(upTo chunkfmt.Seq) {
			f.cfg.OnAcked(s, upTo)
			f.acked(upTo)
		},
		OnPlaced: func(p stage.Place) {
			if f.cfg.OnPlaced != nil {
				f.cfg.OnPlaced(p)
			}
		},
	})
	sender := f.cfg.Sender(name, s, relay)
	f.update(func() { f.relay, f.sender = relay, sender })
	head := &reader{f: f, session: s, relay: relay}
	pipe, err := f.cfg.Starter.Initiate(ctx, pipeline.Spec{
		Name: name, Buffers: f.cfg.Buffers, Size: stage.BufferSize, Headroom: stage.Headroom,
		Stages: []pipeline.StageSpec{
			{Name: "read", Allocates: true, New: func(int) (pipeline.Module, error) { return head, nil }},
			sender.Spec(),
		},
	})
	if err != nil {
		return err
	}
	err = pipe.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return errors.Join(err, pipe.Close())
}

// update changes what mu guards, and wakes whoever waits for that.
func (f *Forwarder) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// Written says that all of the session being written up to a number is stable near by.
func (f *Forwarder) Written(upTo chunkfmt.Seq) { f.update(func() { f.written = max(f.written, upTo) }) }

// End says that nothing more will be written: the forwarder ends when all is moved on.
func (f *Forwarder) End() { f.update(func() { f.ended = true }) }

func (f *Forwarder) acked(upTo chunkfmt.Seq) { f.update(func() { f.remote = max(f.remote, upTo) }) }

func (f *Forwarder) onStalled(err error) { f.update(func() { f.stalled = err }) }

// TryAgain has a machine that takes nothing more try again: somebody waits. OnStalled is told how it is.
func (f *Forwarder) TryAgain() {
	f.mu.Lock()
	relay := f.relay
	f.mu.Unlock()
	if relay != nil {
		relay.TryAgain()
	}
	f.update(func() {}) // so that whoever came to wait is told what is so
}

// Await waits until all up to a number is stable far away. It fails with what the forwarder has failed with.
func (f *Forwarder) Await(ctx context.Context, upTo chunkfmt.Seq) error {
	for {
		f.mu.Lock()
		remote, failed, changed := f.remote, f.failed, f.changed
		f.mu.Unlock()
		if remote >= upTo {
			return nil
		}
		if failed != nil {
			return failed
		}
		select {
		case <-changed:
		case <-f.done:
			if err := f.Err(); err != nil {
				return err
			}
			if f.Remote() < upTo {
				return fmt.Errorf("%v is not in the spool: %w", upTo, ErrStopped)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Remote is the last number that is stable far away.
func (f *Forwarder) Remote() chunkfmt.Seq {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.remote
}

// Done is closed when the forwarder has ended.
func (f *Forwarder) Done() <-chan struct{} { return f.done }

// Err says why the forwarder has ended, or is ending, before all was moved on; nil: it has not.
func (f *Forwarder) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// Stop ends the forwarder, whatever is left, and waits for its end.
func (f *Forwarder) Stop() {
	f.stop(ErrStopped)
	<-f.done
}

// Status is a moment's picture of a Forwarder.
type Status struct {
	Remote  chunkfmt.Seq `json:"remote"`          // all up to it is stable far away
	Pending int64        `json:"pending_bytes"`   // near by, and not stable far away
	Used    int64        `json:"used_bytes"`      // that the chunks near by take
	Limit   int64        `json:"limit_bytes"`     // at which writers wait
	Waiting bool         `json:"waiting"`         // they do
	Cause   string       `json:"cause,omitempty"` // why nothing is moved on, or why the medium near by takes nothing
	// Sender is the way to the other machine; absent before there was one.
	Sender *agent.SenderStatus `json:"sender,omitempty"`
}

// Status says how it goes.
func (f *Forwarder) Status() Status {
	usage, _ := f.cfg.Near.Usage()
	st := Status{Pending: f.Pending(), Used: usage.Used, Limit: usage.Limit, Waiting: usage.Waiting}
	f.mu.Lock()
	sender := f.sender
	st.Remote = f.remote
	for _, err := range []error{f.failed, f.stalled, usage.Cause} {
		if err != nil && st.Cause == "" {
			st.Cause = err.Error()
		}
	}
	f.mu.Unlock()
	if sender != nil {
		status := sender.Status()
		st.Sender = &status
	}
	return st
}
