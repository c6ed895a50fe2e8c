package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// Lookup implements fuse.RawFileSystem. A name that isn't there is told as inode 0, which the kernel remembers.
func (fs *filesystem) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if s := checkName(name); !s.Ok() {
		return s
	}
	ctx := fs.request(cancel, h)
	defer ctx.end()
	e, err := fs.tree.Lookup(ctx, ino(h), name)
	if err != nil {
		s := fs.status(err)
		if s == fuse.ENOENT {
			out.SetEntryTimeout(timeToLive)
			return fuse.OK
		}
		return s
	}
	fillEntry(out, e)
	return fuse.OK
}

// Forget implements fuse.RawFileSystem.
func (fs *filesystem) Forget(nodeID, _ uint64) { fs.tree.Forget(tree.Ino(nodeID)) }

// GetAttr implements fuse.RawFileSystem.
func (fs *filesystem) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	a, err := fs.tree.Getattr(ctx, ino(&in.InHeader))
	if err != nil {
		return fs.stale(err)
	}
	out.SetTimeout(timeToLive)
	fillAttr(&out.Attr, ino(&in.InHeader), &a)
	return fuse.OK
}

// Statx implements fuse.RawFileSystem. The kernel asks it only when somebody wants the time of birth.
func (fs *filesystem) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	a, err := fs.tree.Getattr(ctx, ino(&in.InHeader))
	if err != nil {
		return fs.stale(err)
	}
	out.SetTimeout(timeToLive)
	fillStatx(&out.Statx, in.NodeId, &a)
	return fuse.OK
}

func fillStatx(out *fuse.Statx, node uint64, a *tree.Attr) {
	*out = fuse.Statx{
		Mask:      unix.STATX_BASIC_STATS | unix.STATX_BTIME,
		Blksize:   blockSize,
		Nlink:     a.Nlink,
		Uid:       a.Uid,
		Gid:       a.Gid,
		Mode:      uint16(a.Mode),
		Ino:       node,
		Size:      a.Size,
		Blocks:    a.Blocks,
		Atime:     statxTime(a.Atime),
		Btime:     statxTime(a.Btime),
		Ctime:     statxTime(a.Ctime),
		Mtime:     statxTime(a.Mtime),
		RdevMajor: unix.Major(uint64(a.Rdev)),
		RdevMinor: unix.Minor(uint64(a.Rdev)),
	}
}

func statxTime(t tree.Time) fuse.SxTime { return fuse.SxTime{Sec: uint64(t.Sec), Nsec: t.Nsec} }

// setBits is which bit of the kernel's means which of the tree's.
var setBits = []struct {
	fuse uint32
	tree tree.Valid
}{
	{fuse.FATTR_MODE, tree.SetMode},
	{fuse.FATTR_UID, tree.SetUid},
	{fuse.FATTR_GID, tree.SetGid},
	{fuse.FATTR_SIZE, tree.SetSize},
	{fuse.FATTR_ATIME, tree.SetAtime},
	{fuse.FATTR_MTIME, tree.SetMtime},
	{fuse.FATTR_CTIME, tree.SetCtime},
	{fuse.FATTR_KILL_SUIDGID, tree.KillSuidgid},
}

// SetAttr implements fuse.RawFileSystem.
func (fs *filesystem) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	set := tree.SetAttr{
		Mode:  in.Mode &^ unix.S_IFMT,
		Uid:   in.Uid,
		Gid:   in.Gid,
		Size:  in.Size,
		Atime: tree.Time{Sec: int64(in.Atime), Nsec: in.Atimensec},
		Mtime: tree.Time{Sec: int64(in.Mtime), Nsec: in.Mtimensec},
		Ctime: tree.Time{Sec: int64(in.Ctime), Nsec: in.Ctimensec},
	}
	for _, b := range setBits {
		if in.Valid&b.fuse != 0 {
			set.Valid |= b.tree
		}
	}
	// A chown that changes neither owner still takes the set-id bits away. It is the only request without a
	// field, but for the ctime that comes along where the kernel keeps it.
	if in.Valid&^(fuse.FATTR_FH|fuse.FATTR_LOCKOWNER|fuse.FATTR_CTIME) == 0 {
		set.Valid |= tree.KillSuidgid
	}
	// The kernel sends both bits where the time is to be that of the server's clock. Where it keeps the times
	// itself, what it takes for now is the ctime.
	if in.Valid&fuse.FATTR_ATIME_NOW != 0 {
		if in.Valid&fuse.FATTR_CTIME != 0 {
			set.Atime = set.Ctime
		} else {
			set.Valid = set.Valid&^tree.SetAtime | tree.SetAtimeNow
		}
	}
	if in.Valid&fuse.FATTR_MTIME_NOW != 0 {
		set.Valid = set.Valid&^tree.SetMtime | tree.SetMtimeNow
	}
	var file *tree.Handle
	if fh, ok := in.GetFh(); ok {
		if open, ok := fs.handles.get(fh); ok {
			file = open.Handle
		}
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	a, err := fs.tree.Setattr(ctx, ino(&in.InHeader), set, file)
	if err != nil {
		return fs.stale(err)
	}
	out.SetTimeout(timeToLive)
	fillAttr(&out.Attr, ino(&in.InHeader), &a)
	return fuse.OK
}

// Readlink implements fuse.RawFileSystem.
func (fs *filesystem) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	ctx := fs.request(cancel, h)
	defer ctx.end()
	target, err := fs.tree.Readlink(ctx, ino(h))
	return []byte(target), fs.stale(err)
}

// StatFs implements fuse.RawFileSystem.
func (fs *filesystem) StatFs(cancel <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	ctx := fs.request(cancel, h)
	defer ctx.end()
	st, err := fs.tree.Statfs(ctx)
	if err != nil {
		return fs.status(err)
	}
	fillStatfs(out, tree.Space{Free: st.Free, Total: st.Total}, st.Inodes)
	return fuse.OK
}

// fragment is the unit of what StatFs says.
const fragment = 4096

func fillStatfs(out *fuse.StatfsOut, space tree.Space, inodes uint64) {
	// Inode numbers don't run out; programs that look for free ones want to see some.
	const freeInodes = 1 << 40
	*out = fuse.StatfsOut{
		Blocks:  space.Total / fragment,
		Bfree:   space.Free / fragment,
		Bavail:  space.Free / fragment,
		Files:   inodes + freeInodes,
		Ffree:   freeInodes,
		Bsize:   fragment,
		Frsize:  fragment,
		NameLen: tree.NameMax,
	}
}

// Ioctl implements fuse.RawFileSystem: a file is no terminal, which is what isatty(3) asks.
func (fs *filesystem) Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status {
	return fuse.Status(unix.ENOTTY)
}
