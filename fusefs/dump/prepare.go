package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

// prepare finds out all that an entry needs, and proves that its content can be read.
func (d *dumper) prepare(ctx context.Context, it *item) (err error) {
	if it.Inode, err = d.state.Inode(it.Ino); err != nil {
		return err
	}
	kind, ok := map[uint32]byte{
		unix.S_IFREG: kindFile, unix.S_IFLNK: kindSymlink, unix.S_IFCHR: kindChar, unix.S_IFBLK: kindBlock,
		unix.S_IFDIR: kindDir, unix.S_IFIFO: kindFIFO, unix.S_IFSOCK: 0,
	}[it.Mode&unix.S_IFMT]
	if !ok {
		return fmt.Errorf("a file of mode %o: %w", it.Mode, unix.EIO)
	}
	it.head = header{
		name: it.name, target: it.Target, kind: kind, mode: it.Mode & 0o7777, uid: it.Uid, gid: it.Gid,
		mtime: it.Mtime, atime: it.Atime, major: unix.Major(uint64(it.Rdev)), minor: unix.Minor(uint64(it.Rdev)),
	}
	if kind != kindDir && it.Nlink > 1 {
		first, err := d.part.First(it.Ino)
		if err != nil {
			return err
		}
		if first.Link != (past.Link{Parent: it.in.Ino, Name: it.Name}) {
			it.head.kind, it.head.target = kindLink, "./"+strings.Join(first.Names, "/")
			return nil
		}
	}
	xattrs, err := d.state.Xattrs(it.Ino)
	if err != nil {
		return err
	}
	if kind == kindFile {
		if err := d.content(ctx, it); err != nil {
			return err
		}
	}
	for _, x := range xattrs {
		if !past.IsOwn(x.Name) {
			it.head.records = append(it.head.records, xattrRecords(x.Name, x.Value)...)
		}
	}
	return nil
}

// content reads a file, and says how it stands in the tar.
func (d *dumper) content(ctx context.Context, it *item) error {
	f, err := d.state.Open(it.Ino)
	if err != nil {
		return err
	}
	it.head.size = int64(it.Size)
	if it.parts, err = segments(f, maxSegments); err != nil {
		return err
	}
	data := int64(0)
	for _, s := range it.parts {
		data += s.n
	}
	table := int64(len(appendMap(nil, it.parts))) + blockSize
	if data+table < f.Size() {
		if n := len(it.parts); n == 0 || it.parts[n-1].off+it.parts[n-1].n < f.Size() {
			it.parts = append(it.parts, segment{f.Size(), 0}) // who reads it learns where the file ends
		}
		table = int64(len(appendMap(nil, it.parts)))
		it.head.size = data + table
		it.head.records = []record{
			{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"},
			{"GNU.sparse.name", it.name}, {"GNU.sparse.realsize", strconv.FormatInt(f.Size(), 10)},
		}
		it.head.name = sparseName(it.name)
	} else if data = f.Size(); data > 0 {
		it.parts = []segment{{0, data}}
	}
	if data > keptSize {
		it.data = f
		return check(ctx, f)
	}
	it.content = make([]byte, data)
	p := it.content
	for _, s := range it.parts {
		n, err := f.Read(ctx, p[:s.n], s.off)
		if err == nil && int64(n) < s.n {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// sparseName is what programs see that don't know of the map.
func sparseName(name string) string {
	i := strings.LastIndexByte(name, '/')
	return name[:i+1] + "GNUSparseFile.0/" + name[i+1:]
}

// check reads all of a file, and keeps nothing.
func check(ctx context.Context, f *past.File) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	const step = 8 << 20
	for off := int64(0); off < f.Size() && ctx.Err() == nil; off += step {
		data, err := f.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return errors.Join(err, work.Wait())
		}
		off = max(off, data/step*step)
		work.Go(func() error { return f.Check(ctx, off, step) })
	}
	return work.Wait()
}

// segment is a range of data.
type segment struct{ off, n int64 }

// maxSegments bounds the map of a sparse file.
const maxSegments = 1 << 16

// segments finds the data of a file, as at most so many ranges: where there are more, the
// smaller holes count as data.
func segments(f *past.File, most int) ([]segment, error) {
	const window = 64 << 20
	var all []segment
	var few [64]chunkfmt.Extent
	smallest := int64(1) // the smallest hole that counts
	for off := int64(0); off < f.Size(); {
		data, err := f.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return nil, err
		}
		parts, err := f.Extents(data, window, few[:0])
		if err != nil {
			return nil, err
		}
		for _, x := range parts {
			all = join(all, inBlocks(&x, f.Size()), smallest)
		}
		for len(all) > most {
			smallest *= 2
			apart := all
			all = all[:0]
			for _, s := range apart {
				all = join(all, s, smallest)
			}
		}
		off = data + window
	}
	return all, nil
}

// inBlocks widens a range to whole blocks, as far as the file reaches: readers differ in
// what they take for the place of data behind a part of a block.
func inBlocks(x *chunkfmt.Extent, size int64) segment {
	from := int64(x.Offset) / blockSize * blockSize
	end := int64(x.End())
	return segment{from, min(end+padding(end), size) - from}
}

// join adds a segment behind the others.
func join(all []segment, s segment, smallest int64) []segment {
	if n := len(all); n > 0 && s.off-(all[n-1].off+all[n-1].n) < smallest {
		all[n-1].n = s.off + s.n - all[n-1].off
		return all
	}
	return append(all, s)
}

// appendMap appends the map of a sparse file: the number of segments, then offset and
// length of each, a line each, and zeros to the end of the block.
func appendMap(dst []byte, parts []segment) []byte {
	number := func(n int64) { dst = append(strconv.AppendInt(dst, n, 10), '\n') }
	number(int64(len(parts)))
	for _, s := range parts {
		number(s.off)
		number(s.n)
	}
	return slices.Concat(dst, make([]byte, padding(int64(len(dst)))))
}
