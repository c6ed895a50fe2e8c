package fusefs

import (
	"context"
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// openFlags are those that the tree is told. Not O_APPEND: the kernel knows the end of the file, and it also
// sends pages of a mapping through the handle, to their own places.
const openFlags = unix.O_ACCMODE | unix.O_EXCL | unix.O_TRUNC | unix.O_NOATIME

// treeFlags are the flags of an open as the tree gets them. A kernel that gathers writes reads the page that one
// covers in part, through whatever handle it has.
func (fs *filesystem) treeFlags(flags uint32) int {
	flags &= openFlags
	if fs.cache.writeback && flags&unix.O_ACCMODE == unix.O_WRONLY {
		flags = flags&^unix.O_ACCMODE | unix.O_RDWR
	}
	return int(flags)
}

// Create implements fuse.RawFileSystem.
func (fs *filesystem) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if s := checkName(name); !s.Ok() {
		return s
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	e, h, err := fs.tree.Create(ctx, caller(&in.InHeader, in.Umask), ino(&in.InHeader), name, in.Mode, fs.treeFlags(in.Flags))
	if err != nil {
		return fs.status(err)
	}
	fillEntry(&out.EntryOut, e)
	fs.opened(&out.OpenOut, h, in.Flags)
	return fuse.OK
}

// Tmpfile implements fuse.RawFileSystem.
func (fs *filesystem) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	e, h, err := fs.tree.Tmpfile(ctx, caller(&in.InHeader, in.Umask), ino(&in.InHeader), in.Mode, fs.treeFlags(in.Flags))
	if err != nil {
		return fs.status(err)
	}
	fillEntry(&out.EntryOut, e)
	fs.opened(&out.OpenOut, h, in.Flags)
	return fuse.OK
}

// Open implements fuse.RawFileSystem.
func (fs *filesystem) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	flags := fs.treeFlags(in.Flags)
	// The tree doesn't know whether the opener may keep set-id bits over a truncation; setting the size does.
	kill := in.Mode&fuse.OPEN_KILL_SUIDGID != 0 && flags&unix.O_TRUNC != 0
	if kill {
		flags &^= unix.O_TRUNC
	}
	h, err := fs.tree.Open(ctx, ino(&in.InHeader), flags)
	if err != nil {
		return fs.stale(err)
	}
	if kill {
		set := tree.SetAttr{Valid: tree.SetSize | tree.KillSuidgid}
		if _, err := fs.tree.Setattr(ctx, ino(&in.InHeader), set, nil); err != nil {
			h.Release()
			return fs.stale(err)
		}
	}
	fs.opened(out, h, in.Flags)
	return fuse.OK
}

// opened makes a handle of the kernel's. One that can only read has nothing to report at a close, which saves
// a request.
func (fs *filesystem) opened(out *fuse.OpenOut, h *tree.Handle, flags uint32) {
	out.OpenFlags = fs.cache.open(uint64(h.Ino()), flags)
	if h.AccessDue() {
		out.OpenFlags &^= fuse.FOPEN_KEEP_CACHE // reads of cached pages are not told of
	}
	out.Fh = fs.handles.add(openFile{h, out.OpenFlags&fuse.FOPEN_DIRECT_IO != 0})
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		out.OpenFlags |= fuse.FOPEN_NOFLUSH
	}
}

// Read implements fuse.RawFileSystem.
func (fs *filesystem) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h, ok := fs.handles.get(in.Fh)
	if !ok {
		return nil, fuse.EBADF
	}
	if in.Offset > math.MaxInt64 {
		return nil, fuse.EINVAL
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	n, err := h.Read(ctx, buf, int64(in.Offset))
	if err != nil {
		return nil, fs.status(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Writev implements fuse.RawFileSystem. The kernel's requests come in one piece.
func (fs *filesystem) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if len(data) == 1 {
		return fs.Write(cancel, in, data[0])
	}
	return 0, fuse.ENOSYS
}

// Write implements fuse.RawFileSystem.
func (fs *filesystem) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h, ok := fs.handles.get(in.Fh)
	if !ok {
		return 0, fuse.EBADF
	}
	if in.Offset > math.MaxInt64-uint64(len(data)) {
		return 0, fuse.Status(unix.EFBIG)
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	n, err := h.Write(ctx, data, int64(in.Offset), in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0)
	pages := in.WriteFlags&fuse.WRITE_CACHE != 0
	if h.direct && !pages && n > 0 {
		fs.cache.wrote(in.NodeId, int64(in.Offset), int64(n))
	}
	// The kernel leaves O_SYNC of a direct handle to the server.
	if err == nil && !pages && in.Flags&(unix.O_SYNC|unix.O_DSYNC) != 0 {
		err = fs.tree.Sync(ctx)
	}
	if err != nil {
		return 0, fs.status(err)
	}
	return uint32(n), fuse.OK
}

// Flush implements fuse.RawFileSystem. It is where close(2) reports errors.
func (fs *filesystem) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	h, ok := fs.handles.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	return fs.status(h.Flush(ctx))
}

// Release implements fuse.RawFileSystem.
func (fs *filesystem) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	h, ok := fs.handles.remove(in.Fh)
	if !ok {
		return
	}
	fs.cache.close(uint64(h.Ino()), uint32(h.Flags()), h.direct)
	h.Release()
}

// Fsync implements fuse.RawFileSystem.
func (fs *filesystem) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	return fs.status(fs.tree.Sync(ctx))
}

// clearSetGid takes the set-group-id bit off, as changing an ACL does for those who are not in the group.
func (fs *filesystem) clearSetGid(ctx context.Context, ino tree.Ino) fuse.Status {
	a, err := fs.tree.Getattr(ctx, ino)
	if err != nil {
		return fs.status(err)
	}
	if a.Mode&unix.S_ISGID == 0 {
		return fuse.OK
	}
	_, err = fs.tree.Setattr(ctx, ino, tree.SetAttr{Valid: tree.SetMode, Mode: a.Mode &^ (unix.S_IFMT | unix.S_ISGID)}, nil)
	return fs.status(err)
}
