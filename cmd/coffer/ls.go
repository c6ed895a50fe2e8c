package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

type lsOptions struct {
	readOptions
	long bool
}

func newLs() *cobra.Command {
	var o lsOptions
	cmd := &cobra.Command{
		Use:   "ls STORE[:/PATH]",
		Short: "List a directory of a volume without a mount",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.place(cmd, args[0])
			return o.withState(cmd.Context(), func(s *past.State) error { return runLs(cmd.Context(), &o, s) })
		},
	}
	flags := cmd.Flags()
	o.addReading(flags)
	o.addAt(flags)
	flags.BoolVarP(&o.long, "long", "l", false, "show mode, links, owner, size and time")
	flags.BoolVar(&o.json, "json", false, "print an object a line, for programs")
	return cmd
}

func runLs(ctx context.Context, o *lsOptions, s *past.State) error {
	e, err := s.Resolve(o.path)
	if err != nil {
		return notThere(err)
	}
	out := bufio.NewWriter(o.out)
	if e.Mode&unix.S_IFMT != unix.S_IFDIR {
		line := entryLineOf(o.path, &e)
		return errors.Join(line.print(out, o.json, o.long), out.Flush())
	}
	err = eachEntry(ctx, s, &e, func(name string, e *past.Entry) error {
		line := entryLineOf(name, e)
		return line.print(out, o.json, o.long)
	})
	return errors.Join(err, out.Flush())
}

// eachEntry calls f with the entries of a directory.
func eachEntry(ctx context.Context, s *past.State, dir *past.Entry, f func(name string, e *past.Entry) error) error {
	var failed error
	err := s.ReadDir(ctx, dir.Ino, 0, func(name string, d chunkfmt.Dirent) bool {
		i, err := s.Inode(d.Ino)
		if err == nil {
			err = f(name, &past.Entry{Ino: d.Ino, Inode: i})
		}
		failed = err
		return err == nil
	})
	return errors.Join(err, failed)
}

// notThere makes of a path that is not in a volume a mistake of the command line.
func notThere(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%w: %w", errNoPath, err)
	}
	return err
}
