package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"coffer/fusefs/past"
	"coffer/index"
	"coffer/pipeline/mover"
)

// addReading adds the flags of commands that read a volume.
func (o *volumeOptions) addReading(flags *pflag.FlagSet) {
	o.add(flags)
	o.cache = 64 << 20
	flags.Var(&o.cache, "cache", "`size` of the cache of what was read, like 256M")
}

// reading is a volume that is open for reading in this process.
type reading struct {
	*mover.Reader
	opened *opened
}

// openReading opens a volume for reading; see mover.OpenReader. The process that serves it on this machine, if
// there is one, lends a copy of its index.
func openReading(ctx context.Context, o *volumeOptions) (*reading, error) {
	s, err := openStore(ctx, o, o.unlocked)
	if err != nil {
		return nil, err
	}
	r, err := s.read(ctx, o)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return &reading{r, s}, nil
}

func (s *opened) read(ctx context.Context, o *volumeOptions) (*mover.Reader, error) {
	options, err := s.moverOptions(o, "")
	if err != nil {
		return nil, err
	}
	options.Copied = func(ctx context.Context) (string, error) {
		m, err := mountedHere(o.store, o.name)
		if err != nil || m == nil {
			return "", err
		}
		return m.index(ctx)
	}
	copied, err := options.Copied(ctx)
	if err != nil {
		return nil, err
	}
	return mover.OpenReader(ctx, options, copied)
}

// Close closes the volume and its store.
func (r *reading) Close() error { return errors.Join(r.Reader.Close(), r.opened.close()) }

// at gives the state that --at names; empty: what is there now.
func (r *reading) at(what string) (*past.State, error) {
	if what == "" {
		return past.At(r.Index(), r.Groups(), index.Present), nil
	}
	a, err := past.Find(r.Index(), what)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: `coffer snapshots` lists what there is", errUsage, err)
	}
	return past.At(r.Index(), r.Groups(), a.Number), nil
}

// splitPlace divides STORE[:/PATH].
func splitPlace(place string) (string, string) {
	store, p := cutTarget(place)
	return store, path.Clean("/" + p)[1:]
}

// readOptions are what commands have in common that read a place in a volume.
type readOptions struct {
	volumeOptions
	path string
	when string
	json bool
	out  io.Writer
}

// place takes STORE[:/PATH] and where to print.
func (o *readOptions) place(cmd *cobra.Command, place string) {
	o.store, o.path = splitPlace(place)
	o.out = cmd.OutOrStdout()
}

func (o *readOptions) addAt(flags *pflag.FlagSet) {
	flags.StringVar(&o.when, "at", "", "`archive` to look at: its name or label, or a time (default: what is there now)")
}

// withState opens the volume, calls f with the state that was asked for, and closes it.
func (o *readOptions) withState(ctx context.Context, f func(*past.State) error) error {
	return o.withReading(ctx, func(r *reading) error {
		s, err := r.at(o.when)
		if err != nil {
			return err
		}
		return f(s)
	})
}

func (o *readOptions) withReading(ctx context.Context, f func(*reading) error) error {
	r, err := openReading(ctx, &o.volumeOptions)
	if err != nil {
		return err
	}
	return errors.Join(f(r), r.Close())
}

// printable shows a name or label on one line of a terminal: what is not to be printed is quoted.
func printable(name string) string {
	quoted := fmt.Sprintf("%q", name)
	if quoted[1:len(quoted)-1] == name {
		return name
	}
	return quoted
}
