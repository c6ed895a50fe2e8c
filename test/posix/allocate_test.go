package posix

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	keepSize = unix.FALLOC_FL_KEEP_SIZE
	punch    = unix.FALLOC_FL_PUNCH_HOLE | keepSize
	zero     = unix.FALLOC_FL_ZERO_RANGE
	collapse = unix.FALLOC_FL_COLLAPSE_RANGE
	insert   = unix.FALLOC_FL_INSERT_RANGE
)

// newFile opens a new file with contents for reading and writing.
func (w *world) newFile(path string, contents []byte) *file {
	w.Helper()
	f, err := w.root.open(path, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o644)
	w.ok(err)
	w.put(f, contents, 0)
	return f
}

func (w *world) put(f *file, p []byte, off int64) {
	w.Helper()
	n, err := f.pwrite(p, off)
	if err == nil && n != len(p) {
		err = fmt.Errorf("%s: wrote %d of %d bytes", f.name, n, len(p))
	}
	w.ok(err)
}

// holds says what a file holds.
func (w *world) holds(f *file, want []byte) {
	w.Helper()
	got := make([]byte, len(want)+1)
	n := 0
	for n < len(got) {
		k, err := f.pread(got[n:], int64(n))
		w.ok(err)
		if k == 0 {
			break
		}
		n += k
	}
	if n != len(want) {
		w.Errorf("%s has %d bytes, want %d", f.name, n, len(want))
	} else if at := firstDifference(got[:n], want); at >= 0 {
		w.Errorf("%s differs from byte %d: %x, want %x", f.name, at, got[at:min(at+8, n)], want[at:min(at+8, n)])
	}
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// pattern is n bytes, none of them zero, that tell where they belong.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i%251+i/251%5) | 1
	}
	return p
}

func testAllocate(w *world) {
	const block = 4096
	size := func(f *file) int64 {
		w.Helper()
		st, err := f.stat()
		w.ok(err)
		return st.Size
	}
	w.run("grow", func(w *world) {
		data := pattern(10000)
		f := w.newFile("f", data)
		defer f.close()
		w.touchesFiles(func() error { return f.fallocate(0, 0, 5000) }, []*file{f}, "f:mc")
		w.holds(f, data)
		w.ok(f.fallocate(0, 5000, 10000))
		data = append(data, make([]byte, 5000)...)
		w.holds(f, data)
		w.ok(f.fallocate(0, 20000, 1))
		data = append(data, make([]byte, 5001)...)
		w.holds(f, data)
		w.touchesFiles(func() error { return f.fallocate(keepSize, 0, 100000) }, []*file{f}, "f:mc")
		w.holds(f, data)
	})
	w.run("punch", func(w *world) {
		data := pattern(10 * block)
		f := w.newFile("f", data)
		defer f.close()
		for _, r := range [][2]int64{{block, block}, {3*block + 1, block}, {5*block - 1, 2}, {6 * block, 100}, {8*block + 10, 2*block - 10}, {9 * block, 100 * block}} {
			w.touchesFiles(func() error { return f.fallocate(punch, r[0], r[1]) }, []*file{f}, "f:mc")
			clear(data[r[0]:min(r[0]+r[1], int64(len(data)))])
			w.holds(f, data)
		}
		w.ok(f.fallocate(punch, 20*block, block))
		w.holds(f, data)
		w.want(f.fallocate(unix.FALLOC_FL_PUNCH_HOLE, 0, block), unix.EOPNOTSUPP, unix.EINVAL)
		// The room is given back.
		before, err := f.stat()
		w.ok(err)
		w.ok(f.sync(), f.fallocate(punch, 0, 10*block))
		after, err := f.stat()
		w.ok(err)
		w.check(after.Blocks < before.Blocks, "punched out, it has %d blocks, and had %d", after.Blocks, before.Blocks)
	})
	w.run("zero", func(w *world) {
		data := pattern(10 * block)
		f := w.newFile("f", data)
		defer f.close()
		if err := f.fallocate(zero, block, block); errnoOf(err) == unix.EOPNOTSUPP && w.place.name == "tmpfs" {
			return // which has not got it
		}
		clear(data[block : 2*block])
		w.holds(f, data)
		w.ok(f.fallocate(zero, 3*block+5, 10))
		clear(data[3*block+5:][:10])
		w.holds(f, data)
		w.ok(f.fallocate(zero|keepSize, 9*block, 5*block))
		clear(data[9*block:])
		w.holds(f, data)
		w.ok(f.fallocate(zero, 9*block, 5*block))
		data = append(data, make([]byte, 4*block)...)
		w.holds(f, data)
		w.touchesFiles(func() error { return f.fallocate(zero, 0, 10) }, []*file{f}, "f:mc")
	})
	w.run("collapse and insert", func(w *world) {
		data := pattern(10*block + 100)
		f := w.newFile("f", data)
		defer f.close()
		if err := f.fallocate(collapse, block, 2*block); errnoOf(err) == unix.EOPNOTSUPP && w.place.name != "ext4" {
			w.want(f.fallocate(insert, block, block), unix.EOPNOTSUPP)
			w.holds(f, data)
			return // a file system need not have them
		}
		data = append(data[:block:block], data[3*block:]...)
		w.holds(f, data)
		w.ok(f.fallocate(insert, 2*block, block))
		data = append(data[:2*block:2*block], append(make([]byte, block), data[2*block:]...)...)
		w.holds(f, data)
	})
	w.run("errors", func(w *world) {
		f := w.newFile("f", pattern(100))
		defer f.close()
		w.want(f.fallocate(0, -1, 10), unix.EINVAL)
		w.want(f.fallocate(0, 0, -1), unix.EINVAL)
		w.want(f.fallocate(0, 0, 0), unix.EINVAL)
		w.want(f.fallocate(punch, 0, 0), unix.EINVAL)
		w.want(f.fallocate(0, 1<<63-1, 1<<62), unix.EFBIG)
		w.want(f.fallocate(0, 1<<62, 1<<62+1<<61), unix.EFBIG)
		w.want(f.fallocate(0x8000, 0, 10), unix.EOPNOTSUPP)
		w.want(f.fallocate(punch|zero, 0, 10), unix.EOPNOTSUPP, unix.EINVAL)
		w.check(size(f) == 100, "errors made it %d bytes long", size(f))
		w.ok(w.root.mkdir("d", 0o755), w.root.mkfifo("p", 0o644))
		d, err := w.root.open("d", unix.O_RDONLY, 0)
		w.ok(err)
		defer d.close()
		w.want(d.fallocate(0, 0, 10), unix.EBADF)
		p, err := w.root.open("p", unix.O_RDWR, 0)
		w.ok(err)
		defer p.close()
		w.want(p.fallocate(0, 0, 10), unix.ESPIPE)
		a, err := w.root.open("f", unix.O_WRONLY|unix.O_APPEND, 0)
		w.ok(err)
		defer a.close()
		w.want(a.fallocate(0, 0, 200), 0)
		w.check(size(f) == 200, "fallocate of an appending handle made it %d bytes long", size(f))
		var fs unix.Statfs_t
		w.ok(w.root.call("fstatfs", func() error { return unix.Fstatfs(f.fd, &fs) }))
		for _, mode := range []uint32{0, keepSize} {
			w.want(f.fallocate(mode, 0, int64(fs.Blocks+1)*fs.Bsize), unix.ENOSPC)
			w.ok(f.truncate(0)) // as much as there was room for may have been given
		}
	})
}

