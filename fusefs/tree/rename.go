package tree

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// Rename moves an entry. Flags are unix.RENAME_NOREPLACE and
// unix.RENAME_EXCHANGE; others are EINVAL. An entry that takes the name of
// another keeps that one's place in the directory.
func (t *Tree) Rename(ctx context.Context, oldParent Ino, oldName string, newParent Ino, newName string, flags uint32) error {
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 ||
		flags == unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE {
		return unix.EINVAL
	}
	for _, end := range []struct {
		parent Ino
		name   string
	}{{oldParent, oldName}, {newParent, newName}} {
		if err := checkEntry(end.parent, end.name); err != nil {
			return err
		}
		if dots(end.name) {
			return unix.EBUSY
		}
	}
	r := rename{t: t, oldName: oldName, newName: newName, flags: flags}
	var err error
	if r.from, err = t.table.get(oldParent); err != nil {
		return err
	}
	defer r.from.put()
	if r.to, err = t.table.get(newParent); err != nil {
		return err
	}
	defer r.to.put()
	if !r.from.isDir() || !r.to.isDir() {
		return unix.ENOTDIR
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	defer t.end()
	if r.from != r.to {
		t.renameMu.Lock()
		defer t.renameMu.Unlock()
		if r.aboveFrom, err = t.chain(r.from); err != nil {
			return err
		}
		if r.aboveTo, err = t.chain(r.to); err != nil {
			return err
		}
		first, second := r.from, r.to
		if slices.Contains(r.aboveFrom, r.to.ino) {
			first, second = second, first
		}
		first.mu.Lock()
		defer first.mu.Unlock()
		second.mu.Lock()
		defer second.mu.Unlock()
	} else {
		r.from.mu.Lock()
		defer r.from.mu.Unlock()
	}
	return r.run()
}

// chain lists a directory and all above it. The caller holds renameMu and no
// inode lock.
func (t *Tree) chain(p *inode) ([]Ino, error) {
	chain := []Ino{p.ino}
	for ino := p.ino; ino != RootIno; {
		i, err := t.table.get(ino)
		if err != nil {
			return nil, err
		}
		i.mu.RLock()
		ino = i.attr.Parent
		i.mu.RUnlock()
		i.put()
		chain = append(chain, ino)
	}
	return chain, nil
}

// rename is one rename under way, with both directories locked.
type rename struct {
	t                  *Tree
	from, to           *inode
	oldName, newName   string
	flags              uint32
	aboveFrom, aboveTo []Ino // the directories and all above; nil if one directory

	src, dst   *inode // dst may be nil
	srcD, dstD chunkfmt.Dirent
}

func (r *rename) run() error {
	if r.from.dead || r.to.dead {
		return unix.ENOENT
	}
	var ok, taken bool
	var err error
	if r.srcD, ok, err = r.t.find(r.from, r.oldName); err != nil {
		return err
	}
	if !ok {
		return unix.ENOENT
	}
	if r.dstD, taken, err = r.t.find(r.to, r.newName); err != nil {
		return err
	}
	exchange := r.flags&unix.RENAME_EXCHANGE != 0
	switch {
	case taken && r.flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case !taken && exchange:
		return unix.ENOENT
	case slices.Contains(r.aboveTo, r.srcD.Ino):
		return unix.EINVAL // into itself or below
	case taken && slices.Contains(r.aboveFrom, r.dstD.Ino):
		if exchange {
			return unix.EINVAL
		}
		return r.overAncestor()
	case taken && r.srcD.Ino == r.dstD.Ino:
		return nil
	}
	if r.src, err = r.t.table.get(r.srcD.Ino); err != nil {
		return err
	}
	defer r.src.put()
	if taken {
		if r.dst, err = r.t.table.get(r.dstD.Ino); err != nil {
			return err
		}
		defer r.dst.put()
	}
	defer r.lock()()
	if taken && !exchange {
		if err := r.mayReplace(); err != nil {
			return err
		}
	}
	if exchange {
		r.exchange()
	} else {
		r.move()
	}
	return nil
}

// overAncestor is the error of replacing a directory that the source lies below.
func (r *rename) overAncestor() error {
	if r.srcD.Type != unix.DT_DIR {
		return unix.EISDIR
	}
	return unix.ENOTEMPTY
}

// lock locks what is moved, directories first, and returns the undoing.
func (r *rename) lock() func() {
	a, b := r.src, r.dst
	if b == nil {
		a.mu.Lock()
		return a.mu.Unlock
	}
	if b.isDir() && !a.isDir() || b.isDir() == a.isDir() && b.ino < a.ino {
		a, b = b, a
	}
	a.mu.Lock()
	b.mu.Lock()
	return func() {
		b.mu.Unlock()
		a.mu.Unlock()
	}
}

func (r *rename) mayReplace() error {
	switch {
	case r.src.isDir() && !r.dst.isDir():
		return unix.ENOTDIR
	case !r.src.isDir() && r.dst.isDir():
		return unix.EISDIR
	case r.dst.isDir() && r.dst.attr.Size != 0:
		return unix.ENOTEMPTY
	}
	return nil
}

func (r *rename) move() {
	t, now := r.t, r.t.now()
	t.leave(r.from, r.oldName)
	r.from.attr.Size--
	t.enter(r.to, r.newName, r.src.ino, r.src.kind, r.dstD.Cookie)
	if r.dst == nil {
		r.to.attr.Size++
	} else {
		if r.dst.isDir() {
			r.to.attr.Nlink--
		}
		t.unname(r.dst, now)
	}
	r.moved(r.src, r.from, r.to, now)
	r.from.touchTimes(now, true)
	r.to.touchTimes(now, true)
}

func (r *rename) exchange() {
	t, now := r.t, r.t.now()
	t.enter(r.from, r.oldName, r.dst.ino, r.dst.kind, r.srcD.Cookie)
	t.enter(r.to, r.newName, r.src.ino, r.src.kind, r.dstD.Cookie)
	r.moved(r.src, r.from, r.to, now)
	r.moved(r.dst, r.to, r.from, now)
	r.from.touchTimes(now, true)
	r.to.touchTimes(now, true)
}

// moved notes in the attributes of i, and of the directories if i is one, where
// it is now.
func (r *rename) moved(i, from, to *inode, now Time) {
	r.t.touch(i)
	i.attr.Ctime = now
	if i.isDir() && from != to {
		from.attr.Nlink--
		to.attr.Nlink++
		i.attr.Parent = to.ino
	}
}
