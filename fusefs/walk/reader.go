package walk

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// reader puts one name at a time.
type reader struct {
	*run
	buf []byte
}

// readSize is how many bytes are read at a time: few enough that they are still in the processor's cache when the pipe
// copies them.
const readSize = 256 << 10

func newReader(r *run) *reader { return &reader{r, make([]byte, readSize)} }

// work puts what the walk hands out. After an error it goes on letting go of directories, so that none stays open.
func (w *reader) work(ctx context.Context) error {
	var failed error
	for j := range w.jobs {
		if failed == nil && ctx.Err() == nil {
			failed = w.job(ctx, j)
		}
		if err := w.release(ctx, j.dir); failed == nil {
			failed = err
		}
	}
	return failed
}

func (w *reader) job(ctx context.Context, j job) error {
	path := func() string { return j.dir.join(j.name) }
	err := w.put(ctx, j.dir, j.name)
	w.report.files.Add(1)
	if err := w.judge(ctx, path, err); err != nil {
		return err
	}
	w.report.finished(w.opts.now(), path)
	return nil
}

// node is a name that is being put.
type node struct {
	dir  *dir
	name string
	stat unix.Stat_t
	old  *tree.Entry // what the volume has there now; nil: nothing
}

func (w *reader) put(ctx context.Context, d *dir, name string) error {
	n := &node{dir: d, name: name}
	if err := unix.Fstatat(d.fd, name, &n.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if n.stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Errorf("%w: it has become a directory", ErrChanged)
	}
	var err error
	if n.old, err = w.lookup(ctx, d, name); err != nil {
		return err
	}
	if n.stat.Nlink == 1 {
		_, err = w.store(ctx, n)
		return err
	}

	l, first := w.links.claim(&n.stat)
	if first {
		var ino tree.Ino
		defer func() { l.publish(ino) }()
		ino, err = w.store(ctx, n)
		return err
	}
	ino, err := l.wait(ctx)
	if err != nil {
		return err
	}
	if ino == 0 { // the first name could not be read; perhaps this one can
		_, err = w.store(ctx, n)
		return err
	}
	return w.link(ctx, n, ino)
}

// link makes the name one of an inode that has been put.
func (w *reader) link(ctx context.Context, n *node, ino tree.Ino) error {
	if n.old != nil && n.old.Ino == ino {
		return nil
	}
	return w.place(ctx, n, func(name string) (tree.Ino, error) {
		_, err := w.tree.Link(ctx, ino, n.dir.ino, name)
		return ino, err
	})
}

// store puts the content and metadata of a name, and says in which inode. With ErrChanged there is one too.
func (w *reader) store(ctx context.Context, n *node) (tree.Ino, error) {
	if n.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return w.storeSpecial(ctx, n)
	}
	same, err := w.unchanged(ctx, n)
	if err != nil {
		return 0, err
	}
	if same {
		w.report.unchanged.Add(1)
		return n.old.Ino, nil
	}
	return w.storeFile(ctx, n)
}

// unchanged says whether the volume has the file as it is, going by what was remembered when it was read. The
// archived file is looked at too: somebody may have changed it through the mount.
func (w *reader) unchanged(ctx context.Context, n *node) (bool, error) {
	if n.old == nil || !sameMeta(&n.old.Attr, &n.stat) || n.old.Attr.Size != uint64(n.stat.Size) {
		return false, nil
	}
	value, err := w.tree.GetXattr(ctx, n.old.Ino, SourceXattr)
	if errors.Is(err, unix.ENODATA) {
		return false, nil
	}
	if err != nil {
		return false, onTree(err)
	}
	s, err := ParseSignature(value)
	return err == nil && s == signatureOf(&n.stat), nil
}
