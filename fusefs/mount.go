package fusefs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"coffer/fusefs/device"
	"coffer/fusefs/past"
	"coffer/fusefs/tree"
)

// fsType is how the mount table calls the file system, behind "fuse.".
const fsType = "coffer"

// Options of a mount. The zero value is a good one.
type Options struct {
	// Source is the first column of the mount table and of df: the store, the volume.
	Source string
	// AllowOther lets other users in; always so for root. For others /etc/fuse.conf must say user_allow_other.
	AllowOther bool
	// MaxInflight bounds the memory of requests under way, in bytes; 0: 32 MiB. A write may hold 1 MiB.
	MaxInflight int
	// ReadaheadKiB is how far the kernel reads ahead of a sequential reader, set where root mounts; 0: 4096.
	ReadaheadKiB int
	// Writeback lets the kernel gather writes in its page cache. It then owns sizes and times of files that it
	// has in memory, and sends what was written late and in any order.
	Writeback bool
	// Snapshots is shown as the directory .snapshots of the root, which no listing tells of; nil: there is none.
	Snapshots *past.Snapshots
	// Notices makes a process that calls device.WriteNotices and nothing else, so that this one can be killed at any
	// instant; nil: this process tells the kernel by itself.
	Notices func() *exec.Cmd
	// Space is what df shows of a mount that is read-only; nil: nothing.
	Space func(context.Context) (tree.Space, error)
	// Log is told of I/O errors, and what go-fuse has to say; nil: slog.Default.
	Log *slog.Logger
	// Debug logs every request.
	Debug bool

	readOnly bool
	wrap     func(fuse.RawFileSystem) fuse.RawFileSystem // tests hold requests up with it
}

const (
	maxWrite           = 1 << 20
	maxBackground      = 32 // reads ahead, 1 MiB each: as many as are worth their memory
	defaultMaxInflight = 32 << 20
	defaultReadahead   = 4096
)

// capabilities asked of the kernel beyond go-fuse's defaults. Not ASYNC_DIO: one O_DIRECT write then arrives
// as several at a time, unordered.
const capabilities = fuse.CAP_HANDLE_KILLPRIV_V2 | // set-id bits are the tree's, so the kernel needs not ask
	fuse.CAP_ATOMIC_O_TRUNC | // one request less
	fuse.CAP_DIRECT_IO_ALLOW_MMAP |
	fuse.CAP_EXPORT_SUPPORT | // file handles outlast the kernel's memory of a file
	fuse.CAP_DONT_MASK | // the umask doesn't apply below a default ACL
	fuse.CAP_SETXATTR_EXT // tells when an ACL takes the set-group-id bit away

// Server is a mount and what serves it.
type Server struct {
	dir      string
	tree     *tree.Tree // nil: read-only
	shown    *shown     // nil: not
	conn     *device.Conn
	protocol *fuse.ProtocolServer
	done     chan struct{}
}

