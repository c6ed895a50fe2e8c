package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func newUmount() *cobra.Command {
	return &cobra.Command{
		Use:     "umount MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "Seal the archive and unmount",
		Long: `Umount waits until all that was written is stable, seals the archive, unmounts, ends the session and
waits for the process that served the mount. When it returns without an error, the store has everything.
A mount that is in use stays.

Where a spool stands in front of a server, what does not get there within seconds stays in the spool, and goes on
when the volume is mounted again; 'coffer sync --remote' before waits for it.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUmount(cmd.Context(), args[0], cmd.ErrOrStderr())
		},
	}
}

func runUmount(ctx context.Context, mountPoint string, notes io.Writer) error {
	m, err := mountAt(mountPoint)
	if err != nil {
		return err
	}
	if err := flushKernel(m.MountPoint); err != nil {
		return err
	}
	answer, err := m.unmount(ctx)
	var refused *daemonError
	if errors.As(err, &refused) && refused.Stays {
		return err
	}
	if answer.Unsent > 0 {
		fmt.Fprintf(notes, "%s are in the spool and not on the server yet: they go on when the volume is mounted again.\n",
			humanize.IBytes(uint64(answer.Unsent)))
	}
	return errors.Join(err, ended(ctx, m.Pid))
}
