package mover

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"coffer/chunkfmt"
	"coffer/media/dir"
	"coffer/media/remote"
	"coffer/media/spool"
	"coffer/pipeline"
	"coffer/pipeline/agent"
	"coffer/pipeline/channel"
	"coffer/pipeline/forward"
	"coffer/pipeline/stage"
)

// Far is a store on another machine: what is written goes through a pipe that ends there, see Destination.
type Far struct {
	Way     agent.Way
	Locator stage.Locator // asks where a group is
	// Removals takes what was removed off the medium there; nil: nobody does.
	Removals GroupRemover
	Agents   int // connections for what is written; 0: as many as it takes to fill the way
	// Timeout is for how long a write or fsync waits for a machine that does not answer before it fails; 0: for ever.
	Timeout time.Duration
}

// GroupRemover has a server take removed groups off its medium; *remote.Medium does.
type GroupRemover interface {
	// RemoveGroups gives it a list of size bytes as package cleaner has it, and returns when that is done, or waits for
	// approval; with dryRun it only asks what that would give back.
	RemoveGroups(ctx context.Context, list io.ReaderAt, size int64, dryRun bool) (remote.Removal, error)
}

// locator finds groups where the store is.
func (s *Source) locator() stage.Locator {
	switch {
	case s.spool != nil:
		return spool.Locator{Near: s.spool.catalog, Far: s.o.Far.Locator, Medium: s.o.Spool.Near, Volume: s.keys.ID}
	case s.o.Far != nil:
		return s.o.Far.Locator
	}
	return s.catalog
}

// lockState takes a lock in the state folder.
func (s *Source) lockState(ctx context.Context) error {
	state, err := dir.Open(s.o.StateDir, dir.Options{})
	if err != nil {
		return err
	}
	unlock, err := state.Lock(ctx, "lock", s.o.Holder)
	if err != nil {
		return errors.Join(err, state.Close())
	}
	s.closers = append(s.closers, func() error { return errors.Join(unlock(), state.Close()) })
	return nil
}

// send makes the last stage of a pipe that ends on another machine.
func (s *Source) send(pipe string, id chunkfmt.SessionID, begin beginning) func(*stage.Writer) pipeline.StageSpec {
	return func(w *stage.Writer) pipeline.StageSpec {
		s.sender = s.newSender(pipe, s.place, forward.Session{ID: id, Ordinal: begin.ordinal, Acked: begin.prev.Seq}, w)
		return s.sender.Spec()
	}
}

// newSender makes a stage that sends a session to a volume on another machine.
func (s *Source) newSender(pipe string, volume chunkfmt.VolumeID, session forward.Session, cargo agent.Cargo) *agent.Sender {
	return agent.NewSender(cargo, agent.SenderConfig{
		Way: s.o.Far.Way,
		Attach: agent.Attach{
			Pipe: pipe, Volume: volume.String(), Session: hex.EncodeToString(session.ID[:]), Ordinal: session.Ordinal,
			Acked: session.Acked, Holder: s.o.Holder,
		},
		Agents:    s.o.Far.Agents,
		Fatal:     isFinal,
		Overtaken: overtakenBy,
		Trouble:   func(t agent.Trouble) error { return remote.Error(t.Code, t.Message) },
		Timeout:   s.o.Far.Timeout,
		Log:       s.o.Log,
	})
}

// isFinal says that a server has answered, and will not answer otherwise.
func isFinal(err error) bool {
	var no *channel.Failure
	return errors.Is(err, channel.ErrRefused) || errors.As(err, &no) && (no.Code == codeVoid || no.Code == codeBad)
}

// overtakenBy says whether a server has refused a request because a later one came first, and which.
func overtakenBy(err error) (last uint64, ok bool) {
	var no *channel.Failure
	if !errors.As(err, &no) || no.Code != codeOvertaken {
		return 0, false
	}
	return no.After, true
}

// Sender tells how what is written gets to another machine; nil where the store is here.
func (s *Source) Sender() *agent.Sender { return s.sender }
