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
	// Log is told of I/O errors, and what go-fuse has to say; nil: slog.Default.
	Log *slog.Logger
	// Debug logs every request.
	Debug bool

	wrap func(fuse.RawFileSystem) fuse.RawFileSystem // tests hold requests up with it
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
	tree     *tree.Tree
	conn     *device.Conn
	protocol *fuse.ProtocolServer
	done     chan struct{}
}

// Mount mounts the tree on the directory dir, which must exist, be empty and not be mounted on; else the error
// wraps ErrNotDirectory, ErrNotEmpty, ErrMounted, ErrStale or ErrNoFuse. When Mount returns, the mount can be used.
//
// Requests that wait are called off with EIO when ctx ends; the mount itself stays until Unmount or Detach.
func Mount(ctx context.Context, dir string, t *tree.Tree, o Options) (*Server, error) {
	dir, err := resolve(dir)
	if err != nil {
		return nil, fmt.Errorf("mount: %w: %w", ErrNotDirectory, err)
	}
	if err := checkDevice(); err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	if err := checkMountPoint(dir); err != nil {
		return nil, err
	}
	o.setDefaults()

	t.ExpectForgets()
	s := &Server{dir: dir, tree: t, done: make(chan struct{})}
	// Requests that wait end with the mount, too.
	ctx, gone := context.WithCancel(ctx)
	fs := &filesystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		tree:          t,
		ctx:           ctx,
		log:           o.Log,
		cache:         newCache(s.dropPages),
		waits:         func(number uint64) { s.conn.Pass(number) },
	}
	if o.Writeback {
		fs.cache.writeback = true
		t.LeaveTimes(kernelClock)
	}
	var face fuse.RawFileSystem = fs
	if o.Snapshots != nil {
		face = &withSnapshots{filesystem: fs, past: o.Snapshots}
	}
	if o.wrap != nil {
		face = o.wrap(face)
	}
	s.protocol = fuse.NewProtocolServer(face, protocolOptions(&o))
	s.conn, err = device.Mount(ctx, dir, device.Options{
		Source:     o.Source,
		Type:       fsType,
		MaxWrite:   maxWrite,
		AllowOther: o.AllowOther,
		MaxLarge:   max(o.MaxInflight/maxWrite, 2),
		Notices:    o.Notices,
		Log:        o.Log,
	})
	if err != nil {
		gone()
		return nil, err
	}
	if err := s.conn.First(s.answer); err != nil {
		gone()
		return nil, fmt.Errorf("mount on %s: %w", dir, firstOf(err, s.Detach()))
	}
	go s.serve(fs, gone)
	if err := setReadahead(dir, o.ReadaheadKiB); err != nil && os.Geteuid() == 0 {
		o.Log.Warn("reads will be slower than they could be: no readahead", "mount", dir, "err", err)
	}
	return s, nil
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
