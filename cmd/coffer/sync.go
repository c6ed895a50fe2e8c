package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newSync() *cobra.Command {
	remote := false
	cmd := &cobra.Command{
		Use:   "sync MOUNTPOINT",
		Short: "Wait until all that was written is on stable storage",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSync(cmd.Context(), args[0], remote)
		},
	}
	cmd.Flags().BoolVar(&remote, "remote", false, "on the server's, where a spool stands in front of it")
	return cmd
}

func runSync(ctx context.Context, mountPoint string, remote bool) error {
	m, err := mountAt(mountPoint)
	if err != nil {
		return err
	}
	if err := flushKernel(m.MountPoint); err != nil {
		return err
	}
	return m.sync(ctx, remote)
}

// flushKernel has the kernel write mapped and cached pages of a file system; a server of FUSE is not told
// of a syncfs.
func flushKernel(mountPoint string) error {
	dir, err := os.Open(mountPoint)
	if err != nil {
		return fmt.Errorf("sync %s: %w", mountPoint, err)
	}
	defer dir.Close()
	for {
		// That a process was killed while the kernel sent the times of what it had mapped is kept for whoever
		// syncs next (mounts with --writeback), and no reason not to sync.
		switch err := unix.Syncfs(int(dir.Fd())); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("sync %s: %w", mountPoint, err)
		}
	}
}
