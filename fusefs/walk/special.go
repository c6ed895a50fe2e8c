package walk

import (
	"context"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// special is what a name holds that has no content: a symbolic link, a device, a FIFO or a socket.
type special struct {
	target string
	rdev   uint32
	xattrs xattrs
}

// storeSpecial puts such a name. It is small, so it is compared whole instead of being remembered.
func (w *reader) storeSpecial(ctx context.Context, n *node) (tree.Ino, error) {
	var s special
	var err error
	switch n.stat.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if s.target, err = readlinkAt(n.dir.fd, n.name); err != nil {
			return 0, err
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		s.rdev = uint32(n.stat.Rdev)
	}
	s.xattrs, err = n.dir.xattrs(func() (xattrs, error) { return xattrsAt(n.dir.fd, n.name) })
	if err != nil {
		return 0, err
	}
	same, err := w.sameSpecial(ctx, n, &s)
	if err != nil {
		return 0, err
	}
	if same {
		return n.old.Ino, nil
	}

	var e tree.Entry
	err = w.place(ctx, n, func(name string) (tree.Ino, error) {
		if n.stat.Mode&unix.S_IFMT == unix.S_IFLNK {
			e, err = w.tree.Symlink(ctx, owner(&n.stat), n.dir.ino, name, s.target)
		} else {
			e, err = w.tree.Mknod(ctx, owner(&n.stat), n.dir.ino, name, n.stat.Mode&^0o7000, s.rdev)
		}
		if err != nil {
			return 0, err
		}
		_, err = w.settle(ctx, e.Ino, &e.Attr, &n.stat, s.xattrs, n.dir.fresh && len(s.xattrs) == 0)
		return e.Ino, err
	})
	if err != nil {
		return 0, err
	}
	return e.Ino, nil
}

// sameSpecial says whether the volume has it as it is. Extended attributes are brought in line on the way, for
// they are all that can differ with the rest the same.
func (w *reader) sameSpecial(ctx context.Context, n *node, s *special) (bool, error) {
	if n.old == nil || !sameMeta(&n.old.Attr, &n.stat) || n.old.Attr.Rdev != s.rdev {
		return false, nil
	}
	if n.stat.Mode&unix.S_IFMT == unix.S_IFLNK {
		target, err := w.tree.Readlink(ctx, n.old.Ino)
		if err != nil || target != s.target {
			return false, onTree(err)
		}
	}
	changed, err := w.settleXattrs(ctx, n.old.Ino, s.xattrs)
	if changed {
		w.inodeChanged(n.old.Ino)
	}
	return err == nil, err
}

func readlinkAt(fd int, name string) (string, error) {
	b := make([]byte, tree.TargetMax+1)
	n, err := unix.Readlinkat(fd, name, b)
	if err != nil {
		return "", err
	}
	if n == len(b) {
		return "", unix.ENAMETOOLONG
	}
	return string(b[:n]), nil
}
