package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"coffer/fusefs/past"
)

type findOptions struct {
	readOptions
	name  string
	kinds string
	long  bool
}

func newFind() *cobra.Command {
	var o findOptions
	cmd := &cobra.Command{
		Use:   "find STORE[:/PATH]",
		Short: "List all that lies below a path of a volume, without a mount",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.place(cmd, args[0])
			if err := o.check(); err != nil {
				return err
			}
			return o.withState(cmd.Context(), func(s *past.State) error { return runFind(cmd.Context(), &o, s) })
		},
	}
	flags := cmd.Flags()
	o.addReading(flags)
	o.addAt(flags)
	flags.StringVar(&o.name, "name", "", "only what has a name that fits the `pattern`, as of a shell")
	flags.StringVar(&o.kinds, "type", "", "only files of these `kinds`: f, d, l, c, b, p, s")
	flags.BoolVarP(&o.long, "long", "l", false, "show mode, links, owner, size and time")
	flags.BoolVar(&o.json, "json", false, "print an object a line, for programs")
	return cmd
}

func (o *findOptions) check() error {
	if _, err := path.Match(o.name, ""); err != nil {
		return fmt.Errorf("%w: --name %s: %w", errUsage, o.name, err)
	}
	if strings.Trim(o.kinds, "fdlcbps,") != "" {
		return fmt.Errorf("%w: --type %s: the kinds are f, d, l, c, b, p and s", errUsage, o.kinds)
	}
	return nil
}

func runFind(ctx context.Context, o *findOptions, s *past.State) error {
	e, err := s.Resolve(o.path)
	if err != nil {
		return notThere(err)
	}
	out := bufio.NewWriter(o.out)
	var visit func(at string, e *past.Entry) error
	visit = func(at string, e *past.Entry) error {
		if o.wanted(at, e.Mode) {
			line := entryLineOf("/"+at, e)
			if err := line.print(out, o.json, o.long); err != nil {
				return err
			}
		}
		if e.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		return eachEntry(ctx, s, e, func(name string, e *past.Entry) error { return visit(path.Join(at, name), e) })
	}
	return errors.Join(visit(o.path, &e), out.Flush())
}

func (o *findOptions) wanted(at string, mode uint32) bool {
	if o.kinds != "" {
		kind := modeString(mode)[:1]
		if kind == "-" {
			kind = "f"
		}
		if !strings.Contains(o.kinds, kind) {
			return false
		}
	}
	fits, _ := path.Match(o.name, path.Base("/"+at)) // the pattern was checked
	return o.name == "" || fits
}
