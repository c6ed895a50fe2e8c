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
	fromLog bool
	out     io.Writer
}

func newRebuild() *cobra.Command {
	var o rebuildOptions
	cmd := &cobra.Command{
		Use:   "rebuild STORE",
		Short: "Make index and catalog of a volume anew from the store alone",
		Long: `Rebuild makes the index of a volume anew: from the newest checkpoint in the store that is good and the log
behind it or, where there is none, from the whole log. It says which. The catalog is made anew with it.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out, o.notes = args[0], cmd.OutOrStdout(), cmd.ErrOrStderr()
			return runRebuild(cmd.Context(), &o)
		},
	}
	o.add(cmd.Flags())
	cmd.Flags().BoolVar(&o.fromLog, "from-log", false, "leave checkpoints alone and read the whole log")
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
	options.FromLog = o.fromLog
	spendHeap()
	r, err := mover.Rebuild(ctx, options)
	if err = errors.Join(err, s.close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, "%s: %d sessions, %d chunks, %d files and directories, %s\n",
		rebuiltFrom(&r), r.Sessions, r.Chunks, r.Inodes, humanize.IBytes(r.Bytes))
	return err
}

// rebuiltFrom says what an index was made of.
func rebuiltFrom(r *mover.Report) string {
	from := "from the log alone"
	if c := r.Checkpoint; c != nil {
		from = fmt.Sprintf("from a checkpoint of %s and the log behind it", humanize.IBytes(c.Bytes))
	}
	if r.Passed > 0 {
		from += fmt.Sprintf(" (%d newer checkpoints could not be used)", r.Passed)
	}
	return from
}
