package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"coffer/fusefs/past"
)

func newCat() *cobra.Command {
	var o readOptions
	cmd := &cobra.Command{
		Use:   "cat STORE:/PATH…",
		Short: "Write files of a volume to standard output, without a mount",
		Args:  usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.place(cmd, args[0])
			paths := make([]string, len(args))
			for i, arg := range args {
				store, path := splitPlace(arg)
				if store != o.store {
					return fmt.Errorf("%w: all files must be of one store", errUsage)
				}
				paths[i] = path
			}
			return o.withState(cmd.Context(), func(s *past.State) error { return runCat(cmd.Context(), &o, s, paths) })
		},
	}
	o.addReading(cmd.Flags())
	o.addAt(cmd.Flags())
	return cmd
}

func runCat(ctx context.Context, o *readOptions, s *past.State, paths []string) error {
	buf := make([]byte, 1<<20)
	for _, path := range paths {
		e, err := s.Resolve(path)
		if err != nil {
			return notThere(err)
		}
		f, err := s.Open(e.Ino)
		if err != nil {
			return fmt.Errorf("%w: /%s: %w", errNoPath, path, err)
		}
		for off := int64(0); off < f.Size(); {
			n, err := f.Read(ctx, buf, off)
			if err != nil {
				return fmt.Errorf("/%s: %w", path, err)
			}
			if _, err := o.out.Write(buf[:n]); err != nil {
				return err
			}
			off += int64(n)
		}
	}
	return nil
}
