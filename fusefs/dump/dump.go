package dump

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

// Options of a dump. The zero value is a good one.
type Options struct {
	// Away is what reads say when the store does not answer any more, which ends the
	// dump; nil: no read says that.
	Away error
	// Tell is told of each file that is left out, by one goroutine; nil: nobody is.
	Tell func(Problem)
}

// Counts is how much was written.
type Counts struct {
	Files    uint64 // names, directories too
	Bytes    uint64 // of regular files, holes included
	Sockets  uint64 // which a tar can't hold
	Problems uint64 // names that were left out
}

// Problem is a name that was left out.
type Problem struct {
	Path string // from the root of the part, with a slash in front
	Err  error
}

// Error says which name and why.
func (p *Problem) Error() string { return fmt.Sprintf("dump %s: %v", p.Path, p.Err) }

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.Err }

// ErrLinked: the file that a name is to be a link to was left out.
var ErrLinked = errors.New("the file that it is another name of was left out")

const (
	// ahead is how many files are prepared before they are written.
	ahead = 32
	// keptSize is the largest file whose content is kept until it is written.
	keptSize = 256 << 10
	// bufferSize is how much of a larger one is read at a time.
	bufferSize = 1 << 20
)

// Write writes a part to out. An error means that out has no whole tar.
func Write(ctx context.Context, out io.Writer, part *past.Part, o Options) (Counts, error) {
	d := &dumper{
		part: part, state: part.State(), o: o, out: bufio.NewWriterSize(out, bufferSize),
		failed: map[chunkfmt.Ino]bool{},
	}
	work, ctx := errgroup.WithContext(ctx)
	queue, todo := make(chan *item, ahead), make(chan *item)
	work.Go(func() error {
		defer close(queue)
		defer close(todo)
		w := &walker{dumper: d, queue: queue, todo: todo}
		return w.dir(ctx, part.Root(), ".")
	})
	for range max(4, 2*runtime.GOMAXPROCS(0)) {
		work.Go(func() error {
			for it := range todo {
				it.err = d.prepare(ctx, it)
				close(it.ready)
			}
			return nil
		})
	}
	work.Go(func() error { return d.write(ctx, queue) })
	if err := work.Wait(); err != nil {
		return d.counts, err
	}
	if _, err := d.out.Write(make([]byte, 2*blockSize)); err != nil {
		return d.counts, err
	}
	return d.counts, d.out.Flush()
}

type dumper struct {
	part  *past.Part
	state *past.State
	o     Options
	out   *bufio.Writer

	// Of the goroutine that writes.
	counts Counts
	failed map[chunkfmt.Ino]bool // files with several names that were left out
}

// item is a name on its way.
type item struct {
	name string // in the tar
	in   past.Dir
	past.Child

	ready chan struct{} // closed when what follows is known
	err   error
	chunkfmt.Inode
	head    header
	data    *past.File // of a large file
	parts   []segment  // of its data
	content []byte     // of a small file
}

// path is where it is in the part.
func (it *item) path() string { return "/" + strings.Trim(strings.TrimPrefix(it.name, "."), "/") }

// walker queues all names in the order of the tar, and hands them out to be prepared.
type walker struct {
	*dumper
	queue, todo chan<- *item
}

// dir queues a directory and what is in it. Its root has no entry that names it.
func (w *walker) dir(ctx context.Context, d past.Dir, name string) error {
	self := &item{name: name + "/", ready: make(chan struct{})}
	self.Ino, self.Type = d.Ino, unix.DT_DIR
	if err := w.send(ctx, self); err != nil {
		return err
	}
	return w.part.Each(ctx, d, func(c past.Child) error {
		at := name + "/" + c.Name
		if c.Type == unix.DT_DIR {
			return w.dir(ctx, c.Dir(), at)
		}
		return w.send(ctx, &item{name: at, in: d, Child: c, ready: make(chan struct{})})
	})
}

func (w *walker) send(ctx context.Context, it *item) error {
	for _, to := range []chan<- *item{w.queue, w.todo} {
		select {
		case to <- it:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// write writes what was queued.
func (d *dumper) write(ctx context.Context, queue <-chan *item) error {
	for it := range queue {
		select {
		case <-it.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if it.err == nil && it.head.kind == kindLink && d.failed[it.Ino] {
			it.err = ErrLinked
		}
		if it.err != nil {
			if err := d.leaveOut(ctx, it); err != nil {
				return err
			}
			continue
		}
		if it.Mode&unix.S_IFMT == unix.S_IFSOCK {
			d.counts.Sockets++
			continue
		}
		if err := d.entry(ctx, it); err != nil {
			return fmt.Errorf("%s: %w", it.path(), err)
		}
	}
	return nil
}

// leaveOut takes down why a name is not in the tar, and gives back what ends it.
func (d *dumper) leaveOut(ctx context.Context, it *item) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d.o.Away != nil && errors.Is(it.err, d.o.Away) {
		return it.err
	}
	d.counts.Problems++
	if it.Nlink > 1 {
		d.failed[it.Ino] = true
	}
	if d.o.Tell != nil {
		d.o.Tell(Problem{it.path(), it.err})
	}
	return nil
}

// entry writes a header and what belongs to it.
func (d *dumper) entry(ctx context.Context, it *item) error {
	if _, err := d.out.Write(it.head.append(nil)); err != nil {
		return err
	}
	d.counts.Files++
	if it.head.kind != kindFile {
		return nil
	}
	d.counts.Bytes += it.Size
	if it.head.sparse() {
		if _, err := d.out.Write(appendMap(nil, it.parts)); err != nil {
			return err
		}
	}
	n, err := d.data(ctx, it)
	if err != nil {
		return err
	}
	_, err = d.out.Write(make([]byte, padding(n)))
	return err
}

// data writes the content of a file, and says how much it was.
func (d *dumper) data(ctx context.Context, it *item) (n int64, err error) {
	if it.data == nil {
		_, err := d.out.Write(it.content)
		return int64(len(it.content)), err
	}
	buf := make([]byte, bufferSize)
	for _, part := range it.parts {
		for off, end := part.off, part.off+part.n; off < end; {
			p := buf[:min(bufferSize, end-off)]
			// It has been read before: if it can't be now, the tar ends here.
			got, err := it.data.Read(ctx, p, off)
			if err == nil && got < len(p) {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return n, err
			}
			if _, err := d.out.Write(p); err != nil {
				return n, err
			}
			off, n = off+int64(got), n+int64(got)
		}
	}
	return n, nil
}
