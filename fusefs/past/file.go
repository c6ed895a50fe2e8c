package past

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// readahead is how many bytes are fetched ahead of a sequential reader.
const readahead = 4 << 20

// File is an open regular file of a State. It holds no resources. Methods are safe
// for concurrent use.
type File struct {
	s    *State
	ino  chunkfmt.Ino
	size int64

	next  atomic.Int64 // where the last read ended
	ahead atomic.Int64 // up to where was fetched ahead
}

// Open opens a regular file.
func (s *State) Open(ino chunkfmt.Ino) (*File, error) {
	f, _, err := s.open(ino)
	return f, err
}

// open gives the file's attributes too.
func (s *State) open(ino chunkfmt.Ino) (*File, chunkfmt.Inode, error) {
	i, err := s.Inode(ino)
	if err != nil {
		return nil, i, err
	}
	switch i.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return &File{s: s, ino: ino, size: int64(i.Size)}, i, nil
	case unix.S_IFDIR:
		return nil, i, unix.EISDIR
	case unix.S_IFLNK:
		return nil, i, unix.ELOOP
	}
	return nil, i, unix.ENXIO
}

// Size is the length of the file in bytes.
func (f *File) Size() int64 { return f.size }

// Extents gives the data within [off, off+n), clipped to it and to the file,
// ascending. What it leaves out are holes.
func (f *File) Extents(off, n int64, out []chunkfmt.Extent) ([]chunkfmt.Extent, error) {
	end := f.size
	if n < f.size-off {
		end = off + n
	}
	if off < 0 || off >= end {
		return out, nil
	}
	err := f.s.r.Extents(f.ino, uint64(off), uint64(end-off), func(x chunkfmt.Extent) bool {
		if x.Group != 0 {
			out = append(out, x)
		}
		return true
	})
	if err != nil {
		return nil, failed(err)
	}
	return out, nil
}

// Read fills p from off. It returns less than len(p) only at the end of the file,
// without an error. A group that is damaged is EIO.
func (f *File) Read(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, unix.EINVAL
	}
	if off >= f.size || len(p) == 0 {
		return 0, nil
	}
	p = p[:min(int64(len(p)), f.size-off)]
	var few, fewAhead [8]chunkfmt.Extent
	parts, err := f.Extents(off, int64(len(p)), few[:0])
	if err != nil {
		return 0, err
	}
	if len(parts) > 1 {
		f.prefetch(parts[1:])
	}
	pos := uint64(off)
	for _, x := range parts {
		clear(p[pos-uint64(off) : x.Offset-uint64(off)])
		pos = x.End()
		if err := f.s.groups.ReadAt(ctx, x.Group, p[x.Offset-uint64(off):pos-uint64(off)], x.GroupOffset); err != nil {
			return 0, fmt.Errorf("%w: read inode %d at %d: %w", unix.EIO, f.ino, x.Offset, err)
		}
	}
	clear(p[pos-uint64(off):])
	end := off + int64(len(p))
	if to := f.fetchAhead(off, end); to > 0 {
		// A favour: what goes wrong shows when it is read.
		ahead, _ := f.Extents(end, to-end, fewAhead[:0])
		f.prefetch(ahead)
	}
	return len(p), nil
}

// ReadExtents fills p with the bytes of extents that adjoin, are as long as p together
// and were given by Extents. A group that is damaged is EIO.
func (f *File) ReadExtents(ctx context.Context, parts []chunkfmt.Extent, p []byte) error {
	for _, x := range parts {
		if err := f.s.groups.ReadAt(ctx, x.Group, p[:x.Length], x.GroupOffset); err != nil {
			return fmt.Errorf("%w: read inode %d at %d: %w", unix.EIO, f.ino, x.Offset, err)
		}
		p = p[x.Length:]
	}
	return nil
}

// Check reads what lies within [off, off+n) and keeps nothing of it. A group that is
// damaged is EIO.
func (f *File) Check(ctx context.Context, off, n int64) error {
	var few [64]chunkfmt.Extent
	parts, err := f.Extents(off, n, few[:0])
	if err != nil {
		return err
	}
	for _, x := range parts {
		if err := f.s.groups.ReadAt(ctx, x.Group, nil, x.GroupOffset); err != nil {
			return fmt.Errorf("%w: read inode %d at %d: %w", unix.EIO, f.ino, x.Offset, err)
		}
	}
	return nil
}

// fetchAhead notes a read and says up to where to fetch beyond its end, or 0. It is
// done in steps of half the window.
func (f *File) fetchAhead(off, end int64) int64 {
	sequential := f.next.Swap(end) == off
	if end >= f.size {
		return 0
	}
	if !sequential {
		f.ahead.Store(0)
		return 0
	}
	to := min(end+readahead, f.size)
	if f.ahead.Load() >= min(end+readahead/2, f.size) {
		return 0
	}
	f.ahead.Store(to)
	return to
}

func (f *File) prefetch(parts []chunkfmt.Extent) {
	var few [16]chunkfmt.Seq
	groups := few[:0]
	for _, x := range parts {
		if len(groups) == 0 || groups[len(groups)-1] != x.Group {
			groups = append(groups, x.Group)
		}
	}
	if len(groups) > 0 {
		f.s.groups.Prefetch(groups...)
	}
}

// Seek finds the next data (unix.SEEK_DATA) or hole (unix.SEEK_HOLE) from off. ENXIO
// beyond the end, or when no data follows.
func (f *File) Seek(off int64, whence int) (int64, error) {
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, unix.EINVAL
	}
	if off < 0 || off >= f.size {
		return 0, unix.ENXIO
	}
	var few [8]chunkfmt.Extent
	pos := off
	for step := int64(64 << 20); pos < f.size; step *= 2 {
		end := f.size
		if step < f.size-pos {
			end = pos + step
		}
		parts, err := f.Extents(pos, end-pos, few[:0])
		if err != nil {
			return 0, err
		}
		for _, x := range parts {
			if whence == unix.SEEK_DATA {
				return int64(x.Offset), nil
			}
			if int64(x.Offset) > pos {
				return pos, nil
			}
			pos = int64(x.End())
		}
		if whence == unix.SEEK_HOLE && pos < end {
			return pos, nil
		}
		pos = end
	}
	if whence == unix.SEEK_DATA {
		return 0, unix.ENXIO
	}
	return f.size, nil
}
