package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"coffer/fusefs/dump"
	"coffer/media/remote"
)

func newDump() *cobra.Command {
	var o readOptions
	var paths []string
	cmd := &cobra.Command{
		Use:   "dump STORE[:/PATH] [PATH…]",
		Short: "Write what an archive holds as a tar to standard output",
		Long: `Dump writes what lies below PATH as a tar (pax), with nanoseconds, extended attributes, ACLs, hard links and
holes: 'tar --xattrs --acls -xpf -' reads all of it. With further PATHs, only these, which are below the first.

What is damaged is named and left out; so that none of it is in the tar, files of more than 256 KiB are read twice.`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.place(cmd, args[0])
			o.notes, paths = cmd.ErrOrStderr(), args[1:]
			if f, ok := o.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
				return fmt.Errorf("%w: a tar is not for a terminal: send it to a file or a program", errUsage)
			}
			return o.withReading(cmd.Context(), func(r *reading) error { return runDump(cmd.Context(), &o, r, paths) })
		},
	}
	o.addReading(cmd.Flags())
	o.addAt(cmd.Flags())
	return cmd
}

func runDump(ctx context.Context, o *readOptions, r *reading, paths []string) error {
	limitHeap(0)
	s, err := r.at(o.when)
	if err != nil {
		return err
	}
	part, err := s.Part(o.path, paths...)
	if err != nil {
		return notThere(err)
	}
	c, err := dump.Write(ctx, o.out, part, dump.Options{
		Away: remote.ErrAway, Tell: func(p dump.Problem) { sayProblem(o.notes, &p) },
	})
	if c.Sockets > 0 {
		fmt.Fprintf(o.notes, "%d sockets are left out: a tar can't hold them\n", c.Sockets)
	}
	if err == nil && c.Problems > 0 {
		return fmt.Errorf("%w: %d names are left out", errUnrestored, c.Problems)
	}
	return err
}

func sayProblem(notes io.Writer, problem error) { fmt.Fprintln(notes, printable(problem.Error())) }
