package fusefs

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// GetXAttr implements fuse.RawFileSystem.
func (fs *filesystem) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if private(name) {
		return 0, fuse.ENODATA
	}
	ctx := fs.request(cancel, h)
	defer ctx.end()
	value, err := fs.tree.GetXattr(ctx, ino(h), name)
	if err != nil {
		return 0, fs.status(err)
	}
	return give(dest, value)
}

// ListXAttr implements fuse.RawFileSystem.
func (fs *filesystem) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	ctx := fs.request(cancel, h)
	defer ctx.end()
	names, err := fs.tree.ListXattr(ctx, ino(h))
	if err != nil {
		return 0, fs.status(err)
	}
	var list strings.Builder
	for _, name := range names {
		if !private(name) {
			list.WriteString(name)
			list.WriteByte(0)
		}
	}
	return give(dest, []byte(list.String()))
}

// give copies value if there is room; go-fuse turns the length that comes with ERANGE into an answer where
// only the length was asked for.
func give(dest, value []byte) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

// SetXAttr implements fuse.RawFileSystem.
func (fs *filesystem) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	if private(name) {
		return fuse.Status(unix.EOPNOTSUPP)
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	if err := fs.tree.SetXattr(ctx, ino(&in.InHeader), name, data, int(in.Flags)); err != nil {
		return fs.status(err)
	}
	if in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID != 0 {
		return fs.clearSetGid(ctx, ino(&in.InHeader))
	}
	return fuse.OK
}

// RemoveXAttr implements fuse.RawFileSystem.
func (fs *filesystem) RemoveXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if private(name) {
		return fuse.ENODATA
	}
	ctx := fs.request(cancel, h)
	defer ctx.end()
	return fs.status(fs.tree.RemoveXattr(ctx, ino(h), name))
}
