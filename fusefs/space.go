package fusefs

import (
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Fallocate implements fuse.RawFileSystem.
func (fs *filesystem) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h, ok := fs.handles.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	if in.Offset > math.MaxInt64 || in.Length > math.MaxInt64-in.Offset {
		return fuse.Status(unix.EFBIG)
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	return fs.status(h.Fallocate(ctx, in.Mode, int64(in.Offset), int64(in.Length)))
}

// Lseek implements fuse.RawFileSystem. The kernel asks for SEEK_DATA and SEEK_HOLE only, and does so without
// writing dirty pages first: bytes that stand in a page only would be told as a hole, and lost by whoever copies
// nothing but data. It holds no page while it asks, so it can be made to write them.
func (fs *filesystem) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h, ok := fs.handles.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	if in.Offset > math.MaxInt64 {
		return fuse.Status(unix.ENXIO)
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	fs.cache.flush(in.NodeId, int64(in.Offset))
	off, err := h.Seek(ctx, int64(in.Offset), int(in.Whence))
	if err != nil {
		return fs.status(err)
	}
	out.Offset = uint64(off)
	return fuse.OK
}

// maxCopy bounds one copy_file_range: the answer has 32 bits for the length.
const maxCopy = 1 << 30

// CopyFileRange implements fuse.RawFileSystem. No data moves.
func (fs *filesystem) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, ok := fs.handles.get(in.FhIn)
	if !ok {
		return 0, fuse.EBADF
	}
	to, ok := fs.handles.get(in.FhOut)
	if !ok {
		return 0, fuse.EBADF
	}
	if in.Flags != 0 || in.OffIn > math.MaxInt64 || in.OffOut > math.MaxInt64-maxCopy {
		return 0, fuse.EINVAL
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	n, err := from.CopyRange(ctx, int64(in.OffIn), to.Handle, int64(in.OffOut), int64(min(in.Len, maxCopy)))
	if err != nil && n == 0 {
		return 0, fs.status(err)
	}
	if to.direct {
		fs.cache.wrote(in.NodeIdOut, int64(in.OffOut), n)
	}
	return uint32(n), fuse.OK
}
