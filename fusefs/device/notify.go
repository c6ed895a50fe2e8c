package device

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// Notify tells the kernel something unasked (FUSE_NOTIFY_*). ENOENT says that the kernel does not know what it is
// about. It must not be called while a request is answered, which the kernel may wait for. One notice is written at
// a time.
func (c *Conn) Notify(code int32, payload ...[]byte) error {
	size := 0
	for _, p := range payload {
		size += len(p)
	}
	notice := appendHead(nil, code, 0, size)
	for _, p := range payload {
		notice = append(notice, p...)
	}
	c.closing.RLock()
	defer c.closing.RUnlock()
	if c.closed {
		return unix.ENODEV
	}
	if c.notifier == nil {
		return writeNotice(c.fd, notice)
	}
	err := c.notifier.write(c.fd, notice)
	var failed *processError
	if errors.As(err, &failed) {
		c.log.Warn("this process tells the kernel what has changed; if killed meanwhile, it may hang", "err", err)
		return writeNotice(c.fd, notice)
	}
	return err
}

func writeNotice(fd int, notice []byte) error {
	_, err := unix.Write(fd, notice)
	return err
}

// notifier has notices written by another process.
//
// The kernel may carry a notice out only after a request has been answered, one that holds a page or a directory
// which the notice is about, and who writes it can't be killed meanwhile. If this process wrote it, and were
// killed, the request would never be answered: the device stays open, and the mount hangs, as long as one thread lives.
type notifier struct {
	command func() *exec.Cmd
	buffer  int // that a request needs, in bytes

	mu      sync.Mutex
	process *exec.Cmd // nil until there is something to tell
	socket  int       // to it
}

// processError says that there is no process that writes notices.
type processError struct{ err error }

func (e *processError) Error() string {
	return "start the process that tells the kernel: " + e.err.Error()
}

func (e *processError) Unwrap() error { return e.err }

// write has a notice for the device fd written, and returns what the kernel said or a processError.
func (n *notifier) write(fd int, notice []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		answer, err := n.ask(notice)
		if err == nil {
			return answer
		}
		n.end() // somebody has killed it
	}
	if err := n.begin(fd); err != nil {
		return &processError{err}
	}
	answer, err := n.ask(notice)
	if err != nil {
		n.end()
		return &processError{err}
	}
	return answer
}

// close ends the process, whose mount is gone.
func (n *notifier) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.end()
}

func (n *notifier) begin(fd int) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	theirs := os.NewFile(uintptr(pair[1]), "notices")
	cmd := n.command()
	cmd.ExtraFiles = []*os.File{theirs} // noticesFD
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		unix.Close(pair[0])
		return err
	}
	n.process, n.socket = cmd, pair[0]
	size := order.AppendUint32(nil, uint32(n.buffer))
	err = unix.Sendmsg(n.socket, size, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
	var answer error
	if err == nil {
		answer, err = n.answer()
	}
	if err = errors.Join(err, answer); err != nil {
		n.end()
	}
	return err
}

func (n *notifier) end() {
	if n.process == nil {
		return
	}
	unix.Close(n.socket)
	n.process.Wait() // how it ended is of no interest, for nothing hangs on it
	n.process = nil
}

// ask has the process write a notice.
func (n *notifier) ask(notice []byte) (answer, err error) {
	if err := unix.Sendmsg(n.socket, notice, nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return nil, err
	}
	return n.answer()
}

func (n *notifier) answer() (answer, err error) {
	var errno [4]byte
	got, err := unix.Read(n.socket, errno[:])
	if err != nil {
		return nil, err
	}
	if got != len(errno) {
		return nil, errors.New("it has ended")
	}
	if e := unix.Errno(order.Uint32(errno[:])); e != 0 {
		return e, nil
	}
	return nil, nil
}

// noticesFD is the socket of the process that writes notices.
const noticesFD = 3

// WriteNotices is what the process of Options.Notices does. It returns when the one that started it has ended.
func WriteNotices() error {
	var size [4]byte
	theirs, err := receive(noticesFD, size[:])
	if err != nil {
		return fmt.Errorf("take /dev/fuse over: %w", err)
	}
	fd, err := clone(theirs)
	unix.Close(theirs)
	if sent := tell(err); err != nil || sent != nil {
		return errors.Join(err, sent)
	}
	notices, ended := make(chan []byte), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			notice := make([]byte, 4096)
			n, err := unix.Read(noticesFD, notice)
			if err != nil || n == 0 {
				return
			}
			notices <- notice[:n]
		}
	}()
	for {
		select {
		case notice := <-notices:
			written := make(chan error, 1)
			go func() { written <- writeNotice(fd, notice) }()
			select {
			case err := <-written:
				if err := tell(err); err != nil {
					return err
				}
			case <-ended:
				// What the notice waits for will not be answered any more but here.
				go refuse(fd, make([]byte, order.Uint32(size[:])))
				<-written
				return nil
			}
		case <-ended:
			return nil
		}
	}
}

// clone opens the device of another descriptor once more. A mount's connection lasts until all are closed.
func clone(device int) (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/fuse: %w", err)
	}
	const fuseDevIocClone = 0x8004e500 // FUSE_DEV_IOC_CLONE (linux/fuse.h)
	if err := unix.IoctlSetPointerInt(fd, fuseDevIocClone, device); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("clone /dev/fuse: %w", err)
	}
	return fd, nil
}

// tell answers with an errno, 0 for none.
func tell(err error) error {
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		errno = unix.EIO
	}
	_, err = unix.Write(noticesFD, order.AppendUint32(nil, uint32(errno)))
	return err
}

// refuse answers all requests as those of a mount that is dead, until it is gone.
func refuse(fd int, buffer []byte) {
	var r request
	for {
		switch err := r.read(fd, buffer); {
		case err == nil:
			// Some want no answer, which the kernel does not mind.
			unix.Write(fd, appendHead(nil, -int32(unix.ENOTCONN), r.number(), 0))
		case !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOENT):
			return
		}
	}
}
