package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/dir"
	"coffer/pipeline/channel"
	"coffer/pipeline/monitor"
	"coffer/pipeline/mover"
)

type serveOptions struct {
	store  string
	listen string
	window int
	grace  time.Duration
	fault  string
	out    io.Writer
}

func newServe() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve STORE",
		Short: "Let other machines store in a store here",
		Long: `Serve lets other machines store in the directory STORE, until it is interrupted. It holds no key to what they
store and needs none: a directory that is empty or does not exist is made a store without one.

'coffer invite' lets a machine in.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out = args[0], cmd.OutOrStdout()
			return runServe(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.listen, "listen", ":"+channel.DefaultPort, "`address` to listen at")
	cmd.Flags().IntVar(&o.window, "buffers", 32, "`number` of 1 MiB buffers for each client that writes")
	cmd.Flags().DurationVar(&o.grace, "grace", 7*24*time.Hour, "how long what an append-only client has pruned stays, and until it is approved of: see coffer approve")
	addFault(cmd.Flags(), &o.fault)
	return cmd
}

// served is a store as it is served to other machines.
type served struct {
	medium   *dir.Medium
	path     string // absolute
	id       chunkfmt.StoreID
	state    string // the folder of what this user keeps about serving it
	registry *channel.Registry
}

// openServed opens the store and the list of its clients. Without a store it makes one, if create says so.
func openServed(ctx context.Context, store string, create bool) (_ *served, err error) {
	path, err := resolve(store)
	if err != nil {
		return nil, err
	}
	m, err := dir.Open(path, dir.Options{Create: create})
	if errors.Is(err, media.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: %w", store, media.ErrNoStore, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	s := &served{medium: m, path: path}
	s.id, err = media.OpenStore(ctx, m)
	if errors.Is(err, media.ErrNoStore) && create {
		if err = checkVacant(path); err == nil {
			s.id, err = media.CreateStore(ctx, m)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", store, err)
	}
	base, err := stateBase()
	if err != nil {
		return nil, err
	}
	s.state = filepath.Join(base, "serve", s.id.String())
	if s.registry, err = channel.OpenRegistry(s.state); err != nil {
		return nil, err
	}
	return s, nil
}

// identity is the key pair by which clients know this server.
func (s *served) identity() (channel.Identity, error) {
	return channel.EnsureIdentity(filepath.Join(s.state, "identity"))
}

// removals keeps what clients have removed, until it is gone.
func (s *served) removals() (*mover.Removals, error) {
	return mover.OpenRemovals(filepath.Join(s.state, "removals"))
}

// addressFile keeps where the server last listened, for invitations.
func (s *served) addressFile() string { return filepath.Join(s.state, "address") }

func runServe(ctx context.Context, o serveOptions) (err error) {
	faults, err := faultsOf(o.fault)
	if err != nil {
		return err
	}
	s, err := openServed(ctx, o.store, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.medium.Close()) }()
	id, err := s.identity()
	if err != nil {
		return err
	}
	removals, err := s.removals()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	address := l.Addr().String()
	if err := os.WriteFile(s.addressFile(), []byte(address), 0o600); err != nil {
		return errors.Join(fmt.Errorf("remember the address: %w", err), l.Close())
	}
	log := slog.Default()
	m := monitor.New()
	// Pipes end after the last request, not with the signal that asks for the end.
	d := mover.NewDestination(context.WithoutCancel(ctx), mover.DestinationOptions{
		Medium: s.medium, Store: s.id, Registry: s.registry, Starter: m,
		CatalogPath: func(v chunkfmt.VolumeID) string { return catalogPath(s.path, v) },
		LeaseDir:    filepath.Join(s.state, "leases"), Window: o.window, Faults: faults, Log: log,
		Removals: removals, Grace: o.grace,
	})
	ctx, end := context.WithCancel(ctx)
	defer end()
	socket, err := monitor.Listen(&serveControl{d: d, end: end, address: address, store: s.path}, monitor.Info{
		Serves: address, Store: s.path, Pid: os.Getpid(), Started: time.Now(),
	})
	if err != nil {
		return errors.Join(err, l.Close(), d.Close())
	}
	var watch sync.WaitGroup
	watch.Go(d.Run)
	fmt.Fprintf(o.out, "%s is served at %s; its key is %s\n", s.path, address, id.Key())
	err = channel.NewServer(id, s.registry, d.Handler(), time.Now, log).Serve(ctx, l)
	err = errors.Join(err, d.Close(), socket.Close())
	watch.Wait()
	return err
}

// serveControl is what a server does on request of other coffer processes of the same user.
type serveControl struct {
	d       *mover.Destination
	end     func()
	address string
	store   string
}

// serveStatus is what status --json prints of a server.
type serveStatus struct {
	Serves string            `json:"serves"`
	Store  string            `json:"store"`
	Pid    int               `json:"pid"`
	Pipes  []mover.FarStatus `json:"pipes"`
	// LastError is why the process did not say more.
	LastError string `json:"last_error,omitempty"`
}

var errServes = fmt.Errorf("%w: this process serves a store and has no mount", errUsage)

// Status implements monitor.Control.
func (c *serveControl) Status(context.Context) (any, error) {
	return serveStatus{Serves: c.address, Store: c.store, Pid: os.Getpid(), Pipes: c.d.Status()}, nil
}

// Sync implements monitor.Control: clients sync.
func (c *serveControl) Sync(context.Context, json.RawMessage) error { return sent(errServes) }

// Unmount implements monitor.Control: the server ends.
func (c *serveControl) Unmount(context.Context) (any, error) {
	c.end()
	return nil, nil
}

// Put implements monitor.Control: a server has no key.
func (c *serveControl) Put(context.Context, monitor.PutRequest, func(any)) error {
	return sent(errServes)
}

// Snapshot implements monitor.Control: clients seal archives.
func (c *serveControl) Snapshot(context.Context, json.RawMessage) (any, error) {
	return nil, sent(errServes)
}

// Archives implements monitor.Control: a server has no key.
func (c *serveControl) Archives(context.Context) (any, error) { return nil, sent(errServes) }

// Forget implements monitor.Control: a server has no key.
func (c *serveControl) Forget(context.Context, json.RawMessage) (any, error) {
	return nil, sent(errServes)
}

// Prune implements monitor.Control: clients prune.
func (c *serveControl) Prune(context.Context, json.RawMessage) (any, error) {
	return nil, sent(errServes)
}

// Index implements monitor.Control: a server has none.
func (c *serveControl) Index(context.Context) (any, error) { return nil, sent(errServes) }

// Amend implements monitor.Control.
func (c *serveControl) Amend(context.Context, json.RawMessage) (any, error) {
	return nil, sent(errServes)
}
