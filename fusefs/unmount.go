package fusefs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"coffer/fusefs/device"
)

// unmount takes the mount on dir away; lazily, it goes as soon as nobody uses it. EBUSY means that somebody does.
func unmount(dir string, lazy bool) error {
	if os.Geteuid() == 0 {
		flags := unix.UMOUNT_NOFOLLOW
		if lazy {
			flags |= unix.MNT_DETACH
		}
		return unix.Unmount(dir, flags)
	}
	bin, err := device.Fusermount()
	if err != nil {
		return err
	}
	args := []string{"-u", "--", dir}
	if lazy {
		args = []string{"-u", "-z", "--", dir}
	}
	var said bytes.Buffer
	cmd := exec.Command(bin, args...)
	cmd.Stderr = &said
	// In the C locale the one message that matters has a known text: the program tells no errno.
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(said.String())
		if strings.Contains(text, "busy") {
			return fmt.Errorf("%s: %w", text, unix.EBUSY)
		}
		return fmt.Errorf("%s: %w", text, err)
	}
	return nil
}

// Unmount takes the mount away and waits until the last request was answered. When somebody uses the
// mount, it fails with an error that wraps unix.EBUSY and the mount stays as it was. It doesn't make anything
// stable: sync the tree before and close it afterwards.
func (s *Server) Unmount(ctx context.Context) error {
	if err := unmount(s.dir, false); err != nil {
		return fmt.Errorf("unmount %s: %w", s.dir, err)
	}
	return s.waitFor(ctx)
}

// Detach takes the mount out of the tree of names at once, also while it is used; it ends when the last user
// has left. It is the last resort of a server that goes down.
func (s *Server) Detach() error {
	if err := unmount(s.dir, true); err != nil {
		return fmt.Errorf("detach %s: %w", s.dir, err)
	}
	return nil
}
