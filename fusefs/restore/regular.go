package restore

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

const (
	// bufferSize is the most that is written at a time.
	bufferSize = 256 << 10
	// pieceSize is how much of a large file one writer writes.
	pieceSize = 8 << 20
)

// writer does jobs, one at a time.
type writer struct {
	*Run
	buf []byte
}

func (w *writer) do(ctx context.Context, j job) error {
	if p := j.piece; p != nil {
		if err := w.write(ctx, p.of, p.off, p.end); err != nil {
			p.of.fail(err)
		}
		return w.finished(ctx, p.of)
	}
	for _, f := range j.files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := w.judge(ctx, f.path, w.file(ctx, f)); err != nil {
			return err
		}
	}
	return nil
}

// file restores all of a file.
func (w *writer) file(ctx context.Context, f *file) error {
	kept, err := w.keep(f)
	if err != nil || kept {
		return err
	}
	if f.Mode&unix.S_IFMT != unix.S_IFREG {
		return w.special(f)
	}
	g, err := w.begin(f)
	if err != nil {
		return err
	}
	err = w.write(ctx, g, 0, int64(f.Size))
	return g.end(err)
}

// keep looks at what is there already: true if that is what is to be restored.
func (r *Run) keep(f *file) (bool, error) {
	there, err := r.there(f.in, f.name, f.ino, &f.Inode)
	switch {
	case err != nil:
		return false, err
	case there == complete:
		r.report.there.Add(1)
		if f.Mode&unix.S_IFMT == unix.S_IFREG {
			r.report.kept.Add(f.Size)
		}
		return true, nil
	case there == other && !r.o.Overwrite:
		return false, ErrThere
	}
	return false, nil
}

// growing is a regular file that is being written.
type growing struct {
	*draft
	file *file
	data *past.File

	whole  atomic.Bool  // its last byte was written, so it has its length
	left   atomic.Int64 // pieces that are not written, and one until all are handed out
	failed atomic.Pointer[error]
}

func (g *growing) fail(err error) { g.failed.CompareAndSwap(nil, &err) }

func (r *Run) begin(f *file) (*growing, error) {
	data, err := r.state.Open(f.ino)
	if err != nil {
		return nil, err
	}
	d, err := r.draft(f.in, nil)
	if err != nil {
		return nil, err
	}
	return &growing{draft: d, file: f, data: data}, nil
}

// end gives the file its attributes and its name, if all went well.
func (g *growing) end(err error) error {
	if err == nil && g.file.Size > 0 && !g.whole.Load() {
		err = written("set the length", unix.Ftruncate(g.fd, int64(g.file.Size)))
	}
	if err == nil {
		err = g.r.settle(target{fd: g.fd}, g.file.ino, &g.file.Inode)
	}
	if err == nil {
		err = g.place(g.file.name)
	}
	if err == nil {
		g.r.report.files.Add(1)
	}
	return errors.Join(err, g.drop())
}

// write writes what lies within [off, end) of a file. Holes stay holes.
func (w *writer) write(ctx context.Context, g *growing, off, end int64) error {
	var few [16]chunkfmt.Extent
	for off < end {
		if g.failed.Load() != nil {
			return nil // whatever else is written is in vain
		}
		next := min(off+bufferSize, end)
		parts, err := g.data.Extents(off, next-off, few[:0])
		if err != nil {
			return err
		}
		for len(parts) > 0 {
			n := adjoining(parts)
			from := int64(parts[0].Offset)
			p := w.buf[:int64(parts[n-1].End())-from]
			if err := g.data.ReadExtents(ctx, parts[:n], p); err != nil {
				return err
			}
			if err := pwrite(g.fd, p, from); err != nil {
				return written("write the file", err)
			}
			parts = parts[n:]
			if from+int64(len(p)) == int64(g.file.Size) {
				g.whole.Store(true)
			}
		}
		w.report.bytes.Add(uint64(next - off))
		off = next
	}
	return nil
}

// adjoining is how many extents follow each other without a hole.
func adjoining(parts []chunkfmt.Extent) int {
	n := 1
	for n < len(parts) && parts[n].Offset == parts[n-1].End() {
		n++
	}
	return n
}

func pwrite(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// piece is a part of a large file for one writer.
type piece struct {
	of       *growing
	off, end int64
}

// cut begins a large file and hands it out in pieces. Large holes are passed over.
func (r *Run) cut(ctx context.Context, f *file) error {
	kept, err := r.keep(f)
	if err != nil || kept {
		return err
	}
	g, err := r.begin(f)
	if err != nil {
		return err
	}
	g.left.Store(1)
	for off := int64(0); off < int64(f.Size) && g.failed.Load() == nil; {
		data, err := g.data.Seek(off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			r.report.bytes.Add(f.Size - uint64(off))
			break
		}
		if err != nil {
			g.fail(err)
			break
		}
		r.report.bytes.Add(uint64(data - off))
		off = min(data+r.piece, int64(f.Size))
		g.left.Add(1)
		if err := r.send(ctx, job{piece: &piece{g, data, off}}); err != nil {
			g.fail(err)
			g.left.Add(-1)
			break
		}
	}
	return r.finished(ctx, g)
}

// finished is called when a piece was written, or none is left to hand out. The last
// call ends the file.
func (r *Run) finished(ctx context.Context, g *growing) error {
	if g.left.Add(-1) > 0 {
		return nil
	}
	var err error
	if failed := g.failed.Load(); failed != nil {
		err = *failed
	}
	return r.judge(ctx, g.file.path, g.end(err))
}
