package tree

import (
	"context"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// birth makes an inode in the open epoch, pinned; nobody knows its number yet.
// The caller holds epochMu for reading.
func (t *Tree) birth(ino Ino, a Attr) *inode {
	now := t.now()
	a.Atime, a.Mtime, a.Ctime, a.Btime = now, now, now, now
	i := &inode{ino: ino, attr: a, kind: typeOf(a.Mode), fresh: true, noCaps: true, aclKnown: true}
	if i.isDir() {
		i.attr.NextCookie = chunkfmt.FirstCookie
	}
	t.table.add(i)
	t.inodes.Add(1)
	t.touch(i).born = true
	return i
}

// newborn is what is to be made.
type newborn struct {
	mode     uint32
	rdev     uint32
	target   string
	nameless bool
}

// make makes an inode and its entry. The caller holds epochMu for reading and
// p.mu, and has seen that the name is free. The inode is returned pinned.
func (t *Tree) make(p *inode, who Caller, name string, b newborn) (*inode, error) {
	mode, acls, err := t.inherit(p, b.mode, who.Umask)
	if err != nil {
		return nil, err
	}
	a := Attr{Mode: mode, Nlink: 1, Uid: who.Uid, Gid: who.Gid, Rdev: b.rdev, Size: uint64(len(b.target))}
	if p.attr.Mode&unix.S_ISGID != 0 {
		a.Gid = p.attr.Gid
		if mode&unix.S_IFMT == unix.S_IFDIR {
			a.Mode |= unix.S_ISGID
		}
	}
	if mode&unix.S_IFMT == unix.S_IFDIR {
		a.Nlink, a.Parent = 2, p.ino
	}
	if b.nameless {
		a.Nlink = 0
	}
	i := t.birth(Ino(t.nextIno.Add(1)), a)
	i.target = b.target
	t.charge(t.cur, 2*int64(len(b.target)))
	for _, x := range acls {
		t.putXattr(i, x.name, x.value)
	}
	if b.nameless {
		i.orphaned = true
		i.newest.orphan = 1
		return i, nil
	}
	t.enter(p, name, i.ino, i.kind, 0)
	p.attr.Size++
	if i.isDir() {
		p.attr.Nlink++
	}
	p.touchTimes(i.attr.Btime, true)
	return i, nil
}

// inDir runs f with the directory locked in an epoch.
func (t *Tree) inDir(ctx context.Context, parent Ino, f func(p *inode) error) error {
	p, err := t.table.get(parent)
	if err != nil {
		return err
	}
	defer p.put()
	if !p.isDir() {
		return unix.ENOTDIR
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	defer t.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return unix.ENOENT
	}
	return f(p)
}

// create makes an entry that must be new.
func (t *Tree) create(ctx context.Context, who Caller, parent Ino, name string, b newborn) (Entry, error) {
	if err := checkEntry(parent, name); err != nil {
		return Entry{}, err
	}
	if dots(name) {
		return Entry{}, unix.EEXIST
	}
	var e Entry
	err := t.inDir(ctx, parent, func(p *inode) error {
		if _, ok, err := t.find(p, name); err != nil || ok {
			if err == nil {
				err = unix.EEXIST
			}
			return err
		}
		i, err := t.make(p, who, name, b)
		if err != nil {
			return err
		}
		e = Entry{i.ino, i.attr}
		i.put()
		return nil
	})
	return e, err
}

// Mknod makes a regular file, FIFO, socket or device; mode holds the type.
func (t *Tree) Mknod(ctx context.Context, who Caller, parent Ino, name string, mode, rdev uint32) (Entry, error) {
	switch mode & unix.S_IFMT {
	case 0:
		mode |= unix.S_IFREG
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
	default:
		return Entry{}, unix.EINVAL
	}
	return t.create(ctx, who, parent, name, newborn{mode: mode, rdev: rdev})
}

// Mkdir makes a directory.
func (t *Tree) Mkdir(ctx context.Context, who Caller, parent Ino, name string, mode uint32) (Entry, error) {
	return t.create(ctx, who, parent, name, newborn{mode: mode&0o7777 | unix.S_IFDIR})
}

// Symlink makes a symbolic link to target.
func (t *Tree) Symlink(ctx context.Context, who Caller, parent Ino, name, target string) (Entry, error) {
	switch {
	case target == "":
		return Entry{}, unix.ENOENT
	case len(target) > TargetMax:
		return Entry{}, unix.ENAMETOOLONG
	}
	return t.create(ctx, who, parent, name, newborn{mode: unix.S_IFLNK | 0o777, target: target})
}

// Create makes a regular file and opens it. If there is one already it is opened
// as Open does, or is EEXIST with O_EXCL.
func (t *Tree) Create(ctx context.Context, who Caller, parent Ino, name string, mode uint32, flags int) (Entry, *Handle, error) {
	if err := checkEntry(parent, name); err != nil {
		return Entry{}, nil, err
	}
	if dots(name) {
		return Entry{}, nil, unix.EISDIR
	}
	for {
		var e Entry
		var h *Handle
		var there Ino
		err := t.inDir(ctx, parent, func(p *inode) error {
			d, ok, err := t.find(p, name)
			if err != nil {
				return err
			}
			if ok {
				there = d.Ino
				return nil
			}
			i, err := t.make(p, who, name, newborn{mode: mode&0o7777 | unix.S_IFREG})
			if err != nil {
				return err
			}
			e, h = Entry{i.ino, i.attr}, t.handle(i, flags)
			return nil
		})
		if err != nil || there == 0 {
			return e, h, err
		}
		if flags&unix.O_EXCL != 0 {
			return Entry{}, nil, unix.EEXIST
		}
		h, err = t.Open(ctx, there, flags)
		if err == unix.ENOENT {
			continue // removed meanwhile
		}
		if err != nil {
			return Entry{}, nil, err
		}
		h.i.mu.RLock()
		e = Entry{there, h.i.attr}
		h.i.mu.RUnlock()
		return e, h, nil
	}
}

// Tmpfile makes a regular file without a name and opens it (O_TMPFILE). Without
// O_EXCL it may be given a name by Link.
func (t *Tree) Tmpfile(ctx context.Context, who Caller, parent Ino, mode uint32, flags int) (Entry, *Handle, error) {
	var e Entry
	var h *Handle
	err := t.inDir(ctx, parent, func(p *inode) error {
		i, err := t.make(p, who, "", newborn{mode: mode&0o7777 | unix.S_IFREG, nameless: true})
		if err != nil {
			return err
		}
		i.linkable = flags&unix.O_EXCL == 0
		e, h = Entry{i.ino, i.attr}, t.handle(i, flags)
		return nil
	})
	return e, h, err
}

// Link makes another name of an inode that is not a directory.
func (t *Tree) Link(ctx context.Context, ino, parent Ino, name string) (Entry, error) {
	if err := checkEntry(parent, name); err != nil {
		return Entry{}, err
	}
	if dots(name) {
		return Entry{}, unix.EEXIST
	}
	i, err := t.table.get(ino)
	if err != nil {
		return Entry{}, err
	}
	defer i.put()
	if i.isDir() {
		return Entry{}, unix.EPERM
	}
	var e Entry
	err = t.inDir(ctx, parent, func(p *inode) error {
		if _, ok, err := t.find(p, name); err != nil || ok {
			if err == nil {
				err = unix.EEXIST
			}
			return err
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.dead || i.attr.Nlink == 0 && !i.linkable {
			return unix.ENOENT
		}
		if i.attr.Nlink >= linkMax {
			return unix.EMLINK
		}
		d := t.touch(i)
		if i.orphaned {
			i.orphaned = false
			if d.orphan == 1 {
				d.orphan = 0
			} else {
				d.orphan = -1
			}
		}
		i.attr.Nlink++
		i.attr.Ctime = t.now()
		t.enter(p, name, ino, i.kind, 0)
		p.attr.Size++
		p.touchTimes(i.attr.Ctime, true)
		e = Entry{ino, i.attr}
		return nil
	})
	return e, err
}

// linkMax is the largest number of names of one inode.
const linkMax = 1 << 31
