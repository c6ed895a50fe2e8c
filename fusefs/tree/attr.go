package tree

import (
	"context"

	"golang.org/x/sys/unix"
)

// Lookup finds an entry of a directory; "." and ".." work, "." of any inode.
func (t *Tree) Lookup(ctx context.Context, parent Ino, name string) (Entry, error) {
	if len(name) > NameMax {
		return Entry{}, unix.ENAMETOOLONG
	}
	p, err := t.table.get(parent)
	if err != nil {
		return Entry{}, err
	}
	defer p.put()
	if !p.isDir() && name != "." {
		return Entry{}, unix.ENOTDIR
	}
	// Between finding the number and pinning the inode it may be deleted;
	// then the name is another's or nobody's.
	for {
		p.mu.RLock()
		if p.dead {
			p.mu.RUnlock()
			return Entry{}, unix.ENOENT
		}
		ino := p.attr.Parent
		switch name {
		case "..":
		case ".":
			ino = parent
		default:
			d, ok, err := t.find(p, name)
			if err != nil || !ok {
				p.mu.RUnlock()
				if err == nil {
					err = unix.ENOENT
				}
				return Entry{}, err
			}
			ino = d.Ino
		}
		if ino == parent {
			e := Entry{Ino: ino, Attr: p.attr}
			p.mu.RUnlock()
			return e, nil
		}
		i, err := t.table.get(ino)
		p.mu.RUnlock()
		if err != nil {
			return Entry{}, err
		}
		i.mu.RLock()
		e, dead, err := Entry{Ino: ino, Attr: i.attr}, i.dead, t.lostFile(i)
		i.mu.RUnlock()
		i.put()
		if !dead {
			return e, err
		}
	}
}

// lostFile is lostInode for whatever is not a directory: those go on to be
// passed through, so that what lies below can be read.
func (t *Tree) lostFile(i *inode) error {
	if i.isDir() {
		return nil
	}
	return t.lostInode(i)
}

// Getattr returns the attributes of an inode.
func (t *Tree) Getattr(ctx context.Context, ino Ino) (Attr, error) {
	i, err := t.table.get(ino)
	if err != nil {
		return Attr{}, err
	}
	defer i.put()
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.dead && !i.isDir() && !i.referred {
		return Attr{}, unix.ENOENT
	}
	return i.attr, t.lostFile(i)
}

// Readlink returns the target of a symbolic link.
func (t *Tree) Readlink(ctx context.Context, ino Ino) (string, error) {
	i, err := t.table.get(ino)
	if err != nil {
		return "", err
	}
	defer i.put()
	if i.kind != unix.DT_LNK {
		return "", unix.EINVAL
	}
	i.mu.RLock()
	target, dead, err := i.target, i.dead && !i.referred, t.lostInode(i)
	i.mu.RUnlock()
	if dead {
		return "", unix.ENOENT
	}
	if err == nil {
		t.accessed(i)
	}
	return target, err
}

// Setattr changes attributes and returns the new ones. With a handle, size may be
// changed only if the handle is open for writing (EINVAL).
func (t *Tree) Setattr(ctx context.Context, ino Ino, set SetAttr, h *Handle) (Attr, error) {
	if set.Valid&SetSize != 0 {
		if h != nil && !h.writable() {
			return Attr{}, unix.EINVAL
		}
		if set.Size > maxFileSize {
			return Attr{}, unix.EFBIG
		}
	}
	i, err := t.table.get(ino)
	if err != nil {
		return Attr{}, err
	}
	defer i.put()
	if set.Valid&SetSize != 0 {
		switch i.kind {
		case unix.DT_REG:
		case unix.DT_DIR:
			return Attr{}, unix.EISDIR
		default:
			return Attr{}, unix.EINVAL
		}
	}
	if err := t.begin(ctx); err != nil {
		return Attr{}, err
	}
	defer t.end()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dead {
		return Attr{}, unix.ENOENT
	}
	if err := t.setattr(i, &set); err != nil {
		return Attr{}, err
	}
	return i.attr, nil
}

func (t *Tree) setattr(i *inode, set *SetAttr) error {
	now := t.now()
	if set.Valid&SetSize != 0 {
		if err := t.truncate(i, int64(set.Size)); err != nil {
			return err
		}
		t.contentsChanged(i)
	}
	t.touch(i)
	kill := set.Valid&KillSuidgid != 0
	if set.Valid&SetMode != 0 {
		i.attr.Mode = i.attr.Mode&unix.S_IFMT | set.Mode&0o7777
		if err := t.chmodACL(i); err != nil {
			return err
		}
	}
	if set.Valid&(SetUid|SetGid) != 0 {
		if set.Valid&SetUid != 0 {
			i.attr.Uid = set.Uid
		}
		if set.Valid&SetGid != 0 {
			i.attr.Gid = set.Gid
		}
		kill = kill || set.Valid&SetMode == 0
	}
	if kill && !i.isDir() {
		i.killIDs()
	}
	if set.Valid&(SetUid|SetGid|SetSize|KillSuidgid) != 0 {
		if err := t.dropCaps(i); err != nil {
			return err
		}
	}
	switch {
	case set.Valid&SetAtimeNow != 0:
		i.attr.Atime = now
	case set.Valid&SetAtime != 0:
		i.attr.Atime = set.Atime
	}
	switch {
	case set.Valid&SetMtimeNow != 0:
		i.attr.Mtime = now
	case set.Valid&SetMtime != 0:
		i.attr.Mtime = set.Mtime
	}
	switch {
	case set.Valid&SetCtime != 0:
		i.attr.Ctime = set.Ctime
	case set.Valid&SetSize == 0 || !t.leaveTimes.Load():
		i.attr.Ctime = now
	}
	return nil
}

// killIDs clears set-user-id, and set-group-id where the group may execute: without
// that the bit means mandatory locking.
func (i *inode) killIDs() {
	i.attr.Mode &^= unix.S_ISUID
	if i.attr.Mode&unix.S_IXGRP != 0 {
		i.attr.Mode &^= unix.S_ISGID
	}
}