// ranges are the stretches of data in a file, as SEEK_DATA and SEEK_HOLE tell.
func (w *world) ranges(f *file) (ranges [][2]int64) {
	w.Helper()
	pos := int64(0)
	for {
		data, err := f.seek(pos, unix.SEEK_DATA)
		if errnoOf(err) == unix.ENXIO {
			return ranges
		}
		w.ok(err)
		hole, err := f.seek(data, unix.SEEK_HOLE)
		w.ok(err)
		if data < pos || hole <= data {
			w.Fatalf("data at %d from %d, and a hole at %d", data, pos, hole)
		}
		ranges = append(ranges, [2]int64{data, hole})
		pos = hole
	}
}

func (w *world) wantRanges(f *file, want ...[2]int64) {
	w.Helper()
	if got := w.ranges(f); fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("%s has data at %v, want %v", f.name, got, want)
	}
}

func testHoles(w *world) {
	const block = 4096
	w.run("whole file", func(w *world) {
		f := w.newFile("f", pattern(3*block))
		defer f.close()
		w.wantRanges(f, [2]int64{0, 3 * block})
		for _, c := range []struct {
			off    int64
			whence int
			pos    int64
			err    unix.Errno
		}{
			{0, unix.SEEK_DATA, 0, 0}, {100, unix.SEEK_DATA, 100, 0}, {3*block - 1, unix.SEEK_DATA, 3*block - 1, 0},
			{3 * block, unix.SEEK_DATA, 0, unix.ENXIO}, {4 * block, unix.SEEK_DATA, 0, unix.ENXIO}, {-1, unix.SEEK_DATA, 0, unix.ENXIO},
			{0, unix.SEEK_HOLE, 3 * block, 0}, {100, unix.SEEK_HOLE, 3 * block, 0}, {3*block - 1, unix.SEEK_HOLE, 3 * block, 0},
			{3 * block, unix.SEEK_HOLE, 0, unix.ENXIO}, {4 * block, unix.SEEK_HOLE, 0, unix.ENXIO}, {-1, unix.SEEK_HOLE, 0, unix.ENXIO},
		} {
			pos, err := f.seek(c.off, c.whence)
			w.want(err, c.err)
			if c.err == 0 {
				w.check(pos == c.pos, "lseek %d %d: %d, want %d", c.off, c.whence, pos, c.pos)
				now, err := f.seek(0, unix.SEEK_CUR)
				w.check(err == nil && now == c.pos, "the position is %d, %v, want %d", now, err, c.pos)
			}
		}
	})
	w.run("empty", func(w *world) {
		f := w.newFile("f", nil)
		defer f.close()
		for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
			_, err := f.seek(0, whence)
			w.want(err, unix.ENXIO)
		}
		w.ok(f.truncate(10 * block))
		_, err := f.seek(0, unix.SEEK_DATA)
		w.want(err, unix.ENXIO)
		pos, err := f.seek(5, unix.SEEK_HOLE)
		w.check(err == nil && pos == 5, "the hole at 5 is at %d, %v", pos, err)
	})
	w.run("to the block", func(w *world) {
		f := w.newFile("f", nil)
		defer f.close()
		w.put(f, pattern(block), 2*block)
		w.put(f, pattern(block), 100*block)
		w.put(f, pattern(2*block), 4*block)
		w.ok(f.truncate(200 * block))
		want := [][2]int64{{2 * block, 3 * block}, {4 * block, 6 * block}, {100 * block, 101 * block}}
		w.wantRanges(f, want...)
		w.ok(f.sync())
		w.wantRanges(f, want...)
		w.ok(f.fallocate(punch, 5*block, block))
		w.wantRanges(f, [2]int64{2 * block, 3 * block}, [2]int64{4 * block, 5 * block}, [2]int64{100 * block, 101 * block})
		w.put(f, pattern(block), 3*block)
		w.ok(f.truncate(50 * block))
		w.wantRanges(f, [2]int64{2 * block, 5 * block})
		pos, err := f.seek(10*block, unix.SEEK_HOLE)
		w.check(err == nil && pos == 10*block, "the hole is at %d, %v", pos, err)
	})
	w.run("within blocks", func(w *world) {
		// A piece of a block may count as the whole of it, but nothing more may.
		f := w.newFile("f", nil)
		defer f.close()
		w.put(f, []byte("x"), 10*block+100)
		w.ok(f.truncate(20 * block))
		got := w.ranges(f)
		w.check(len(got) == 1 && got[0][0] >= 10*block && got[0][0] <= 10*block+100 && got[0][1] > 10*block+100 && got[0][1] <= 11*block,
			"a byte in block 10 is data at %v", got)
	})
	w.run("beyond 4 TiB", func(w *world) {
		f := w.newFile("f", nil)
		defer f.close()
		const far = 5 << 40
		data := pattern(3 * block)
		w.put(f, data, far)
		w.put(f, data, 1<<32-block)
		w.put(f, data, 0)
		st, err := f.stat()
		w.ok(err)
		w.check(st.Size == far+3*block, "it has %d bytes", st.Size)
		w.check(st.Blocks*512 < 1<<20, "a sparse file takes %d blocks", st.Blocks)
		buf := make([]byte, 3*block)
		for _, off := range []int64{far, 1<<32 - block, 0} {
			n, err := f.pread(buf, off)
			w.check(err == nil && n == len(buf) && bytes.Equal(buf, data), "at %d: %d, %v", off, n, err)
		}
		n, err := f.pread(buf, far-5*block)
		w.check(err == nil && n == len(buf) && bytes.Equal(buf, make([]byte, len(buf))), "a hole reads %x…, %v", buf[:4], err)
		w.wantRanges(f, [2]int64{0, 3 * block}, [2]int64{1<<32 - block, 1<<32 + 2*block}, [2]int64{far, far + 3*block})
		w.ok(f.truncate(8 << 40))
		w.wantRanges(f, [2]int64{0, 3 * block}, [2]int64{1<<32 - block, 1<<32 + 2*block}, [2]int64{far, far + 3*block})
		w.ok(f.truncate(far + block))
		w.wantRanges(f, [2]int64{0, 3 * block}, [2]int64{1<<32 - block, 1<<32 + 2*block}, [2]int64{far, far + block})
	})
	w.run("blocks", func(w *world) {
		if w.place.writeback {
			return // the kernel tells what it was told before
		}
		f := w.newFile("f", nil)
		defer f.close()
		blocks := func() int64 {
			st, err := f.stat()
			w.ok(err)
			return st.Blocks
		}
		w.put(f, pattern(64*block), 0)
		w.ok(f.sync())
		full := blocks()
		w.check(full*512 >= 64*block && full*512 < 70*block, "%d bytes take %d blocks", 64*block, full)
		w.ok(f.truncate(1 << 40))
		w.check(blocks() == full, "a hole at the end takes %d blocks more", blocks()-full)
		w.ok(f.truncate(10 * block))
		w.check(blocks()*512 >= 10*block && blocks()*512 < 16*block, "cut to 10 blocks it takes %d bytes", blocks()*512)
		w.ok(f.truncate(0))
		w.check(blocks() == 0, "empty it takes %d blocks", blocks())
	})
}
