package history

import (
	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

// window is how much of two files is compared at a time, so that memory is bounded.
const window = 64 << 20

// differingBytes counts the bytes of two files that lie at other places of the log, or
// that only one of them has. Holes are like holes.
func differingBytes(a, b *past.File) (n uint64, err error) {
	var xs, ys []chunkfmt.Extent
	common := min(a.Size(), b.Size())
	for off := int64(0); off < common; off += window {
		length := min(window, common-off)
		if xs, err = a.Extents(off, length, xs[:0]); err != nil {
			return 0, err
		}
		if ys, err = b.Extents(off, length, ys[:0]); err != nil {
			return 0, err
		}
		n += differing(xs, ys, uint64(off), uint64(off+length))
	}
	return n + uint64(max(a.Size(), b.Size())-common), nil
}

// differing compares the extents of [from, to).
func differing(xs, ys []chunkfmt.Extent, from, to uint64) (n uint64) {
	for from < to {
		xs, ys = after(xs, from), after(ys, from)
		x, xEnd := at(xs, from, to)
		y, yEnd := at(ys, from, to)
		end := min(xEnd, yEnd)
		if x != y {
			n += end - from
		}
		from = end
	}
	return n
}

// place is where a byte lies; the zero place is a hole.
type place struct {
	group  chunkfmt.Seq
	offset uint64
}

// after leaves out the extents that end at or before off.
func after(xs []chunkfmt.Extent, off uint64) []chunkfmt.Extent {
	for len(xs) > 0 && xs[0].End() <= off {
		xs = xs[1:]
	}
	return xs
}

// at says where the byte at off lies, and up to where those after it follow.
func at(xs []chunkfmt.Extent, off, to uint64) (place, uint64) {
	if len(xs) == 0 {
		return place{}, to
	}
	if x := xs[0]; x.Offset <= off {
		return place{x.Group, uint64(x.GroupOffset) + off - x.Offset}, min(x.End(), to)
	}
	return place{}, min(xs[0].Offset, to)
}

// dataOf opens a regular file.
func dataOf(s *past.State, e *past.Entry) (*past.File, error) {
	if e.Mode&unix.S_IFMT != unix.S_IFREG {
		return &past.File{}, nil // which is empty
	}
	return s.Open(e.Ino)
}
