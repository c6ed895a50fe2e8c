package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"coffer/chunkfmt"
)

type snapshotOptions struct {
	mountPoint string
	label      string
	out        io.Writer
}

func newSnapshot() *cobra.Command {
	var o snapshotOptions
	cmd := &cobra.Command{
		Use:   "snapshot MOUNTPOINT",
		Short: "Seal an archive of a mounted volume as it is now",
		Long: `Snapshot seals an archive of the volume mounted at MOUNTPOINT and prints its name. It is then to be
seen in MOUNTPOINT/.snapshots/NAME, and by its label, as long as no later one has the same. If nothing has changed
since the last archive, there is no new one unless a label is given.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.mountPoint, o.out = args[0], cmd.OutOrStdout()
			return runSnapshot(cmd.Context(), &o)
		},
	}
	cmd.Flags().StringVarP(&o.label, "label", "m", "", "`text` to remember the archive by")
	return cmd
}

func runSnapshot(ctx context.Context, o *snapshotOptions) error {
	if len(o.label) > chunkfmt.MaxLabel {
		return fmt.Errorf("%w: a label has %d bytes at most", errUsage, chunkfmt.MaxLabel)
	}
	m, err := mountAt(o.mountPoint)
	if err != nil {
		return err
	}
	if err := flushKernel(m.MountPoint); err != nil {
		return err
	}
	a, err := m.snapshot(ctx, o.label)
	if err != nil {
		return err
	}
	if !a.Made {
		_, err = fmt.Fprintf(o.out, "%s (nothing has changed since)\n", a.Archive.Name)
		return err
	}
	_, err = fmt.Fprintln(o.out, a.Archive.Name)
	return err
}
