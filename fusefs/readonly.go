package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What would change a view is EROFS. Where the whole mount is read-only the kernel says so itself, until somebody
// remounts it.

// SetAttr implements fuse.RawFileSystem.
func (s *shown) SetAttr(_ <-chan struct{}, _ *fuse.SetAttrIn, _ *fuse.AttrOut) fuse.Status {
	return fuse.EROFS
}

// Mknod implements fuse.RawFileSystem.
func (s *shown) Mknod(_ <-chan struct{}, _ *fuse.MknodIn, _ string, _ *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

// Mkdir implements fuse.RawFileSystem.
func (s *shown) Mkdir(_ <-chan struct{}, _ *fuse.MkdirIn, _ string, _ *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

// Unlink implements fuse.RawFileSystem.
func (s *shown) Unlink(_ <-chan struct{}, _ *fuse.InHeader, _ string) fuse.Status {
	return fuse.EROFS
}

// Rmdir implements fuse.RawFileSystem.
func (s *shown) Rmdir(_ <-chan struct{}, _ *fuse.InHeader, _ string) fuse.Status {
	return fuse.EROFS
}

// Rename implements fuse.RawFileSystem.
func (s *shown) Rename(_ <-chan struct{}, _ *fuse.RenameIn, _, _ string) fuse.Status {
	return fuse.EROFS
}

// Link implements fuse.RawFileSystem.
func (s *shown) Link(_ <-chan struct{}, _ *fuse.LinkIn, _ string, _ *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

// Symlink implements fuse.RawFileSystem.
func (s *shown) Symlink(_ <-chan struct{}, _ *fuse.InHeader, _, _ string, _ *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

// SetXAttr implements fuse.RawFileSystem.
func (s *shown) SetXAttr(_ <-chan struct{}, _ *fuse.SetXAttrIn, _ string, _ []byte) fuse.Status {
	return fuse.EROFS
}

// RemoveXAttr implements fuse.RawFileSystem.
func (s *shown) RemoveXAttr(_ <-chan struct{}, _ *fuse.InHeader, _ string) fuse.Status {
	return fuse.EROFS
}

// Create implements fuse.RawFileSystem.
func (s *shown) Create(_ <-chan struct{}, _ *fuse.CreateIn, _ string, _ *fuse.CreateOut) fuse.Status {
	return fuse.EROFS
}

// Tmpfile implements fuse.RawFileSystem.
func (s *shown) Tmpfile(_ <-chan struct{}, _ *fuse.CreateIn, _ *fuse.CreateOut) fuse.Status {
	return fuse.EROFS
}

// Write implements fuse.RawFileSystem. No handle is open for writing.
func (s *shown) Write(_ <-chan struct{}, _ *fuse.WriteIn, _ []byte) (uint32, fuse.Status) {
	return 0, fuse.Status(unix.EBADF)
}

// Fallocate implements fuse.RawFileSystem.
func (s *shown) Fallocate(_ <-chan struct{}, _ *fuse.FallocateIn) fuse.Status {
	return fuse.Status(unix.EBADF)
}

// CopyFileRange implements fuse.RawFileSystem. The kernel copies itself.
func (s *shown) CopyFileRange(_ <-chan struct{}, _ *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	return 0, fuse.Status(unix.EXDEV)
}

// Fsync implements fuse.RawFileSystem: what is shown is stable.
func (s *shown) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

// FsyncDir implements fuse.RawFileSystem.
func (s *shown) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }
