package main

import (
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"coffer/fusefs/device"
)

// newNotices is what a mount starts to have the kernel told of changes, and nothing for users.
func newNotices() *cobra.Command {
	return &cobra.Command{
		Use:    "notices",
		Hidden: true,
		Args:   usage(cobra.NoArgs),
		RunE:   func(*cobra.Command, []string) error { return device.WriteNotices() },
	}
}

// noticesProcess is this program once more, to write notices. It outlives signals to the mount's process group.
func noticesProcess() *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "notices")
	cmd.Args[0] = "coffer"
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}
