package tree

import (
	"context"

	"golang.org/x/sys/unix"
)

// Tree is a live file tree. All methods may be called concurrently. Errors that
// POSIX names are (or wrap) a unix.Errno; others wrap what the collector, the
// groups or the index said. A name that is too long is ENAMETOOLONG, an inode
// number that is not there ENOENT or ESTALE.
type Tree struct{}

// New makes the tree above an index, and removes what a former writer left
// unlinked but open. The tree has goroutines of its own until Close.
func New(ctx context.Context, cfg Config) (*Tree, error) { return nil, unix.ENOSYS }

// Lookup finds an entry of a directory; "." and ".." work.
func (t *Tree) Lookup(ctx context.Context, parent Ino, name string) (Entry, error) {
	return Entry{}, unix.ENOSYS
}

// Getattr returns the attributes of an inode.
func (t *Tree) Getattr(ctx context.Context, ino Ino) (Attr, error) { return Attr{}, unix.ENOSYS }

// Setattr changes attributes and returns the new ones. With a handle, size may be
// changed only if the handle is open for writing (EBADF).
func (t *Tree) Setattr(ctx context.Context, ino Ino, set SetAttr, h *Handle) (Attr, error) {
	return Attr{}, unix.ENOSYS
}

// Create makes a regular file and opens it. If there is one already it is opened
// as it is, or EEXIST with O_EXCL.
func (t *Tree) Create(ctx context.Context, who Caller, parent Ino, name string, mode uint32, flags int) (Entry, *Handle, error) {
	return Entry{}, nil, unix.ENOSYS
}

// Tmpfile makes a regular file without a name and opens it (O_TMPFILE).
func (t *Tree) Tmpfile(ctx context.Context, who Caller, parent Ino, mode uint32, flags int) (Entry, *Handle, error) {
	return Entry{}, nil, unix.ENOSYS
}

// Mknod makes a regular file, FIFO, socket or device; mode holds the type.
func (t *Tree) Mknod(ctx context.Context, who Caller, parent Ino, name string, mode, rdev uint32) (Entry, error) {
	return Entry{}, unix.ENOSYS
}

// Mkdir makes a directory.
func (t *Tree) Mkdir(ctx context.Context, who Caller, parent Ino, name string, mode uint32) (Entry, error) {
	return Entry{}, unix.ENOSYS
}

// Symlink makes a symbolic link to target.
func (t *Tree) Symlink(ctx context.Context, who Caller, parent Ino, name, target string) (Entry, error) {
	return Entry{}, unix.ENOSYS
}

// Readlink returns the target of a symbolic link.
func (t *Tree) Readlink(ctx context.Context, ino Ino) (string, error) { return "", unix.ENOSYS }

// Link makes another name of an inode that is not a directory.
func (t *Tree) Link(ctx context.Context, ino, parent Ino, name string) (Entry, error) {
	return Entry{}, unix.ENOSYS
}

// Unlink removes a name of an inode that is not a directory.
func (t *Tree) Unlink(ctx context.Context, parent Ino, name string) error { return unix.ENOSYS }

// Rmdir removes an empty directory.
func (t *Tree) Rmdir(ctx context.Context, parent Ino, name string) error { return unix.ENOSYS }

// Rename moves an entry. Flags are unix.RENAME_NOREPLACE and
// unix.RENAME_EXCHANGE; others are EINVAL.
func (t *Tree) Rename(ctx context.Context, oldParent Ino, oldName string, newParent Ino, newName string, flags uint32) error {
	return unix.ENOSYS
}

// Open opens a regular file; flags are those of open(2). O_TRUNC truncates.
func (t *Tree) Open(ctx context.Context, ino Ino, flags int) (*Handle, error) {
	return nil, unix.ENOSYS
}

// ReadDir gives the entries of a directory after the one whose cookie is after (0:
// from the first), without "." and "..", until f returns false. Cookies are at
// least 3. What is there all the time is given exactly once, whatever comes and
// goes meanwhile. attr gets the attributes of the entry and may be called only
// inside f; f must not call the tree otherwise, nor wait.
func (t *Tree) ReadDir(ctx context.Context, ino Ino, after uint64, f func(name string, d Dirent, attr func() (Attr, error)) bool) error {
	return unix.ENOSYS
}

