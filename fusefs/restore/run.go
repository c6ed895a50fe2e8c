package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"coffer/fusefs/past"
)

// Run is one restore.
type Run struct {
	part   *past.Part
	state  *past.State
	o      Options
	dirs   dirs
	uid    uint32 // of this process
	report reporter
	piece  int64       // how much of a large file is one job
	linked bool        // a name was left to the second walk
	named  atomic.Bool // files can't be made without a name there, which is not tried again

	batches chan []*file
	jobs    chan job
}

// New prepares a restore of a part.
func New(part *past.Part, o Options) *Run {
	return &Run{
		part: part, state: part.State(), o: o, uid: uint32(os.Geteuid()), report: reporter{tell: o.Tell}, piece: pieceSize,
		batches: make(chan []*file), jobs: make(chan job),
	}
}

// Counts says how much has been done. It may be called at any time.
func (r *Run) Counts() Counts { return r.report.counts() }

// Do restores, once. An error means that it ended before its time: the destination is
// full, the store does not answer, ctx has ended. What is restored is on stable storage
// when it returns without one. Problems with single files are counted and told, and no
// error.
func (r *Run) Do(ctx context.Context) (err error) {
	root, err := r.openRoot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(root.fd)) }()
	r.dirs.limit = maxOpen
	defer r.dirs.close()
	if err := r.files(ctx, root); err != nil {
		return fmt.Errorf("restore into %s: %w", r.o.To, err)
	}
	if err := r.finish(ctx, root); err != nil {
		return fmt.Errorf("restore into %s: %w", r.o.To, err)
	}
	if err := unix.Syncfs(root.fd); err != nil {
		return fmt.Errorf("make what was restored into %s stable: %w", r.o.To, err)
	}
	return nil
}

// files makes all directories, and all files under the first of their names.
func (r *Run) files(ctx context.Context, root *dir) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		defer close(r.batches)
		return r.plan(ctx, root)
	})
	work.Go(func() error {
		defer close(r.jobs)
		return r.hand(ctx)
	})
	for range r.o.parallel() {
		work.Go(func() error {
			w := &writer{Run: r, buf: make([]byte, bufferSize)}
			for j := range r.jobs {
				if err := w.do(ctx, j); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return work.Wait()
}

// openRoot opens the destination, made if need be, and keeps other restores away from it.
func (r *Run) openRoot() (*dir, error) {
	d := &dir{name: r.o.To, ino: r.part.Root().Ino}
	switch err := unix.Mkdir(r.o.To, unfinished); {
	case err == nil:
		d.fresh = true
	case err != unix.EEXIST:
		return nil, fmt.Errorf("make %s: %w", r.o.To, err)
	}
	fd, err := unix.Open(r.o.To, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", r.o.To, err)
	}
	d.fd = fd
	// Not every file system can do that; then nobody is kept away.
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK {
		return nil, errors.Join(fmt.Errorf("restore into %s: %w", r.o.To, ErrBusy), unix.Close(fd))
	}
	if d.fresh {
		dropInherited(fd)
	}
	if err := d.look(fd); err != nil {
		return nil, errors.Join(fmt.Errorf("look into %s: %w", r.o.To, err), unix.Close(fd))
	}
	return d, nil
}

// judge takes down what went wrong with one name, and gives back what ends the run.
func (r *Run) judge(ctx context.Context, path func() string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var e *ending
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %w", path(), err)
	}
	if r.o.Away != nil && errors.Is(err, r.o.Away) {
		return err
	}
	r.report.problem(Problem{path(), err})
	return nil
}

// ending is an error of the destination that the next file would meet too.
type ending struct{ error }

func (e *ending) Unwrap() error { return e.error }

// written marks those among the errors of a system call on the destination.
func written(what string, err error) error {
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("%s: %w", what, err)
	for _, all := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.ENODEV, unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, all) {
			return &ending{wrapped}
		}
	}
	return wrapped
}
