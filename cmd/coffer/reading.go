package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

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
		return nil, errors.Join(err, s.medium.Close())
	}
	return &reading{r, s}, nil
}

func (s *opened) read(ctx context.Context, o *volumeOptions) (*mover.Reader, error) {
	options, err := s.moverOptions(o, "")
	if err != nil {
		return nil, err
	}
	m, err := mountedHere(o.store, o.name)
	if err != nil {
		return nil, err
	}
	copied := ""
	if m != nil {
		if copied, err = m.index(ctx); err != nil {
			return nil, err
		}
	}
	return mover.OpenReader(ctx, options, copied)
}

// Close closes the volume and its store.
func (r *reading) Close() error { return errors.Join(r.Reader.Close(), r.opened.medium.Close()) }

// printable shows a name or label on one line of a terminal: what is not to be printed is quoted.
func printable(name string) string {
	quoted := fmt.Sprintf("%q", name)
	if quoted[1:len(quoted)-1] == name {
		return name
	}
	return quoted
}
