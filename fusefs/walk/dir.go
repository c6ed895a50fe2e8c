package walk

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// dir is a directory that is being put. The walk and each job in it hold it; the last to let go of it
// settles its metadata, which the names that came in have changed.
type dir struct {
	parent *dir   // nil: fd is a source's
	name   string // in parent, or the path as given
	root   bool   // patterns count from here
	fd     int
	ino    tree.Ino
	stat   unix.Stat_t
	fresh  bool        // made by this run, so there is nothing in it to compare with
	keep   bool        // neither its metadata nor its descriptor is ours to settle
	plain  atomic.Bool // its file system knows no extended attributes

	held atomic.Int64
}

// dirFlags open a directory to be listed, not to be followed to.
const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openAt opens a name without changing its access time, where that is allowed.
func openAt(fd int, name string, flags int) (int, error) {
	return ignoringEINTR(func() (int, error) {
		f, err := unix.Openat(fd, name, flags|unix.O_NOATIME, 0)
		if err == unix.EPERM {
			return unix.Openat(fd, name, flags, 0)
		}
		return f, err
	})
}

// enter opens the directory name of d and finds or makes its counterpart.
func (r *run) enter(ctx context.Context, d *dir, name string) (*dir, error) {
	fd, err := openAt(d.fd, name, dirFlags)
	if err != nil {
		return nil, err
	}
	sub := &dir{parent: d, name: name, fd: fd}
	sub.held.Store(1)
	sub.plain.Store(d.plain.Load())
	if err := unix.Fstat(fd, &sub.stat); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := r.makeDir(ctx, d, sub); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return sub, nil
}

func (r *run) makeDir(ctx context.Context, d, sub *dir) error {
	old, err := r.lookup(ctx, d, sub.name)
	if err != nil {
		return err
	}
	if old != nil && old.Attr.Mode&unix.S_IFMT == unix.S_IFDIR {
		sub.ino = old.Ino
		return nil
	}
	if old != nil {
		if err := r.tree.Unlink(ctx, d.ino, sub.name); err != nil {
			return onTree(err)
		}
	}
	e, err := r.tree.Mkdir(ctx, owner(&sub.stat), d.ino, sub.name, sub.stat.Mode&0o7777)
	if err != nil {
		return onTree(err)
	}
	sub.ino, sub.fresh = e.Ino, true
	r.entryChanged(d.ino, sub.name)
	return nil
}

// lookup finds what the volume has under a name; nil: nothing.
func (r *run) lookup(ctx context.Context, d *dir, name string) (*tree.Entry, error) {
	if d.fresh {
		return nil, nil
	}
	e, err := r.tree.Lookup(ctx, d.ino, name)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, onTree(err)
	}
	return &e, nil
}

// release lets go of d; the last one settles its metadata.
func (r *run) release(ctx context.Context, d *dir) error {
	if d.held.Add(-1) > 0 {
		return nil
	}
	if d.keep {
		return nil
	}
	defer unix.Close(d.fd)
	if ctx.Err() != nil {
		return nil
	}
	return r.judge(ctx, d.path, r.settleDir(ctx, d))
}

// settleDir gives the directory in the volume the metadata of its source.
func (r *run) settleDir(ctx context.Context, d *dir) error {
	x, xerr := d.xattrs(func() (xattrs, error) { return xattrsOf(d.fd) })
	a, err := r.tree.Getattr(ctx, d.ino)
	if err != nil {
		return onTree(err)
	}
	changed, err := r.settle(ctx, d.ino, &a, &d.stat, x, d.fresh && len(x) == 0)
	if changed || d.fresh {
		r.inodeChanged(d.ino)
	}
	if err == nil {
		err = xerr
	}
	return err
}

// xattrs calls read, unless the file system is known to have no extended attributes.
func (d *dir) xattrs(read func() (xattrs, error)) (xattrs, error) {
	if d.plain.Load() {
		return nil, nil
	}
	x, err := read()
	if err == unix.EOPNOTSUPP {
		d.plain.Store(true)
		return nil, nil
	}
	return x, err
}

// path is where d is on this machine, as the source was given.
func (d *dir) path() string { return d.join("") }

// join is the path of a name in d.
func (d *dir) join(name string) string {
	parts := []string{name}
	for at := d; at != nil; at = at.parent {
		parts = append(parts, at.name)
	}
	slices.Reverse(parts)
	path := parts[0]
	for _, p := range parts[1:] {
		switch {
		case p == "":
		case path == "" || path[len(path)-1] == '/':
			path += p
		default:
			path += "/" + p
		}
	}
	return path
}

// below is the path of a name in d from the source directory down, as patterns see it.
func (d *dir) below(name string) []string {
	parts := []string{name}
	for at := d; at != nil && !at.root; at = at.parent {
		parts = append(parts, at.name)
	}
	slices.Reverse(parts)
	return parts
}

// owner makes what is created belong to whom the source belongs to.
func owner(st *unix.Stat_t) tree.Caller { return tree.Caller{Uid: st.Uid, Gid: st.Gid} }
