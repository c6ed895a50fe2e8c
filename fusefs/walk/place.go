package walk

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// temporary makes names for what is about to replace something.
type temporary struct{ last atomic.Uint64 }

func (t *temporary) next() string { return fmt.Sprintf(".coffer-put-%d", t.last.Add(1)) }

// place has make put an inode under the name of n. What is there already is replaced at once, so that no
// cut of the tree lacks both; only a directory must go before.
func (r *run) place(ctx context.Context, n *node, make func(name string) (tree.Ino, error)) error {
	dir := n.dir.ino
	defer r.entryChanged(dir, n.name)
	if n.old != nil && n.old.Attr.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := r.removeAll(ctx, dir, n.name, n.old.Ino); err != nil {
			return err
		}
		n.old = nil
	}
	if n.old == nil {
		_, err := make(n.name)
		return onTree(err)
	}
	for {
		temp := r.temp.next()
		_, err := make(temp)
		if errors.Is(err, unix.EEXIST) {
			continue // left by a run that was killed
		}
		if err != nil {
			return onTree(err)
		}
		if err := r.tree.Rename(ctx, dir, temp, dir, n.name, 0); err != nil {
			return errors.Join(onTree(err), r.tree.Unlink(ctx, dir, temp))
		}
		return nil
	}
}

// removeAll takes a directory and all below it out of the volume.
func (r *run) removeAll(ctx context.Context, parent tree.Ino, name string, ino tree.Ino) error {
	for {
		batch, err := r.entries(ctx, ino, 0)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			break
		}
		for _, e := range batch {
			if e.Type == unix.DT_DIR {
				err = r.removeAll(ctx, ino, e.name, e.Ino)
			} else if err = onTree(r.tree.Unlink(ctx, ino, e.name)); err == nil {
				r.report.removed.Add(1)
				r.entryChanged(ino, e.name)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := r.tree.Rmdir(ctx, parent, name); err != nil {
		return onTree(err)
	}
	r.report.removed.Add(1)
	r.entryChanged(parent, name)
	return nil
}

// entry is an entry of a directory of the volume.
type entry struct {
	tree.Dirent
	name string
}

// batchSize is how many entries of a directory of the volume are looked at at a time.
const batchSize = 256

// entries are the next ones after a cookie; none: there are no more.
func (r *run) entries(ctx context.Context, ino tree.Ino, after uint64) ([]entry, error) {
	var batch []entry
	err := r.tree.ReadDir(ctx, ino, after, func(name string, d tree.Dirent, _ func() (tree.Attr, error)) bool {
		batch = append(batch, entry{d, name})
		return len(batch) < batchSize
	})
	return batch, onTree(err)
}
