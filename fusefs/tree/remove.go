package tree

import (
	"context"

	"golang.org/x/sys/unix"
)

// Unlink removes a name of an inode that is not a directory.
func (t *Tree) Unlink(ctx context.Context, parent Ino, name string) error {
	if err := checkEntry(parent, name); err != nil {
		return err
	}
	if dots(name) {
		return unix.EISDIR
	}
	return t.inDir(ctx, parent, func(p *inode) error {
		d, ok, err := t.find(p, name)
		if err != nil {
			return err
		}
		if !ok {
			return unix.ENOENT
		}
		if d.Type == unix.DT_DIR {
			return unix.EISDIR
		}
		i, err := t.table.get(d.Ino)
		if err != nil {
			return err
		}
		defer i.put()
		i.mu.Lock()
		defer i.mu.Unlock()
		now := t.now()
		t.leave(p, name)
		p.attr.Size--
		p.touchTimes(now, true)
		t.unname(i, now)
		return nil
	})
}

// Rmdir removes an empty directory.
func (t *Tree) Rmdir(ctx context.Context, parent Ino, name string) error {
	if err := checkEntry(parent, name); err != nil {
		return err
	}
	switch name {
	case ".":
		return unix.EINVAL
	case "..":
		return unix.ENOTEMPTY
	}
	return t.inDir(ctx, parent, func(p *inode) error {
		d, ok, err := t.find(p, name)
		if err != nil {
			return err
		}
		if !ok {
			return unix.ENOENT
		}
		if d.Type != unix.DT_DIR {
			return unix.ENOTDIR
		}
		i, err := t.table.get(d.Ino)
		if err != nil {
			return err
		}
		defer i.put()
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.attr.Size != 0 {
			return unix.ENOTEMPTY
		}
		now := t.now()
		t.leave(p, name)
		p.attr.Size--
		p.attr.Nlink--
		p.touchTimes(now, true)
		t.unname(i, now)
		return nil
	})
}

// unname takes one name from an inode: with the last an inode goes, or waits for
// its last handle. The caller holds i.mu and has seen that a directory is empty.
func (t *Tree) unname(i *inode, now Time) {
	d := t.touch(i)
	i.attr.Ctime = now
	if i.isDir() {
		i.attr.Nlink = 0
		t.delete(i)
		return
	}
	i.attr.Nlink--
	switch {
	case i.attr.Nlink > 0:
	case i.inUse(t):
		t.unnamed.add(i.ino)
		i.linkable = false
		i.orphaned = true
		if d.orphan == -1 {
			d.orphan = 0
		} else {
			d.orphan = 1
		}
	default:
		t.delete(i)
	}
}

// delete removes an inode that has neither names nor handles. i.mu is held.
func (t *Tree) delete(i *inode) {
	d := t.touch(i)
	i.dead = true
	if t.forgets && i.isDir() {
		i.referred = true
		i.pins.Add(1)
		t.unnamed.add(i.ino)
	} else {
		t.unnamed.remove(i.ino)
	}
	t.inodes.Add(-1)
	t.resize(i, 0)
	i.dir = nil
	if i.orphaned {
		i.orphaned = false
		if d.orphan == 1 {
			d.orphan = 0
		} else {
			d.orphan = -1
		}
	}
	d.deleted = true
	d.ext, d.xattrs = spans{}, nil
}
