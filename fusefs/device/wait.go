package device

import (
	"time"

	"golang.org/x/sys/unix"
)

// The reader with the turn looks for a request for as long as it paid lately, at most longestSpin, and then sleeps:
// a program that asks for one thing after the other does so within some tens of microseconds, and to fall asleep
// and to be woken costs as much on either side. The rule is that of the kernel's halt polling (virt/kvm).
const (
	longestSpin  = 100 * time.Microsecond
	shortestSpin = 10 * time.Microsecond
)

// next reads the next request, waiting for it. Only the reader with the turn calls it. ENODEV: the mount is gone.
func (c *Conn) next(r *request, large []byte) error {
	var since time.Time
	for {
		err := r.read(c.fd, large)
		switch err {
		case nil:
			return nil
		case unix.EINTR, unix.ENOENT: // ENOENT: its process was killed before it was read
			continue
		case unix.EAGAIN:
		default:
			return err
		}
		now := time.Now()
		if since.IsZero() {
			since = now
		}
		if now.Sub(since) < c.spin {
			continue
		}
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, -1); err != nil && err != unix.EINTR {
			return err
		}
		if time.Since(since) < longestSpin {
			c.spin = min(max(2*c.spin, shortestSpin), longestSpin)
		} else if c.spin /= 2; c.spin < shortestSpin {
			c.spin = 0
		}
		since = time.Now()
	}
}
