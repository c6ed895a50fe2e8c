package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"coffer/pipeline/mover"
)

type rebuildOptions struct {
	volumeOptions
	out io.Writer
}

func newRebuild() *cobra.Command {
	var o rebuildOptions
	cmd := &cobra.Command{
		Use:   "rebuild STORE",
		Short: "Make index and catalog of a volume anew from the store alone",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out, o.notes = args[0], cmd.OutOrStdout(), cmd.ErrOrStderr()
			return runRebuild(cmd.Context(), &o)
		},
	}
	o.add(cmd.Flags())
	return cmd
}

func runRebuild(ctx context.Context, o *rebuildOptions) error {
	s, err := openStore(ctx, &o.volumeOptions, o.unlocked)
	if err != nil {
		return err
	}
	options, err := s.moverOptions(&o.volumeOptions, "a rebuild")
	if err != nil {
		return errors.Join(err, s.close())
	}
	r, err := mover.Rebuild(ctx, options)
	if err = errors.Join(err, s.close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, "%d sessions, %d chunks, %d files and directories, %s\n", r.Sessions, r.Chunks, r.Inodes, humanize.IBytes(r.Bytes))
	return err
}
