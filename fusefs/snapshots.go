package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"coffer/fusefs/past"
	"coffer/fusefs/tree"
)

// live is what answers for the tree in whose root .snapshots is.
type live = fuse.RawFileSystem

// withSnapshots passes on what is about an archive below .snapshots to the one that answers for those, and leaves the
// rest to the tree. Numbers of nodes tell which is which.
type withSnapshots struct {
	live
	past *shown
}

// of gives whoever answers for a file.
func (s *withSnapshots) of(h *fuse.InHeader) fuse.RawFileSystem {
	if past.IsNode(h.NodeId) {
		return s.past
	}
	return s.live
}

// Lookup implements fuse.RawFileSystem. No listing tells of .snapshots.
func (s *withSnapshots) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	switch {
	case h.NodeId == fuse.FUSE_ROOT_ID && name == tree.Snapshots:
		root := fuse.InHeader{NodeId: uint64(past.Root), Caller: h.Caller, Unique: h.Unique}
		status := s.past.Lookup(cancel, &root, ".", out)
		out.SetEntryTimeout(timeToLive)
		return status
	case h.NodeId == uint64(past.Root) && name == "..":
		above := fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID, Caller: h.Caller, Unique: h.Unique}
		return s.live.Lookup(cancel, &above, ".", out)
	}
	return s.of(h).Lookup(cancel, h, name, out)
}

// Forget implements fuse.RawFileSystem.
func (s *withSnapshots) Forget(nodeID, n uint64) {
	if !past.IsNode(nodeID) {
		s.live.Forget(nodeID, n)
	}
}

// Rename implements fuse.RawFileSystem.
func (s *withSnapshots) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	if past.IsNode(in.Newdir) {
		return fuse.EROFS
	}
	return s.of(&in.InHeader).Rename(cancel, in, oldName, newName)
}

// Link implements fuse.RawFileSystem. What is in an archive gets no name elsewhere, as if it were on another
// file system; programs that link then copy.
func (s *withSnapshots) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if past.IsNode(in.Oldnodeid) && !past.IsNode(in.NodeId) {
		return fuse.EXDEV
	}
	return s.of(&in.InHeader).Link(cancel, in, name, out)
}

// CopyFileRange implements fuse.RawFileSystem. Out of an archive the kernel copies itself.
func (s *withSnapshots) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	if past.IsNode(in.NodeIdOut) {
		return 0, fuse.EXDEV
	}
	return s.of(&in.InHeader).CopyFileRange(cancel, in)
}

// GetAttr implements fuse.RawFileSystem.
func (s *withSnapshots) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.of(&in.InHeader).GetAttr(cancel, in, out)
}

// Statx implements fuse.RawFileSystem.
func (s *withSnapshots) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	return s.of(&in.InHeader).Statx(cancel, in, out)
}

// SetAttr implements fuse.RawFileSystem.
func (s *withSnapshots) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.of(&in.InHeader).SetAttr(cancel, in, out)
}

// Readlink implements fuse.RawFileSystem.
func (s *withSnapshots) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	return s.of(h).Readlink(cancel, h)
}

// Mknod implements fuse.RawFileSystem.
func (s *withSnapshots) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.of(&in.InHeader).Mknod(cancel, in, name, out)
}

// Mkdir implements fuse.RawFileSystem.
func (s *withSnapshots) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.of(&in.InHeader).Mkdir(cancel, in, name, out)
}

// Unlink implements fuse.RawFileSystem.
func (s *withSnapshots) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.of(h).Unlink(cancel, h, name)
}

// Rmdir implements fuse.RawFileSystem.
func (s *withSnapshots) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.of(h).Rmdir(cancel, h, name)
}

// Symlink implements fuse.RawFileSystem.
func (s *withSnapshots) Symlink(cancel <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return s.of(h).Symlink(cancel, h, target, name, out)
}

// GetXAttr implements fuse.RawFileSystem.
func (s *withSnapshots) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	return s.of(h).GetXAttr(cancel, h, name, dest)
}

// ListXAttr implements fuse.RawFileSystem.
func (s *withSnapshots) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	return s.of(h).ListXAttr(cancel, h, dest)
}

// SetXAttr implements fuse.RawFileSystem.
func (s *withSnapshots) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	return s.of(&in.InHeader).SetXAttr(cancel, in, name, data)
}

// RemoveXAttr implements fuse.RawFileSystem.
func (s *withSnapshots) RemoveXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.of(h).RemoveXAttr(cancel, h, name)
}

// Create implements fuse.RawFileSystem.
func (s *withSnapshots) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return s.of(&in.InHeader).Create(cancel, in, name, out)
}

// Tmpfile implements fuse.RawFileSystem.
func (s *withSnapshots) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	return s.of(&in.InHeader).Tmpfile(cancel, in, out)
}

// Open implements fuse.RawFileSystem.
func (s *withSnapshots) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return s.of(&in.InHeader).Open(cancel, in, out)
}

// Read implements fuse.RawFileSystem.
func (s *withSnapshots) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	return s.of(&in.InHeader).Read(cancel, in, buf)
}

// Lseek implements fuse.RawFileSystem.
func (s *withSnapshots) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	return s.of(&in.InHeader).Lseek(cancel, in, out)
}

// Fallocate implements fuse.RawFileSystem.
func (s *withSnapshots) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return s.of(&in.InHeader).Fallocate(cancel, in)
}

// Flush implements fuse.RawFileSystem.
func (s *withSnapshots) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	return s.of(&in.InHeader).Flush(cancel, in)
}

// Fsync implements fuse.RawFileSystem.
func (s *withSnapshots) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return s.of(&in.InHeader).Fsync(cancel, in)
}

// OpenDir implements fuse.RawFileSystem.
func (s *withSnapshots) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return s.of(&in.InHeader).OpenDir(cancel, in, out)
}

// ReadDir implements fuse.RawFileSystem.
func (s *withSnapshots) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.of(&in.InHeader).ReadDir(cancel, in, out)
}

// ReadDirPlus implements fuse.RawFileSystem.
func (s *withSnapshots) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.of(&in.InHeader).ReadDirPlus(cancel, in, out)
}

// FsyncDir implements fuse.RawFileSystem.
func (s *withSnapshots) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return s.of(&in.InHeader).FsyncDir(cancel, in)
}

// Release implements fuse.RawFileSystem.
func (s *withSnapshots) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	s.of(&in.InHeader).Release(cancel, in)
}

// ReleaseDir implements fuse.RawFileSystem.
func (s *withSnapshots) ReleaseDir(in *fuse.ReleaseIn) { s.of(&in.InHeader).ReleaseDir(in) }
