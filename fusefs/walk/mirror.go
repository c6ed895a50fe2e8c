package walk

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// mirror removes what is in the volume below the places of the sources and in none of them. It comes after the
// walk, since several sources may have filled one directory. Each entry of the volume costs one stat, and
// nothing is held of a directory but a batch.
func (r *run) mirror(ctx context.Context, sources []source, target tree.Ino) error {
	var contents []*dir          // sources that fill the target itself
	named := map[string][]*dir{} // those that have a name in it
	defer func() {
		closeDirs(contents)
		for _, dirs := range named {
			closeDirs(dirs)
		}
	}()
	for _, s := range sources {
		d := &dir{name: s.above(), fd: s.fd}
		name := "."
		if !s.contents {
			name = s.name
			named[name] = append(named[name], nil)[:len(named[name])]
		}
		sub, err := openOrigin(d, name)
		if err != nil {
			continue // no directory, or the walk has reported it
		}
		sub.root = true
		if s.contents {
			sub.parent, sub.name = nil, s.above()
			contents = append(contents, sub)
		} else {
			named[name] = append(named[name], sub)
		}
	}
	if len(contents) > 0 {
		return r.mirrorDir(ctx, target, contents, named)
	}
	for name, dirs := range named {
		e, err := r.tree.Lookup(ctx, target, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return onTree(err)
		}
		if len(dirs) > 0 && e.Attr.Mode&unix.S_IFMT == unix.S_IFDIR {
			if err := r.mirrorDir(ctx, e.Ino, dirs, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// mirrorDir does that in one directory. origins are where its entries come from; named has further origins of
// single entries.
func (r *run) mirrorDir(ctx context.Context, ino tree.Ino, origins []*dir, named map[string][]*dir) error {
	removed := false
	for after := uint64(0); ; {
		batch, err := r.entries(ctx, ino, after)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			break
		}
		after = batch[len(batch)-1].Cookie
		for _, e := range batch {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			gone, err := r.mirrorEntry(ctx, ino, e, origins, named)
			if err != nil {
				return err
			}
			removed = removed || gone
		}
	}
	if !removed {
		return nil
	}
	st := &origins[len(origins)-1].stat
	set := tree.SetAttr{Valid: tree.SetAtime | tree.SetMtime, Atime: treeTime(st.Atim), Mtime: treeTime(st.Mtim)}
	_, err := r.tree.Setattr(ctx, ino, set, nil)
	r.inodeChanged(ino)
	return onTree(err)
}

func (r *run) mirrorEntry(ctx context.Context, ino tree.Ino, e entry, origins []*dir, named map[string][]*dir) (removed bool, err error) {
	also, keep := named[e.name]
	known := true // all that it may come from can be looked into
	var subs []*dir
	defer func() { closeDirs(subs) }()
	for _, o := range origins {
		st, there := r.origin(o, e.name)
		if !there {
			continue
		}
		keep = true
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		sub, err := openOrigin(o, e.name)
		if err != nil {
			known = false
			continue
		}
		subs = append(subs, sub)
	}
	isDir := e.Type == unix.DT_DIR
	if keep {
		if from := slices.Concat(subs, also); isDir && known && len(from) > 0 {
			return false, r.mirrorDir(ctx, e.Ino, from, nil)
		}
		return false, nil
	}
	if isDir {
		return true, r.removeAll(ctx, ino, e.name, e.Ino)
	}
	if err := r.tree.Unlink(ctx, ino, e.name); err != nil {
		return false, onTree(err)
	}
	r.report.removed.Add(1)
	r.entryChanged(ino, e.name)
	return true, nil
}

// origin says whether a source directory has a name that is to be put. One that can't be looked at counts as there.
func (r *run) origin(d *dir, name string) (st unix.Stat_t, there bool) {
	if _, skip := r.skip[place{idOf(&d.stat), name}]; skip {
		return st, false
	}
	err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ENAMETOOLONG {
		return st, false
	}
	return st, !r.leftOut(d, name, st.Mode&unix.S_IFMT == unix.S_IFDIR)
}

func openOrigin(d *dir, name string) (*dir, error) {
	fd, err := openAt(d.fd, name, dirFlags)
	if err != nil {
		return nil, err
	}
	sub := &dir{parent: d, name: name, fd: fd}
	if err := unix.Fstat(fd, &sub.stat); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return sub, nil
}

func closeDirs(all []*dir) {
	for _, d := range all {
		unix.Close(d.fd)
	}
}
