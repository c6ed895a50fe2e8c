package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a mount.
type Options struct {
	// Source is the first column of the mount table; Type is the second, behind "fuse.".
	Source, Type string
	// MaxWrite is the largest payload of a request, in bytes.
	MaxWrite int
	// ReadOnly has the kernel refuse every change.
	ReadOnly bool
	// AllowOther lets other users in.
	AllowOther bool
	// MaxLarge bounds how many requests with a large payload are under way; each holds a buffer of MaxWrite.
	MaxLarge int
	// Notices makes a process that calls WriteNotices and does nothing else; it is started when there is something to tell
	// the kernel. If nil, this process does it by itself, and if killed meanwhile, its mount may hang.
	Notices func() *exec.Cmd
	// Log is told of what the kernel would not take.
	Log *slog.Logger
}

// Conn is a connection to the kernel: one mount.
type Conn struct {
	fd      int
	log     *slog.Logger
	large   *buffers
	turn    turn
	spin    time.Duration // of the reader with the turn
	serving atomic.Pointer[service]

	notifier *notifier    // nil if this process writes notices
	closing  sync.RWMutex // guards closed; held while a notice is written
	closed   bool
}

// Mount mounts a file system on dir, a directory that nothing is mounted on, with permissions checked by the kernel.
// Requests wait for Serve. Root mounts by itself, with devices and set-id files; others through fusermount3.
func Mount(ctx context.Context, dir string, o Options) (*Conn, error) {
	mount := mountDirectly
	if os.Geteuid() != 0 {
		mount = mountForUser
	}
	fd, err := mount(ctx, dir, &o)
	if err != nil {
		return nil, err
	}
	// Whoever reads looks before he waits.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up /dev/fuse: %w", err)
	}
	return newConn(fd, &o), nil
}

func newConn(fd int, o *Options) *Conn {
	c := &Conn{fd: fd, log: o.Log, large: newBuffers(o.MaxWrite+slack, o.MaxLarge)}
	c.turn.wake = make(chan struct{}, 1)
	if o.Notices != nil {
		c.notifier = &notifier{command: o.Notices, buffer: o.MaxWrite + slack}
	}
	return c
}

func mountDirectly(_ context.Context, dir string, o *Options) (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/fuse: %w", err)
	}
	options := []string{
		"fd=" + strconv.Itoa(fd), "rootmode=40000", "user_id=0", "group_id=0",
		"default_permissions", "max_read=" + strconv.Itoa(o.MaxWrite),
	}
	if o.AllowOther {
		options = append(options, "allow_other")
	}
	flags := uintptr(0)
	if o.ReadOnly {
		flags = unix.MS_RDONLY
	}
	if err := unix.Mount(o.Source, dir, "fuse."+o.Type, flags, strings.Join(options, ",")); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("mount on %s: %w", dir, err)
	}
	return fd, nil
}

// mountForUser has the set-uid helper mount, which sends the descriptor over a socket (fusermount3(1)).
func mountForUser(ctx context.Context, dir string, o *Options) (int, error) {
	bin, err := Fusermount()
	if err != nil {
		return 0, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make a socket for fusermount3: %w", err)
	}
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "fusermount3")
	options := []string{
		"default_permissions", "max_read=" + strconv.Itoa(o.MaxWrite), "fsname=" + o.Source, "subtype=" + o.Type,
	}
	if o.ReadOnly {
		options = append(options, "ro")
	}
	if o.AllowOther {
		options = append(options, "allow_other")
	}
	for k, s := range options {
		options[k] = strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(s)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, "-o", strings.Join(options, ","), "--", dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3") // the first of ExtraFiles
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = &said
	err = cmd.Run()
	theirs.Close()
	if err != nil {
		return 0, fmt.Errorf("mount on %s: %s: %w", dir, strings.TrimSpace(said.String()), err)
	}
	fd, err := receive(pair[0], make([]byte, 1))
	if err != nil {
		return 0, fmt.Errorf("mount on %s: no descriptor from fusermount3: %w", dir, err)
	}
	return fd, nil
}

// receive takes the one descriptor that was sent over a socket, and the data that came with it.
func receive(socket int, data []byte) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, data, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return 0, err
	}
	if len(messages) != 1 {
		return 0, errors.New("none was sent")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	if len(fds) != 1 {
		return 0, fmt.Errorf("%d were sent", len(fds))
	}
	return fds[0], nil
}

// Fusermount finds the set-uid helper that mounts for those who are not root.
func Fusermount() (string, error) {
	for _, name := range []string{"fusermount3", "fusermount", "/usr/bin/fusermount3", "/bin/fusermount3"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("fusermount3 is not installed")
}
