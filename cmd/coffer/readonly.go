package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"coffer/fusefs"
	"coffer/fusefs/past"
	"coffer/fusefs/tree"
	"coffer/media"
	"coffer/pipeline/monitor"
)

// readOnlyMount is a mount of a volume that this process does not write: of one archive, or of what the volume is
// now, followed. It takes no lease.
type readOnlyMount struct {
	r       *reading
	name    string
	archive string // what --at gave; empty: it follows
	server  *fusefs.Server
	finish  func() error // closes the volume once the mount is gone; the result is kept
	stop    context.CancelFunc
	looks   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	looked time.Time  // when the log was last looked at with success
	failed error      // why it could not be since
}

// serveReadOnly is serveMount for a mount that is read-only.
func serveReadOnly(ctx context.Context, o *mountOptions, s *opened, ready func()) error {
	limitHeap(0)
	lasting := context.WithoutCancel(ctx)
	o.follow = o.when == ""
	r, err := s.read(lasting, &o.volumeOptions)
	if err != nil {
		return errors.Join(err, s.close())
	}
	m := &readOnlyMount{r: &reading{r, s}, name: o.name, archive: o.when, looked: time.Now()}
	if err := m.mount(lasting, o); err != nil {
		return errors.Join(err, m.r.Close())
	}
	looking, stop := context.WithCancel(lasting)
	m.stop = stop
	if o.follow {
		m.looks.Go(func() { r.Keep(looking, m.wasLooked) })
	}
	m.finish = sync.OnceValue(func() error {
		m.stop()
		m.looks.Wait()
		return m.r.Close()
	})
	socket, err := monitor.Listen(m, monitor.Info{
		MountPoint: m.server.Dir(), Store: s.path, Volume: o.name, Pid: os.Getpid(), Started: time.Now(), ReadOnly: true,
	})
	if err != nil {
		return errors.Join(err, m.server.Detach(), m.finish())
	}
	ready()
	select {
	case <-m.server.Done():
	case <-ctx.Done():
		// Whoever uses it keeps what is open until this process has ended.
		if err := m.server.Unmount(lasting); err != nil {
			err = errors.Join(err, m.server.Detach())
			return errors.Join(ignoreBusy(err), socket.Close())
		}
	}
	return errors.Join(m.finish(), socket.Close())
}

// ignoreBusy drops that a mount was in use when it had to end.
func ignoreBusy(err error) error {
	if errors.Is(err, unix.EBUSY) {
		return nil
	}
	return err
}

func (m *readOnlyMount) mount(ctx context.Context, o *mountOptions) (err error) {
	state, err := m.r.at(o.when)
	if err != nil {
		return err
	}
	options := fusefs.Options{
		Source: m.r.opened.path, AllowOther: o.allowOther, ReadaheadKiB: int(o.readAhead >> 10), Log: slog.Default(),
		Space: m.space, Notices: noticesProcess,
	}
	if o.follow {
		options.Snapshots = past.New(m.r.Index(), m.r.Groups())
	}
	m.server, err = fusefs.MountReadOnly(ctx, o.mountPoint, past.NewFront(state, !o.follow), options)
	return err
}

func (m *readOnlyMount) space(ctx context.Context) (tree.Space, error) {
	spacer, ok := m.r.opened.medium.(media.Spacer)
	if !ok {
		return tree.Space{}, errors.ErrUnsupported
	}
	space, err := spacer.Space(ctx)
	return tree.Space{Free: space.Free, Total: space.Total}, err
}

// wasLooked is told how each look at the log went. Also one that failed may have changed something.
func (m *readOnlyMount) wasLooked(err error) {
	m.server.Changed()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.looked, m.failed = time.Now(), nil
		return
	}
	if m.failed == nil || m.failed.Error() != err.Error() {
		slog.Error("the mount can't follow the volume; it shows what it was", "since", m.looked, "err", err)
	}
	m.failed = err
}

// readOnlyStatus is what status --json prints of a mount that is read-only.
type readOnlyStatus struct {
	MountPoint string     `json:"mount_point"`
	Store      string     `json:"store"`
	Volume     string     `json:"volume"`
	Pid        int        `json:"pid"`
	ReadOnly   bool       `json:"read_only"`
	Archive    string     `json:"archive,omitempty"` // what it shows; absent: what the volume is now
	AsOf       *time.Time `json:"as_of,omitempty"`   // when it was last brought up to date
	LastError  string     `json:"last_error,omitempty"`
}

func (s *readOnlyStatus) print(out io.Writer) error {
	what := "archive " + printable(s.Archive)
	if s.AsOf != nil {
		what = "as of " + s.AsOf.Local().Format(time.DateTime)
	}
	_, err := fmt.Fprintf(out, "%s: volume %s of %s, read-only, %s, process %d\n",
		s.MountPoint, s.Volume, s.Store, what, s.Pid)
	if s.LastError != "" {
		fmt.Fprintf(out, "  last error: %s\n", s.LastError)
	}
	return err
}

// Status implements monitor.Control.
func (m *readOnlyMount) Status(context.Context) (any, error) {
	s := readOnlyStatus{
		MountPoint: m.server.Dir(), Store: m.r.opened.path, Volume: m.name, Pid: os.Getpid(),
		ReadOnly: true, Archive: m.archive,
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.archive == "" {
		at := m.looked
		s.AsOf = &at
	}
	if m.failed != nil {
		s.LastError = m.failed.Error()
	} else if since, long := m.r.Waiting(); long {
		s.LastError = "the store has not answered since " + since.Local().Format(time.DateTime)
	}
	return s, nil
}

// Sync implements monitor.Control: nothing is on its way.
func (m *readOnlyMount) Sync(context.Context, json.RawMessage) error { return nil }

// Archives implements monitor.Control.
func (m *readOnlyMount) Archives(context.Context) (any, error) {
	all, err := archivesOf(m.r.Index())
	return all, sent(err)
}

// Unmount implements monitor.Control.
func (m *readOnlyMount) Unmount(ctx context.Context) (any, error) {
	if err := m.server.Unmount(ctx); err != nil {
		return nil, sent(fmt.Errorf("%w: %w", errStays, err))
	}
	return nil, sent(m.finish())
}

// Snapshot implements monitor.Control: it refuses.
func (m *readOnlyMount) Snapshot(context.Context, json.RawMessage) (any, error) {
	return nil, sent(m.refusal())
}

// Forget implements monitor.Control: it refuses.
func (m *readOnlyMount) Forget(context.Context, json.RawMessage) (any, error) {
	return nil, sent(m.refusal())
}

// Prune implements monitor.Control: it refuses.
func (m *readOnlyMount) Prune(context.Context, json.RawMessage) (any, error) {
	return nil, sent(m.refusal())
}

// Index implements monitor.Control: it refuses.
func (m *readOnlyMount) Index(context.Context) (any, error) { return nil, sent(m.refusal()) }

// Put implements monitor.Control: it refuses.
func (m *readOnlyMount) Put(context.Context, monitor.PutRequest, func(any)) error {
	return sent(m.refusal())
}

// Amend implements monitor.Control: it refuses.
func (m *readOnlyMount) Amend(context.Context, json.RawMessage) (any, error) {
	return nil, sent(m.refusal())
}

func (m *readOnlyMount) refusal() error {
	return fmt.Errorf("%s: %w", m.server.Dir(), errReadOnly)
}
