// Package inprocess is for tests that look at a mount which is served by their own process.
package inprocess

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Unpolled has the kernel learn that there is nothing to poll in a mount. It asks when the first file is opened in Go,
// which has it wait in a way that the collector waits for: a server in the same process could not answer.
func Unpolled(mnt string) error {
	path := filepath.Join(mnt, "polled")
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return errors.Join(err, unix.Close(fd), unix.Unlink(path))
}
