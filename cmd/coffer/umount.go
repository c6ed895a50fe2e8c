package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func newUmount() *cobra.Command {
	return &cobra.Command{
		Use:     "umount MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "Seal the archive and unmount",
		Long: `Umount waits until all that was written is stable, seals the archive, unmounts, ends the session and
waits for the process that served the mount. When it returns without an error, the store has everything.
A mount that is in use stays.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUmount(cmd.Context(), args[0])
		},
	}
}

func runUmount(ctx context.Context, mountPoint string) error {
	m, err := mountAt(mountPoint)
	if err != nil {
		return err
	}
	if err := flushKernel(m.MountPoint); err != nil {
		return err
	}
	err = m.unmount(ctx)
	var refused *daemonError
	if errors.As(err, &refused) && refused.Stays {
		return err
	}
	return errors.Join(err, ended(ctx, m.Pid))
}
