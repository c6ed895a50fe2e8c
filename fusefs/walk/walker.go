package walk

import (
	"context"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// walkSource walks one source. There is one walk at a time; the readers work beside it.
func (r *run) walkSource(ctx context.Context, s source, target tree.Ino) error {
	d := &dir{name: s.above(), fd: s.fd, ino: target, keep: true}
	d.held.Store(1)
	if err := unix.Fstat(s.fd, &d.stat); err != nil {
		return r.judge(ctx, d.path, err)
	}
	if s.contents {
		// Listing moves the position of a descriptor, and the mirror pass needs the source's own.
		fd, err := openAt(s.fd, ".", dirFlags)
		if err != nil {
			return r.judge(ctx, d.path, err)
		}
		d.fd, d.root, d.keep = fd, true, false
		return r.walk(ctx, d)
	}
	var st unix.Stat_t
	err := unix.Fstatat(s.fd, s.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		var sub *dir
		if sub, err = r.enter(ctx, d, s.name); err == nil {
			sub.root = true
			return r.walk(ctx, sub)
		}
	}
	if err != nil {
		return r.judge(ctx, func() string { return s.path }, err)
	}
	return r.hand(ctx, d, s.name)
}

// walk goes through d, which it lets go of at its end: first the files of a batch, so that those of one
// directory lie together in the volume, then the directories.
func (r *run) walk(ctx context.Context, d *dir) error {
	r.report.dirs.Add(1)
	var stop error // what ends the run, unlike what list itself has
	err := list(d.fd, func(batch []found) error {
		stop = r.walkBatch(ctx, d, batch)
		return stop
	})
	if stop == nil {
		stop = r.judge(ctx, d.path, err)
	}
	if err := r.release(ctx, d); stop == nil {
		stop = err
	}
	return stop
}

func (r *run) walkBatch(ctx context.Context, d *dir, batch []found) error {
	var subs []string
	for _, f := range batch {
		isDir, err := r.isDir(d, f)
		if err != nil {
			r.report.problem(d.join(f.name), err)
			continue
		}
		if r.leftOut(d, f.name, isDir) {
			continue
		}
		if isDir {
			subs = append(subs, f.name)
			continue
		}
		if err := r.hand(ctx, d, f.name); err != nil {
			return err
		}
	}
	return r.walkAll(ctx, d, subs)
}

func (r *run) walkAll(ctx context.Context, d *dir, subs []string) error {
	for _, name := range subs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		sub, err := r.enter(ctx, d, name)
		if err != nil {
			if err := r.judge(ctx, func() string { return d.join(name) }, err); err != nil {
				return err
			}
			continue
		}
		if err := r.walk(ctx, sub); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) isDir(d *dir, f found) (bool, error) {
	if f.kind != unix.DT_UNKNOWN {
		return f.kind == unix.DT_DIR, nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, f.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// leftOut says whether a name is not to be put, without looking at it.
func (r *run) leftOut(d *dir, name string, isDir bool) bool {
	if len(r.skip) > 0 {
		if _, skip := r.skip[place{idOf(&d.stat), name}]; skip {
			return true
		}
	}
	return r.excludes.any() && r.excludes.match(d.below(name), isDir)
}

// hand gives a name to the readers.
func (r *run) hand(ctx context.Context, d *dir, name string) error {
	d.held.Add(1)
	select {
	case r.jobs <- job{d, name}:
		return nil
	case <-ctx.Done():
		d.held.Add(-1)
		return context.Cause(ctx)
	}
}
