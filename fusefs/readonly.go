package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"coffer/fusefs/past"
)

// What would change an archive is EROFS. To find, make, move and remove the name .snapshots itself is for the
// live tree to refuse.

// SetAttr implements fuse.RawFileSystem.
func (s *withSnapshots) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if past.IsNode(in.NodeId) {
		return fuse.EROFS
	}
	return s.filesystem.SetAttr(cancel, in, out)
}

// Mknod implements fuse.RawFileSystem.
func (s *withSnapshots) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	if past.IsNode(in.NodeId) {
		return fuse.EROFS
	}
	return s.filesystem.Mknod(cancel, in, name, out)
}

// Mkdir implements fuse.RawFileSystem.
func (s *withSnapshots) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if past.IsNode(in.NodeId) {
		return fuse.EROFS
	}
	return s.filesystem.Mkdir(cancel, in, name, out)
}

// Unlink implements fuse.RawFileSystem.
func (s *withSnapshots) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if past.IsNode(h.NodeId) {
		return fuse.EROFS
	}
	return s.filesystem.Unlink(cancel, h, name)
}

// Rmdir implements fuse.RawFileSystem.
func (s *withSnapshots) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if past.IsNode(h.NodeId) {
		return fuse.EROFS
	}
	return s.filesystem.Rmdir(cancel, h, name)
}

// Rename implements fuse.RawFileSystem.
func (s *withSnapshots) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	if past.IsNode(in.NodeId) || past.IsNode(in.Newdir) {
		return fuse.EROFS
	}
	return s.filesystem.Rename(cancel, in, oldName, newName)
}

// Link implements fuse.RawFileSystem. What is in an archive gets no name elsewhere, as if it were on another
// file system; programs that link then copy.
func (s *withSnapshots) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	switch {
	case past.IsNode(in.NodeId):
		return fuse.EROFS
	case past.IsNode(in.Oldnodeid):
		return fuse.EXDEV
	}
	return s.filesystem.Link(cancel, in, name, out)
}

// Symlink implements fuse.RawFileSystem.
func (s *withSnapshots) Symlink(cancel <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	if past.IsNode(h.NodeId) {
		return fuse.EROFS
	}
	return s.filesystem.Symlink(cancel, h, target, name, out)
}

// SetXAttr implements fuse.RawFileSystem.
func (s *withSnapshots) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	if past.IsNode(in.NodeId) {
		return fuse.EROFS
	}
	return s.filesystem.SetXAttr(cancel, in, name, data)
}

// RemoveXAttr implements fuse.RawFileSystem.
func (s *withSnapshots) RemoveXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if past.IsNode(h.NodeId) {
		return fuse.EROFS
	}
	return s.filesystem.RemoveXAttr(cancel, h, name)
}

// Create implements fuse.RawFileSystem.
func (s *withSnapshots) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if past.IsNode(in.NodeId) {
		return fuse.EROFS
	}
	return s.filesystem.Create(cancel, in, name, out)
}

// Tmpfile implements fuse.RawFileSystem.
func (s *withSnapshots) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	if past.IsNode(in.NodeId) {
		return fuse.EROFS
	}
	return s.filesystem.Tmpfile(cancel, in, out)
}

// Fsync implements fuse.RawFileSystem: an archive is stable.
func (s *withSnapshots) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if past.IsNode(in.NodeId) {
		return fuse.OK
	}
	return s.filesystem.Fsync(cancel, in)
}

// FsyncDir implements fuse.RawFileSystem.
func (s *withSnapshots) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if past.IsNode(in.NodeId) {
		return fuse.OK
	}
	return s.filesystem.FsyncDir(cancel, in)
}

// Fallocate implements fuse.RawFileSystem. No handle of an archive's file is open for writing.
func (s *withSnapshots) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if past.IsNode(in.NodeId) {
		return fuse.Status(unix.EBADF)
	}
	return s.filesystem.Fallocate(cancel, in)
}

// CopyFileRange implements fuse.RawFileSystem. Out of an archive the kernel copies itself.
func (s *withSnapshots) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	if past.IsNode(in.NodeId) || past.IsNode(in.NodeIdOut) {
		return 0, fuse.EXDEV
	}
	return s.filesystem.CopyFileRange(cancel, in)
}
