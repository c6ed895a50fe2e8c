package walk

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// run is one Put.
type run struct {
	tree     Tree
	opts     *Options
	excludes excludes
	skip     map[place]struct{}
	links    links
	report   reporter
	jobs     chan job
	temp     temporary
}

// place is a name in a directory of this machine.
type place struct {
	dir  fileID
	name string
}

// job is a name to be put that is no directory, as far as is known.
type job struct {
	dir  *dir
	name string
}

// queue is how many jobs the walk may be ahead of the readers.
const queue = 256

// Put brings the tree below Options.Target in line with the sources. tell, which may be nil, is told how far
// it is, from several goroutines but never from two at a time; it must not wait long.
//
// An error of a source is no error of Put: see Result.Problems and Result.Err. Put fails when a source isn't
// there at all, when the target can't be, when the tree fails, and when ctx ends; what was put by then stays.
func Put(ctx context.Context, t Tree, o Options, tell func(Progress)) (Result, error) {
	r := &run{
		tree:  t,
		opts:  &o,
		links: links{met: map[fileID]*link{}},
		jobs:  make(chan job, queue),
	}
	r.report.tell = tell
	err := r.put(ctx)
	return r.report.result(), err
}

func (r *run) put(ctx context.Context) error {
	var err error
	if r.excludes, err = newExcludes(r.opts.Exclude, r.opts.ExcludeFiles); err != nil {
		return err
	}
	r.skip = places(r.opts.Skip)
	sources, err := openSources(r.opts.Sources)
	defer closeSources(sources)
	if err != nil {
		return err
	}
	target, err := r.makeTarget(ctx)
	if err != nil {
		return err
	}

	work, working := errgroup.WithContext(ctx)
	work.Go(func() error {
		defer close(r.jobs)
		for _, s := range sources {
			if err := r.walkSource(working, s, target); err != nil {
				return err
			}
		}
		return nil
	})
	for range r.opts.parallel() {
		work.Go(func() error { return newReader(r).work(working) })
	}
	if err := work.Wait(); err != nil || !r.opts.Delete {
		return err
	}
	return r.mirror(ctx, sources, target)
}

// makeTarget finds the target directory, and makes what is missing of it.
func (r *run) makeTarget(ctx context.Context) (tree.Ino, error) {
	at := tree.RootIno
	for name := range strings.SplitSeq(r.opts.Target, "/") {
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			return 0, fmt.Errorf("target %s: %w", r.opts.Target, ErrTarget)
		}
		e, err := r.tree.Lookup(ctx, at, name)
		if errors.Is(err, unix.ENOENT) {
			e, err = r.tree.Mkdir(ctx, tree.Caller{Uid: r.opts.Uid, Gid: r.opts.Gid}, at, name, 0o755)
			r.entryChanged(at, name)
		}
		if err != nil {
			return 0, fmt.Errorf("target %s: %w", r.opts.Target, err)
		}
		if e.Attr.Mode&unix.S_IFMT != unix.S_IFDIR {
			return 0, fmt.Errorf("target %s: %w", r.opts.Target, ErrTarget)
		}
		at = e.Ino
	}
	return at, nil
}

// judge sorts an error: one of the tree ends the run, one of a source is taken down. A run that is called off ends.
func (r *run) judge(ctx context.Context, path func() string, err error) error {
	if err == nil {
		return nil
	}
	var fatal *treeError
	if errors.As(err, &fatal) {
		return fmt.Errorf("put %s: %w", path(), err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.report.problem(path(), err)
	return nil
}

func (r *run) entryChanged(parent tree.Ino, name string) {
	if r.opts.Kernel != nil {
		r.opts.Kernel.EntryChanged(parent, name)
	}
}

func (r *run) inodeChanged(ino tree.Ino) {
	if r.opts.Kernel != nil {
		r.opts.Kernel.InodeChanged(ino)
	}
}

// places resolves the paths that are not to be looked at, by looking at the directories above them only.
func places(paths []string) map[place]struct{} {
	skip := map[place]struct{}{}
	for _, path := range paths {
		var st unix.Stat_t
		if unix.Stat(filepath.Dir(path), &st) == nil {
			skip[place{idOf(&st), filepath.Base(path)}] = struct{}{}
		}
	}
	return skip
}
