package restore

import (
	"context"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

// file is an inode that is to be restored under the first of its names.
type file struct {
	in   *dir
	name string
	ino  chunkfmt.Ino
	chunkfmt.Inode
	group chunkfmt.Seq // where its bytes begin; 0: it has none
}

func (f *file) path() string { return f.in.path(f.name) }

// plan walks the part, makes its directories, and hands out all else in batches.
func (r *Run) plan(ctx context.Context, root *dir) error {
	p := &planner{Run: r}
	if err := p.walk(ctx, r.part.Root(), root); err != nil {
		return err
	}
	return p.send(ctx)
}

type planner struct {
	*Run
	batch []*file
}

func (p *planner) walk(ctx context.Context, at past.Dir, d *dir) error {
	return p.part.Each(ctx, at, func(c past.Child) error {
		err := p.child(ctx, d, &c)
		if err == nil || c.Type == unix.DT_DIR {
			return err // what is below has been judged
		}
		return p.judge(ctx, func() string { return d.path(c.Name) }, err)
	})
}

func (p *planner) child(ctx context.Context, d *dir, c *past.Child) error {
	if c.Type == unix.DT_DIR {
		sub := &dir{up: d, name: c.Name, ino: c.Ino}
		if err := p.enter(sub); err != nil {
			return p.judge(ctx, func() string { return d.path(c.Name) }, err)
		}
		return p.walk(ctx, c.Dir(), sub)
	}
	i, err := p.state.Inode(c.Ino)
	if err != nil {
		return err
	}
	if i.Nlink > 1 {
		first, err := p.part.First(c.Ino)
		if err != nil {
			return err
		}
		if first.Link != (past.Link{Parent: d.ino, Name: c.Name}) {
			p.linked = true
			return nil
		}
	}
	f := &file{in: d, name: c.Name, ino: c.Ino, Inode: i}
	if i.Mode&unix.S_IFMT == unix.S_IFREG {
		if f.group, err = p.beginning(f); err != nil {
			return err
		}
	}
	if p.batch = append(p.batch, f); len(p.batch) == batchSize {
		return p.send(ctx)
	}
	return nil
}

// beginning finds the group that a file begins in.
func (p *planner) beginning(f *file) (chunkfmt.Seq, error) {
	data, err := p.state.Open(f.ino)
	if err != nil {
		return 0, err
	}
	var few [8]chunkfmt.Extent
	parts, err := data.Extents(0, bufferSize, few[:0])
	if err != nil || len(parts) == 0 {
		return 0, err
	}
	return parts[0].Group, nil
}

func (p *planner) send(ctx context.Context) error {
	select {
	case p.batches <- p.batch:
		p.batch = nil
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enter makes a directory, or finds out what is there.
func (r *Run) enter(d *dir) error {
	up, err := r.dirs.get(d.up)
	if err != nil {
		return err
	}
	defer r.dirs.put(d.up)
	err = unix.Mkdirat(up, d.name, unfinished)
	if err == unix.EEXIST {
		if err = r.makeRoom(up, d); err == nil {
			err = unix.Mkdirat(up, d.name, unfinished)
		}
	}
	switch {
	case err == nil:
		d.fresh = true
	case err != unix.EEXIST:
		return written("make the directory", err)
	}
	if d.fresh && !d.up.inherits {
		return nil
	}
	fd, err := unix.Openat(up, d.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if d.fresh {
		dropInherited(fd)
	}
	return d.look(fd)
}

// makeRoom looks at what has the name of a directory: EEXIST if it is one.
func (r *Run) makeRoom(up int, d *dir) error {
	var st unix.Stat_t
	if err := unix.Fstatat(up, d.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return unix.EEXIST
	case !r.o.Overwrite:
		return ErrThere
	}
	return remove(up, d.name)
}
