package tree

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// xattr is an extended attribute as of one epoch.
type xattr struct {
	value []byte
	del   bool
}

const capsName = "security.capability"

// xattrOf looks an extended attribute up; i.mu is held.
func (t *Tree) xattrOf(i *inode, name string) ([]byte, bool, error) {
	for d := i.newest; d != nil; d = d.older {
		if x, ok := d.xattrs[name]; ok {
			return x.value, !x.del, nil
		}
	}
	if i.fresh {
		return nil, false, nil
	}
	v, ok, err := t.cfg.Index.Xattr(i.ino, name)
	if err != nil {
		return nil, false, fmt.Errorf("%w: attribute %q of inode %d: %w", unix.EIO, name, i.ino, err)
	}
	return v, ok, nil
}

// putXattr sets one. The caller holds epochMu for reading and i.mu.
func (t *Tree) putXattr(i *inode, name string, value []byte) {
	t.setXattr(i, name, xattr{value: value})
	if name == capsName {
		i.noCaps = false
	}
}

func (t *Tree) setXattr(i *inode, name string, x xattr) {
	d := t.touch(i)
	if d.xattrs == nil {
		d.xattrs = make(map[string]xattr)
	}
	d.xattrs[name] = x
	if name == aclDefault {
		i.aclKnown = false
	}
	t.charge(d.e, xattrCost+2*int64(len(name)+len(x.value)))
}

// dropCaps removes file capabilities, as whatever changes contents or owner must.
// i.mu is held, in an epoch.
func (t *Tree) dropCaps(i *inode) error {
	if i.noCaps {
		return nil
	}
	_, ok, err := t.xattrOf(i, capsName)
	if err != nil {
		return err
	}
	if ok {
		t.setXattr(i, capsName, xattr{del: true})
	}
	i.noCaps = true
	return nil
}

// GetXattr returns the value of an extended attribute, or ENODATA. The value is
// not to be changed.
func (t *Tree) GetXattr(ctx context.Context, ino Ino, name string) ([]byte, error) {
	i, err := t.table.get(ino)
	if err != nil {
		return nil, err
	}
	defer i.put()
	i.mu.RLock()
	defer i.mu.RUnlock()
	if err := t.lostFile(i); err != nil {
		return nil, err
	}
	v, ok, err := t.xattrOf(i, name)
	if err == nil && !ok {
		err = unix.ENODATA
	}
	return v, err
}

// ListXattr returns the names of the extended attributes, ascending.
func (t *Tree) ListXattr(ctx context.Context, ino Ino) ([]string, error) {
	i, err := t.table.get(ino)
	if err != nil {
		return nil, err
	}
	defer i.put()
	i.mu.RLock()
	defer i.mu.RUnlock()
	if err := t.lostFile(i); err != nil {
		return nil, err
	}
	there := make(map[string]bool)
	for d := i.newest; d != nil; d = d.older {
		for name, x := range d.xattrs {
			if _, ok := there[name]; !ok {
				there[name] = !x.del
			}
		}
	}
	if !i.fresh {
		err := t.cfg.Index.Xattrs(ino, func(name string, _ []byte) bool {
			if _, ok := there[name]; !ok {
				there[name] = true
			}
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("%w: list attributes of inode %d: %w", unix.EIO, ino, err)
		}
	}
	names := make([]string, 0, len(there))
	for name, is := range there {
		if is {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// SetXattr sets an extended attribute; flags are unix.XATTR_CREATE and
// XATTR_REPLACE. The value is copied. POSIX ACLs change the mode as they should.
func (t *Tree) SetXattr(ctx context.Context, ino Ino, name string, value []byte, flags int) error {
	switch {
	case name == "" || len(name) > NameMax:
		return unix.ERANGE
	case len(value) > XattrMax:
		return unix.E2BIG
	case flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0:
		return unix.EINVAL
	}
	return t.changeXattr(ctx, ino, name, func(i *inode, there bool) error {
		if there && flags&unix.XATTR_CREATE != 0 {
			return unix.EEXIST
		}
		if !there && flags&unix.XATTR_REPLACE != 0 {
			return unix.ENODATA
		}
		if name == aclAccess || name == aclDefault {
			return t.setACL(i, name, value, there)
		}
		t.putXattr(i, name, slices.Clone(value))
		return nil
	})
}

// RemoveXattr removes an extended attribute, or ENODATA.
func (t *Tree) RemoveXattr(ctx context.Context, ino Ino, name string) error {
	return t.changeXattr(ctx, ino, name, func(i *inode, there bool) error {
		if !there {
			return unix.ENODATA
		}
		t.setXattr(i, name, xattr{del: true})
		return nil
	})
}

// changeXattr runs f on a locked inode in an epoch, and sets ctime.
func (t *Tree) changeXattr(ctx context.Context, ino Ino, name string, f func(i *inode, there bool) error) error {
	i, err := t.table.get(ino)
	if err != nil {
		return err
	}
	defer i.put()
	if err := t.begin(ctx); err != nil {
		return err
	}
	defer t.end()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dead {
		return unix.ENOENT
	}
	_, there, err := t.xattrOf(i, name)
	if err != nil {
		return err
	}
	if err := f(i, there); err != nil {
		return err
	}
	t.touch(i)
	i.attr.Ctime = t.now()
	return nil
}
