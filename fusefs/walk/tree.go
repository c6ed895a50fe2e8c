package walk

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// Tree is what Put needs of a live tree. *tree.Tree is one.
type Tree interface {
	names
	nodes
	attributes
}

type names interface {
	Lookup(ctx context.Context, parent tree.Ino, name string) (tree.Entry, error)
	ReadDir(ctx context.Context, ino tree.Ino, after uint64, f func(name string, d tree.Dirent, attr func() (tree.Attr, error)) bool) error
	Link(ctx context.Context, ino, parent tree.Ino, name string) (tree.Entry, error)
	Rename(ctx context.Context, oldParent tree.Ino, oldName string, newParent tree.Ino, newName string, flags uint32) error
	Unlink(ctx context.Context, parent tree.Ino, name string) error
	Rmdir(ctx context.Context, parent tree.Ino, name string) error
}

type nodes interface {
	Create(ctx context.Context, who tree.Caller, parent tree.Ino, name string, mode uint32, flags int) (tree.Entry, *tree.Handle, error)
	Tmpfile(ctx context.Context, who tree.Caller, parent tree.Ino, mode uint32, flags int) (tree.Entry, *tree.Handle, error)
	Mknod(ctx context.Context, who tree.Caller, parent tree.Ino, name string, mode, rdev uint32) (tree.Entry, error)
	Mkdir(ctx context.Context, who tree.Caller, parent tree.Ino, name string, mode uint32) (tree.Entry, error)
	Symlink(ctx context.Context, who tree.Caller, parent tree.Ino, name, target string) (tree.Entry, error)
	Readlink(ctx context.Context, ino tree.Ino) (string, error)
}

type attributes interface {
	Getattr(ctx context.Context, ino tree.Ino) (tree.Attr, error)
	Setattr(ctx context.Context, ino tree.Ino, set tree.SetAttr, h *tree.Handle) (tree.Attr, error)
	GetXattr(ctx context.Context, ino tree.Ino, name string) ([]byte, error)
	SetXattr(ctx context.Context, ino tree.Ino, name string, value []byte, flags int) error
	ListXattr(ctx context.Context, ino tree.Ino) ([]string, error)
	RemoveXattr(ctx context.Context, ino tree.Ino, name string) error
}

// Kernel is told what changed past a mount of the same tree, after the change; *fusefs.Server is one. It is
// called from several goroutines.
type Kernel interface {
	EntryChanged(parent tree.Ino, name string)
	InodeChanged(ino tree.Ino)
}

// treeError is an error of the tree that ends the run: the medium is full, the pipe has failed, the index is damaged.
type treeError struct{ err error }

func (e *treeError) Error() string { return e.err.Error() }
func (e *treeError) Unwrap() error { return e.err }

// oneFile are the errors of the tree that concern one name only: what the source has doesn't fit the
// volume's rules, or somebody changed the same names through the mount.
var oneFile = []unix.Errno{
	unix.ENAMETOOLONG, unix.E2BIG, unix.ERANGE, unix.EOPNOTSUPP, unix.EINVAL, unix.EFBIG, unix.EMLINK,
	unix.EEXIST, unix.ENOENT, unix.ENOTDIR, unix.EISDIR, unix.ENOTEMPTY, unix.ESTALE,
}

// onTree marks an error of the tree as one that ends the run, unless it concerns one name only.
func onTree(err error) error {
	if err == nil {
		return nil
	}
	for _, errno := range oneFile {
		if errors.Is(err, errno) {
			return err
		}
	}
	return &treeError{err}
}