// Mount mounts the tree on the directory dir, which must exist, be empty and not be mounted on; else the error
// wraps ErrNotDirectory, ErrNotEmpty, ErrMounted, ErrStale or ErrNoFuse. When Mount returns, the mount can be used.
//
// Requests that wait are called off with EIO when ctx ends; the mount itself stays until Unmount or Detach.
func Mount(ctx context.Context, dir string, t *tree.Tree, o Options) (*Server, error) {
	dir, err := checked(dir)
	if err != nil {
		return nil, err
	}
	o.setDefaults()
	t.ExpectForgets()
	s := &Server{dir: dir, tree: t, done: make(chan struct{})}
	cache := newCache(s.dropPages)
	if o.Writeback {
		cache.writeback = true
		t.LeaveTimes(kernelClock)
	}
	err = s.mount(ctx, &o, cache.run, func(a *answers) fuse.RawFileSystem {
		return &filesystem{RawFileSystem: fuse.NewDefaultRawFileSystem(), answers: a, tree: t, cache: cache}
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// MountReadOnly is Mount for a tree that only its writer changes, wherever that is. Whoever brings what this mount
// shows up to date calls Changed after it. Every change through the mount is refused with EROFS.
func MountReadOnly(ctx context.Context, dir string, front *past.Front, o Options) (*Server, error) {
	dir, err := checked(dir)
	if err != nil {
		return nil, err
	}
	o.setDefaults()
	s := &Server{dir: dir, done: make(chan struct{})}
	o.readOnly = true
	err = s.mount(ctx, &o, func(stop <-chan struct{}) { <-stop }, func(a *answers) fuse.RawFileSystem {
		s.shown = newShown(a, front)
		s.shown.brief, s.shown.space = time.Second, o.Space
		return s.shown
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// checked makes dir absolute, and says why it can't be mounted on.
func checked(dir string) (string, error) {
	dir, err := resolve(dir)
	if err != nil {
		return "", fmt.Errorf("mount: %w: %w", ErrNotDirectory, err)
	}
	if err := checkDevice(); err != nil {
		return "", fmt.Errorf("mount on %s: %w", dir, err)
	}
	return dir, checkMountPoint(dir)
}

// mount mounts what face makes and has it served. Run goes on beside it until stop is closed.
func (s *Server) mount(
	ctx context.Context, o *Options, run func(stop <-chan struct{}), face func(*answers) fuse.RawFileSystem,
) error {
	// Requests that wait end with the mount, too.
	ctx, gone := context.WithCancel(ctx)
	a := &answers{ctx: ctx, log: o.Log, waits: func(number uint64) { s.conn.Pass(number) }}
	fs := face(a)
	if o.Snapshots != nil {
		shown := newShown(a, o.Snapshots)
		// Every path to a file leads through .snapshots. Of names that come and go the kernel is told; see EntryChanged.
		shown.brief = time.Second
		fs = &withSnapshots{live: fs, past: shown}
	}
	if o.wrap != nil {
		fs = o.wrap(fs)
	}
	s.protocol = fuse.NewProtocolServer(fs, protocolOptions(o))
	var err error
	s.conn, err = device.Mount(ctx, s.dir, device.Options{
		Source:     o.Source,
		Type:       fsType,
		MaxWrite:   maxWrite,
		ReadOnly:   o.readOnly,
		AllowOther: o.AllowOther,
		MaxLarge:   max(o.MaxInflight/maxWrite, 2),
		Notices:    o.Notices,
		Log:        o.Log,
	})
	if err != nil {
		gone()
		return err
	}
	if err := s.conn.First(s.answer); err != nil {
		gone()
		return fmt.Errorf("mount on %s: %w", s.dir, firstOf(err, s.Detach()))
	}
	go s.serve(o.Log, run, gone)
	if err := setReadahead(s.dir, o.ReadaheadKiB); err != nil && os.Geteuid() == 0 {
		o.Log.Warn("reads will be slower than they could be: no readahead", "mount", s.dir, "err", err)
	}
	return nil
}

// kernelClock is the clock that the kernel takes the times of files from.
func kernelClock() time.Time {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now) // fails only for a clock that is not there
	return time.Unix(now.Unix())
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Source == "" {
		o.Source = fsType
	}
	if o.MaxInflight == 0 {
		o.MaxInflight = defaultMaxInflight
	}
	if o.ReadaheadKiB == 0 {
		o.ReadaheadKiB = defaultReadahead
	}
	o.AllowOther = o.AllowOther || os.Geteuid() == 0
}

func protocolOptions(o *Options) *fuse.MountOptions {
	m := &fuse.MountOptions{
		MaxWrite:                 maxWrite,
		MaxBackground:            maxBackground,
		ExplicitDataCacheControl: true,
		EnableAcl:                true,
		EnableSymlinkCaching:     true,
		ExtraCapabilities:        capabilities,
		Logger:                   slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
		Debug:                    o.Debug,
	}
	if o.Writeback {
		m.ExtraCapabilities |= fuse.CAP_WRITEBACK_CACHE
	}
	return m
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