// GetXattr returns the value of an extended attribute, or ENODATA. The value is
// not to be changed.
func (t *Tree) GetXattr(ctx context.Context, ino Ino, name string) ([]byte, error) {
	return nil, unix.ENOSYS
}

// SetXattr sets an extended attribute; flags are unix.XATTR_CREATE and
// XATTR_REPLACE. The value is copied. POSIX ACLs change the mode as they should.
func (t *Tree) SetXattr(ctx context.Context, ino Ino, name string, value []byte, flags int) error {
	return unix.ENOSYS
}

// ListXattr returns the names of the extended attributes, ascending.
func (t *Tree) ListXattr(ctx context.Context, ino Ino) ([]string, error) { return nil, unix.ENOSYS }

// RemoveXattr removes an extended attribute, or ENODATA.
func (t *Tree) RemoveXattr(ctx context.Context, ino Ino, name string) error { return unix.ENOSYS }

// Statfs tells how much room there is and how much is used.
func (t *Tree) Statfs(ctx context.Context) (Stat, error) { return Stat{}, unix.ENOSYS }

// Sync returns when everything that was done before it was called is stable.
// It is also what fsync of a file or directory is. Concurrent calls share a cut.
func (t *Tree) Sync(ctx context.Context) error { return unix.ENOSYS }

// Snapshot seals an archive of the tree as it is at one instant of the call,
// and returns when that is stable.
func (t *Tree) Snapshot(ctx context.Context, label string) error { return unix.ENOSYS }

// Close takes a last cut, ends the session, waits until all is stable and in the
// index, and stops the tree's goroutines. Nothing else may be called during it or
// afterwards.
func (t *Tree) Close(ctx context.Context) error { return nil }

// Failed says why changes are refused with EIO, or nil.
func (t *Tree) Failed() error { return nil }

// Status tells the state of the tree.
func (t *Tree) Status() Status { return Status{} }

// Handle is an open regular file.
type Handle struct{}

// Ino is the number of the open inode.
func (h *Handle) Ino() Ino { return 0 }

// Flags are the flags that the handle was opened with.
func (h *Handle) Flags() int { return 0 }

// Read fills p from off. It returns less than len(p) only at the end of the file
// (then without an error) and 0 beyond it.
func (h *Handle) Read(ctx context.Context, p []byte, off int64) (int, error) { return 0, unix.ENOSYS }

// Write writes p at off, or at the end if the handle was opened with O_APPEND. It
// returns less than len(p) only with an error. p is not kept. killPriv clears
// set-user-id, and set-group-id of group executables.
func (h *Handle) Write(ctx context.Context, p []byte, off int64, killPriv bool) (int, error) {
	return 0, unix.ENOSYS
}

// Flush reports, at a close, whether something written through the inode was lost.
func (h *Handle) Flush(ctx context.Context) error { return unix.ENOSYS }

// Release closes the handle. It is called once. An unlinked inode goes with its
// last handle.
func (h *Handle) Release() {}

// Fallocate takes the flags of fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE with
// KEEP_SIZE, ZERO_RANGE; others are EOPNOTSUPP. No space is set aside.
func (h *Handle) Fallocate(ctx context.Context, mode uint32, off, n int64) error { return unix.ENOSYS }

// Seek finds the next data (unix.SEEK_DATA) or hole (unix.SEEK_HOLE) from off.
// ENXIO beyond the end, or when no data follows.
func (h *Handle) Seek(ctx context.Context, off int64, whence int) (int64, error) {
	return 0, unix.ENOSYS
}

// CopyRange makes n bytes of dst from dstOff the same as those of h from off,
// without moving data. It may do less, and says how much.
func (h *Handle) CopyRange(ctx context.Context, off int64, dst *Handle, dstOff, n int64) (int64, error) {
	return 0, unix.ENOSYS
}
