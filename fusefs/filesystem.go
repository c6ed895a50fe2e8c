package fusefs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// timeToLive is how long the kernel may believe attributes, names and the absence of names: nobody else
// changes the tree, and whoever does past the kernel says so (Server.EntryChanged, InodeChanged).
const timeToLive = time.Hour

// blockSize is the st_blksize of every inode: cp and cat then write this much at a time.
const blockSize = 1 << 20

// filesystem answers the requests of one mount.
type filesystem struct {
	fuse.RawFileSystem // what is not answered here: ENOSYS, so that the kernel doesn't ask again

	*answers
	tree    *tree.Tree
	handles handles[openFile]
	streams handles[*stream]
	cache   *cache
}

// String implements fuse.RawFileSystem.
func (fs *filesystem) String() string { return fsType }

// caller is the identity that owns what a request creates. The umask comes along, for the kernel leaves
// it to the server (DONT_MASK): with a default ACL it doesn't apply.
func caller(h *fuse.InHeader, umask uint32) tree.Caller {
	return tree.Caller{Uid: h.Uid, Gid: h.Gid, Pid: h.Pid, Umask: umask}
}

func ino(h *fuse.InHeader) tree.Ino { return tree.Ino(h.NodeId) }

// checkName refuses what the kernel lets through. It limits names to PATH_MAX only.
func checkName(name string) fuse.Status {
	if len(name) > tree.NameMax {
		return fuse.Status(unix.ENAMETOOLONG)
	}
	return fuse.OK
}

// fillEntry tells the kernel of an inode that a name leads to.
func fillEntry(out *fuse.EntryOut, e tree.Entry) {
	out.NodeId = uint64(e.Ino)
	out.SetEntryTimeout(timeToLive)
	out.SetAttrTimeout(timeToLive)
	fillAttr(&out.Attr, e.Ino, &e.Attr)
}

func fillAttr(out *fuse.Attr, ino tree.Ino, a *tree.Attr) {
	*out = fuse.Attr{
		Ino:       uint64(ino),
		Size:      a.Size,
		Blocks:    a.Blocks,
		Atime:     uint64(a.Atime.Sec),
		Atimensec: a.Atime.Nsec,
		Mtime:     uint64(a.Mtime.Sec),
		Mtimensec: a.Mtime.Nsec,
		Ctime:     uint64(a.Ctime.Sec),
		Ctimensec: a.Ctime.Nsec,
		Mode:      a.Mode,
		Nlink:     a.Nlink,
		Owner:     fuse.Owner{Uid: a.Uid, Gid: a.Gid},
		Rdev:      a.Rdev,
		Blksize:   blockSize,
	}
}
