package walk

import (
	"context"
	"math"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// storeFile reads a regular file. A new one is made under its name; one that replaces another is made without a
// name first, so that a disk error halfway leaves the volume what it has.
func (w *reader) storeFile(ctx context.Context, n *node) (tree.Ino, error) {
	fd, err := openAt(n.dir.fd, n.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var before unix.Stat_t
	if err := unix.Fstat(fd, &before); err != nil {
		return 0, err
	}
	if before.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, ErrChanged
	}

	e, h, err := w.create(ctx, n, &before)
	if err != nil {
		return 0, onTree(err)
	}
	defer h.Release() // not before it has a name
	read, err := w.copy(ctx, h, fd, &before)
	w.report.bytes.Add(uint64(read))
	if err == nil {
		err = w.settleFile(ctx, n, e, fd, &before)
	}
	if err != nil && err != ErrChanged {
		if n.old == nil {
			// The context may be what went wrong; a file without its bytes must go all the same.
			w.tree.Unlink(context.WithoutCancel(ctx), n.dir.ino, n.name)
		}
		return 0, err
	}
	w.report.stored.Add(1)
	if n.old == nil {
		w.entryChanged(n.dir.ino, n.name)
		return e.Ino, err
	}
	placed := w.place(ctx, n, func(name string) (tree.Ino, error) {
		_, err := w.tree.Link(ctx, e.Ino, n.dir.ino, name)
		return e.Ino, err
	})
	if placed != nil {
		return 0, placed
	}
	return e.Ino, err
}

func (w *reader) create(ctx context.Context, n *node, st *unix.Stat_t) (tree.Entry, *tree.Handle, error) {
	mode := st.Mode & 0o777
	if n.old != nil {
		return w.tree.Tmpfile(ctx, owner(st), n.dir.ino, mode, unix.O_WRONLY)
	}
	return w.tree.Create(ctx, owner(st), n.dir.ino, n.name, mode, unix.O_WRONLY|unix.O_EXCL)
}

// settleFile gives a file that was read its metadata, and remembers what the source looked like if it looks so
// still. Otherwise it is ErrChanged, and all is done nevertheless.
func (w *reader) settleFile(ctx context.Context, n *node, e tree.Entry, fd int, before *unix.Stat_t) error {
	x, err := n.dir.xattrs(func() (xattrs, error) { return xattrsOf(fd) })
	if err != nil {
		return err
	}
	var after unix.Stat_t
	if err := unix.Fstat(fd, &after); err != nil {
		return err
	}
	after.Atim = before.Atim
	s := signatureOf(before)
	steady := s == signatureOf(&after)
	if steady && s.settled(w.opts.now()) {
		if err := w.tree.SetXattr(ctx, e.Ino, SourceXattr, s.Append(nil), 0); err != nil {
			return onTree(err)
		}
	}
	// A directory that was there before may have given the file a default ACL.
	if _, err := w.settle(ctx, e.Ino, &e.Attr, &after, x, n.dir.fresh && len(x) == 0); err != nil {
		return err
	}
	if !steady {
		return ErrChanged
	}
	return nil
}

// copy reads the file up to the size that it had when it was opened, and writes it to h.
func (w *reader) copy(ctx context.Context, h *tree.Handle, fd int, st *unix.Stat_t) (int64, error) {
	if st.Size > int64(len(w.buf)) {
		unix.Fadvise(fd, 0, 0, unix.FADV_SEQUENTIAL) // mere advice
	}
	if st.Size == 0 {
		return w.copyRange(ctx, h, fd, 0, math.MaxInt64) // files of /proc have no size and a content
	}
	if st.Blocks*512 < st.Size {
		return w.copySparse(ctx, h, fd, st.Size)
	}
	return w.copyRange(ctx, h, fd, 0, st.Size)
}

func (w *reader) copyRange(ctx context.Context, h *tree.Handle, fd int, off, end int64) (read int64, err error) {
	for off < end {
		p := w.buf[:min(int64(len(w.buf)), end-off)]
		n, err := ignoringEINTR(func() (int, error) { return unix.Pread(fd, p, off) })
		if err != nil {
			return read, err
		}
		if n == 0 {
			return read, nil
		}
		if _, err := h.Write(ctx, p[:n], off, false); err != nil {
			return read, onTree(err)
		}
		off += int64(n)
		read += int64(n)
	}
	return read, nil
}

// copySparse reads what is no hole.
func (w *reader) copySparse(ctx context.Context, h *tree.Handle, fd int, size int64) (read int64, err error) {
	for at := int64(0); at < size; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break // only a hole is left
		}
		if err == unix.EINVAL { // the file system keeps no holes
			n, err := w.copyRange(ctx, h, fd, at, size)
			return read + n, err
		}
		if err != nil {
			return read, err
		}
		hole, err := unix.Seek(fd, data, unix.SEEK_HOLE)
		if err != nil {
			return read, err
		}
		n, err := w.copyRange(ctx, h, fd, data, min(hole, size))
		read += n
		if err != nil {
			return read, err
		}
		at = hole
	}
	set := tree.SetAttr{Valid: tree.SetSize, Size: uint64(size)}
	_, err = w.tree.Setattr(ctx, h.Ino(), set, h)
	return read, onTree(err)
}
