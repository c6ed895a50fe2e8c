package restore

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"coffer/fusefs/past"
)

// finish walks once more: it makes the other names of files, and then gives each
// directory its attributes, those in it first.
func (r *Run) finish(ctx context.Context, root *dir) error {
	f := &finisher{Run: r, root: root, links: r.linked}
	return f.walk(ctx, r.part.Root(), root)
}

type finisher struct {
	*Run
	root  *dir
	links bool // there are names to be made
	first *dir // where the first name of the last file with several was
}

func (f *finisher) walk(ctx context.Context, at past.Dir, d *dir) error {
	err := f.part.Each(ctx, at, func(c past.Child) error {
		switch {
		case c.Type == unix.DT_DIR:
			return f.walk(ctx, c.Dir(), &dir{up: d, name: c.Name, ino: c.Ino})
		case f.links:
			return f.judge(ctx, func() string { return d.path(c.Name) }, f.link(d, &c))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.judge(ctx, d.self, f.settleDir(d))
}

// link makes a name of a file that has one already.
func (f *finisher) link(d *dir, c *past.Child) error {
	i, err := f.state.Inode(c.Ino)
	if err != nil || i.Nlink < 2 {
		return err
	}
	first, err := f.part.First(c.Ino)
	if err != nil || first.Link == (past.Link{Parent: d.ino, Name: c.Name}) {
		return err
	}
	of := f.dirOf(&first)
	from, err := f.dirs.get(of)
	if err != nil {
		return ErrLinked
	}
	defer f.dirs.put(of)
	var st unix.Stat_t
	if unix.Fstatat(from, first.Name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || !f.looksSame(&st, &i) {
		return ErrLinked
	}
	to, err := f.dirs.get(d)
	if err != nil {
		return err
	}
	defer f.dirs.put(d)
	err = unix.Linkat(from, first.Name, to, c.Name, 0)
	if err == unix.EEXIST {
		var has unix.Stat_t
		if err := unix.Fstatat(to, c.Name, &has, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if has.Dev == st.Dev && has.Ino == st.Ino {
			f.report.there.Add(1)
			return nil
		}
		err = f.replace(from, first.Name, to, c.Name)
	}
	if err != nil {
		return written("make the link", err)
	}
	f.report.files.Add(1)
	return nil
}

// replace has a link take the place of something else.
func (f *finisher) replace(from int, first string, to int, name string) error {
	if !f.o.Overwrite {
		return ErrThere
	}
	temp := temporary()
	if err := unix.Linkat(from, first, to, temp, 0); err != nil {
		return err
	}
	err := unix.Renameat(to, temp, to, name)
	if err == unix.EISDIR {
		if err = remove(to, name); err == nil {
			err = unix.Renameat(to, temp, to, name)
		}
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(to, temp, 0))
	}
	return nil
}

// dirOf finds the directory that a way ends in.
func (f *finisher) dirOf(w *past.Way) *dir {
	if f.first != nil && f.first.ino == w.Parent {
		return f.first
	}
	d := f.root
	for _, name := range w.Names[:len(w.Names)-1] {
		d = &dir{up: d, name: name}
	}
	if d != f.root {
		d.ino = w.Parent
	}
	f.first = d
	return d
}

// settleDir gives a directory its attributes if it is one that a run has made, or may
// replace. One that was there before keeps its own, but for the times if they are all
// that differs: those have changed by what was made in it.
func (f *finisher) settleDir(d *dir) error {
	fd, err := f.reopen(d)
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
		return nil // which was told when it could not be made
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	i, err := f.state.Inode(d.ino)
	if err != nil {
		return err
	}
	t := target{fd: fd}
	switch {
	case isUnfinished(&st, f.uid):
		return f.settle(t, d.ino, &i)
	case f.o.Overwrite:
		dropInherited(fd)
		return f.settle(t, d.ino, &i)
	case st.Mode&0o7777 == f.mode(&i) && (!f.o.Owner || st.Uid == i.Uid && st.Gid == i.Gid):
		return written("set the times", t.settime(&i))
	}
	return nil
}

// reopen opens a directory to change it.
func (f *finisher) reopen(d *dir) (int, error) {
	if d.up == nil {
		return unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	up, err := f.dirs.get(d.up)
	if err != nil {
		return -1, err
	}
	defer f.dirs.put(d.up)
	return unix.Openat(up, d.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}
