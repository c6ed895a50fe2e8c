package past

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// Front shows one State by the inode numbers of the volume itself, as a live tree does.
// Methods are safe for concurrent use.
type Front struct {
	s       *State
	lasting bool
}

// NewFront shows a state. Lasting says that it never changes: it is that of an archive.
func NewFront(s *State, lasting bool) *Front { return &Front{s, lasting} }

// Root is the number of the root directory.
func (v *Front) Root() Node { return Node(chunkfmt.RootIno) }

// Get gives what a number stands for. A volume that nothing was ever stored in has an
// empty root directory.
func (v *Front) Get(n Node) (Found, error) {
	i, err := v.s.Inode(chunkfmt.Ino(n))
	if err == unix.ENOENT && n == v.Root() {
		i.Mode, i.Nlink, i.Parent = unix.S_IFDIR|0o755, 2, chunkfmt.RootIno
		return Found{Node: n, Inode: i, Parent: n}, nil
	}
	return v.found(Entry{chunkfmt.Ino(n), i}), err
}

func (v *Front) found(e Entry) Found {
	return Found{Node: Node(e.Ino), Inode: e.Inode, Parent: Node(e.Inode.Parent), Lasting: v.lasting}
}

// Lookup finds an entry of a directory; "." and ".." work.
func (v *Front) Lookup(parent Node, name string) (Found, error) {
	if parent == v.Root() && (name == "." || name == "..") {
		return v.Get(parent)
	}
	e, err := v.s.Lookup(chunkfmt.Ino(parent), name)
	return v.found(e), err
}

// ReadDir gives the entries of a directory whose cookies are beyond after, without
// the dots, until f returns false.
func (v *Front) ReadDir(ctx context.Context, n Node, after uint64, f func(name string, d Dirent) bool) error {
	return v.s.ReadDir(ctx, chunkfmt.Ino(n), after, func(name string, d chunkfmt.Dirent) bool {
		return f(name, Dirent{Node(d.Ino), d.Type, d.Cookie})
	})
}

// Xattr gives one extended attribute, or ENODATA.
func (v *Front) Xattr(n Node, name string) ([]byte, error) { return v.s.Xattr(chunkfmt.Ino(n), name) }

// Xattrs gives all extended attributes, ascending by name.
func (v *Front) Xattrs(n Node) ([]Xattr, error) { return v.s.Xattrs(chunkfmt.Ino(n)) }

// Lasting says whether a file or directory stays as it is.
func (v *Front) Lasting(Node) bool { return v.lasting }

// Open opens a regular file, and gives what it is now.
func (v *Front) Open(n Node) (OpenFile, Found, error) {
	f, i, err := v.s.open(chunkfmt.Ino(n))
	if err != nil {
		return nil, Found{}, err
	}
	is := v.found(Entry{chunkfmt.Ino(n), i})
	if v.lasting {
		return f, is, nil
	}
	c := &changing{s: v.s, ino: chunkfmt.Ino(n)}
	c.now.Store(&version{f, i.Ctime})
	return c, is, nil
}

// OpenFile is an open regular file.
type OpenFile interface {
	// Read fills p from off. It returns less than len(p) only at the end of the file,
	// without an error. A group that is damaged is EIO.
	Read(ctx context.Context, p []byte, off int64) (int, error)
	// Seek finds the next data (unix.SEEK_DATA) or hole (unix.SEEK_HOLE) from off. ENXIO
	// beyond the end, or when no data follows.
	Seek(off int64, whence int) (int64, error)
}

// changing is a file of a state that changes. Each read is of one version, the one that
// is there when it ends; ESTALE when the file has been removed.
type changing struct {
	s   *State
	ino chunkfmt.Ino
	now atomic.Pointer[version]
}

// version is a file as it was at one ctime: whatever is changed about a file changes that, unless the kernel owns
// times (a mount with writeback), whose clock has steps.
type version struct {
	*File
	at chunkfmt.Time
}

// Read implements OpenFile.
func (c *changing) Read(ctx context.Context, p []byte, off int64) (n int, err error) {
	err = c.stable(func(f *File) (err error) {
		n, err = f.Read(ctx, p, off)
		return err
	})
	return n, err
}

// Seek implements OpenFile.
func (c *changing) Seek(off int64, whence int) (at int64, err error) {
	err = c.stable(func(f *File) (err error) {
		at, err = f.Seek(off, whence)
		return err
	})
	return at, err
}

// stable calls do until the file has not changed meanwhile.
func (c *changing) stable(do func(*File) error) error {
	for {
		v := c.now.Load()
		err := do(v.File)
		f, i, opened := c.s.open(c.ino)
		if errors.Is(opened, unix.ENOENT) {
			return fmt.Errorf("inode %d was removed: %w", c.ino, unix.ESTALE)
		}
		if opened != nil || i.Ctime == v.at && f.size == v.size {
			return errors.Join(err, opened)
		}
		c.now.CompareAndSwap(v, &version{f, i.Ctime})
	}
}
