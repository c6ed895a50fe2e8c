package fusefs

import (
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// trusted is the namespace that only administrators see.
const trusted = "trusted."

// checkXattr says what is wrong with the name of an extended attribute: the kernel lets any through. The
// program's own ("coffer.") are in no namespace that applications see.
func checkXattr(name string) fuse.Status {
	if name == aclAccess || name == aclDefault {
		return fuse.OK
	}
	for _, space := range []string{"user.", trusted, "security."} {
		if rest, ok := strings.CutPrefix(name, space); ok {
			if rest == "" {
				return fuse.EINVAL
			}
			return fuse.OK
		}
	}
	return fuse.Status(unix.EOPNOTSUPP)
}

// Names of the attributes that hold POSIX ACLs.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// administrator says whether who makes a request has CAP_SYS_ADMIN. The kernel checks that where values are
// read or set, and leaves lists of names to the file system.
func administrator(h *fuse.InHeader) bool {
	if h.Uid != 0 {
		return false
	}
	effective, err := strconv.ParseUint(procStatus(h.Pid, "CapEff"), 16, 64)
	return err == nil && effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// GetXAttr implements fuse.RawFileSystem.
func (fs *filesystem) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if s := checkXattr(name); !s.Ok() {
		return 0, s
	}
	ctx := fs.request(cancel, h)
	defer ctx.end()
	value, err := fs.tree.GetXattr(ctx, ino(h), name)
	if err != nil {
		return 0, fs.stale(err)
	}
	return give(dest, value)
}

// ListXAttr implements fuse.RawFileSystem.
func (fs *filesystem) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	ctx := fs.request(cancel, h)
	defer ctx.end()
	names, err := fs.tree.ListXattr(ctx, ino(h))
	if err != nil {
		return 0, fs.stale(err)
	}
	var list strings.Builder
	for _, name := range names {
		listXattr(&list, h, name)
	}
	return give(dest, []byte(list.String()))
}

// listXattr adds a name to a list, if it is one for whoever asks.
func listXattr(list *strings.Builder, h *fuse.InHeader, name string) {
	if !checkXattr(name).Ok() || strings.HasPrefix(name, trusted) && !administrator(h) {
		return
	}
	list.WriteString(name)
	list.WriteByte(0)
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
	if s := checkXattr(name); !s.Ok() {
		return s
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	if err := fs.tree.SetXattr(ctx, ino(&in.InHeader), name, data, int(in.Flags)); err != nil {
		return fs.stale(err)
	}
	if in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID != 0 {
		return fs.clearSetGid(ctx, ino(&in.InHeader))
	}
	return fuse.OK
}

// RemoveXAttr implements fuse.RawFileSystem.
func (fs *filesystem) RemoveXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if s := checkXattr(name); !s.Ok() {
		return s
	}
	ctx := fs.request(cancel, h)
	defer ctx.end()
	return fs.stale(fs.tree.RemoveXattr(ctx, ino(h), name))
}
