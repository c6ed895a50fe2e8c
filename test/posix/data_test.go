package posix

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

func testData(w *world) {
	w.run("read and write", func(w *world) {
		data := pattern(300_000)
		f := w.newFile("f", data)
		defer f.close()
		w.holds(f, data)
		n, err := f.pread(make([]byte, 10), int64(len(data)))
		w.check(n == 0 && err == nil, "read at the end: %d, %v", n, err)
		n, err = f.pread(make([]byte, 10), 1<<40)
		w.check(n == 0 && err == nil, "read beyond the end: %d, %v", n, err)
		_, err = f.pread(make([]byte, 10), -1)
		w.want(err, unix.EINVAL)
		_, err = f.pwrite([]byte("x"), -1)
		w.want(err, unix.EINVAL)
		n, err = f.pwrite(nil, 10)
		w.check(n == 0 && err == nil, "write of nothing: %d, %v", n, err)
		w.touchesFiles(func() error { _, err := f.pwrite([]byte("x"), 5); return err }, []*file{f}, "f:mc")
		w.touchesFiles(func() error { _, err := f.pwrite([]byte("x"), 400_000); return err }, []*file{f}, "f:mc")
		data[5] = 'x'
		data = append(append(data, make([]byte, 100_000)...), 'x')
		w.holds(f, data)
		_, err = f.seek(-1, unix.SEEK_SET)
		w.want(err, unix.EINVAL)
		_, err = f.seek(0, 99)
		w.want(err, unix.EINVAL)
		pos, err := f.seek(-1, unix.SEEK_END)
		w.check(err == nil && pos == 400_000, "the last byte is at %d, %v", pos, err)
	})
	w.run("vectors", func(w *world) {
		f := w.newFile("f", nil)
		defer f.close()
		w.ok(w.root.call("pwritev", func() error {
			n, err := unix.Pwritev(f.fd, [][]byte{[]byte("one"), nil, []byte("two"), pattern(10000)}, 5)
			if err == nil && n != 10006 {
				err = fmt.Errorf("%d bytes", n)
			}
			return err
		}))
		a, b := make([]byte, 7), make([]byte, 4)
		n, err := unix.Preadv(f.fd, [][]byte{a, b}, 1)
		w.check(err == nil && n == 11 && string(a)+string(b) == "\x00\x00\x00\x00onetwo"+string(pattern(1)), "preadv: %d, %v: %q %q", n, err, a, b)
	})
	w.run("append", func(w *world) {
		// Several writers, each with a handle of its own: no record is lost or torn.
		w.ok(w.root.create("f", 0o644))
		const writers, records, length = 4, 200, 100
		var all sync.WaitGroup
		for k := range writers {
			all.Go(func() {
				f, err := os.OpenFile(w.path("f"), os.O_WRONLY|os.O_APPEND, 0)
				if err != nil {
					w.Error(err)
					return
				}
				defer f.Close()
				for range records {
					if _, err := f.Write(bytes.Repeat([]byte{byte('a' + k)}, length)); err != nil {
						w.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		text, err := w.root.read("f")
		w.ok(err)
		w.check(len(text) == writers*records*length, "%d bytes, want %d", len(text), writers*records*length)
		count := map[byte]int{}
		for i := 0; i+length <= len(text); i += length {
			if text[i:i+length] != repeat(text[i:i+1], length) {
				w.Fatalf("the record at %d is torn: %q", i, text[i:i+length])
			}
			count[text[i]]++
		}
		for k := range writers {
			w.check(count[byte('a'+k)] == records, "writer %d has %d records", k, count[byte('a'+k)])
		}
		// The position of the writer is at the end, wherever it was.
		f, err := w.root.open("f", unix.O_RDWR|unix.O_APPEND, 0)
		w.ok(err)
		defer f.close()
		_, err = f.seek(0, unix.SEEK_SET)
		w.ok(err)
		_, err = f.write([]byte("end"))
		w.ok(err)
		pos, err := f.seek(0, unix.SEEK_CUR)
		w.check(err == nil && pos == int64(len(text)+3), "the position is %d, %v", pos, err)
		_, err = f.pwrite([]byte("END"), 0) // Linux appends here too
		w.ok(err)
		w.wantText("f", text+"endEND")
	})
	w.run("several openers", func(w *world) {
		f := w.newFile("f", []byte("0123456789"))
		defer f.close()
		for _, flags := range []int{unix.O_RDONLY, unix.O_RDWR} {
			g, err := w.root.open("f", flags, 0)
			w.ok(err)
			defer g.close()
			for i := range 50 {
				text := []byte(fmt.Sprintf("%010d", i))
				w.put(f, text, 0)
				w.holds(g, text)
				w.wantText("f", string(text))
			}
			w.ok(f.truncate(3))
			w.holds(g, []byte("000"))
			w.ok(f.truncate(10))
			w.holds(g, []byte("000\x00\x00\x00\x00\x00\x00\x00"))
		}
		// Write-only handles beside each other and a reader.
		a, err := w.root.open("g", unix.O_CREAT|unix.O_WRONLY, 0o644)
		w.ok(err)
		defer a.close()
		b, err := w.root.open("g", unix.O_WRONLY, 0)
		w.ok(err)
		defer b.close()
		c, err := w.root.open("g", unix.O_RDONLY, 0)
		w.ok(err)
		defer c.close()
		w.put(a, []byte("aaaa"), 0)
		w.put(b, []byte("bb"), 1)
		w.holds(c, []byte("abba"))
		w.put(a, []byte("c"), 2)
		w.holds(c, []byte("abca"))
	})
	w.run("random", func(w *world) {
		seed := rand.Uint64()
		if s := os.Getenv("COFFER_SEED"); s != "" {
			fmt.Sscan(s, &seed)
		}
		w.Logf("COFFER_SEED=%d", seed)
		r := rand.New(rand.NewPCG(seed, 1))
		const most = 1 << 20
		f := w.newFile("f", nil)
		defer func() { f.close() }()
		var model []byte
		for range 300 {
			off, n := r.IntN(most/2), 1+r.IntN(50_000)
			switch r.IntN(6) {
			case 0:
				size := r.IntN(most)
				w.ok(f.truncate(int64(size)))
				model = append(model[:min(size, len(model))], make([]byte, max(size-len(model), 0))...)
			case 1:
				w.ok(f.fallocate(punch, int64(off), int64(n)))
				if off < len(model) {
					clear(model[off:min(off+n, len(model))])
				}
			case 2:
				w.ok(f.close())
				var err error
				f, err = w.root.open("f", unix.O_RDWR, 0)
				w.ok(err)
			default:
				p := make([]byte, n)
				for i := range p {
					p[i] = byte(r.Uint32())
				}
				w.put(f, p, int64(off))
				if off+n > len(model) {
					model = append(model, make([]byte, off+n-len(model))...)
				}
				copy(model[off:], p)
			}
			if len(model) > 0 {
				at := r.IntN(len(model))
				buf := make([]byte, min(10_000, len(model)-at))
				k, err := f.pread(buf, int64(at))
				w.ok(err)
				if k != len(buf) || !bytes.Equal(buf, model[at:at+k]) {
					w.Fatalf("%d bytes at %d of %d are not what was written", len(buf), at, len(model))
				}
			}
		}
		w.holds(f, model)
	})
	w.run("limit of the file size", func(w *world) {
		if w.place.writeback {
			return // it shows when the page is written
		}
		f := w.newFile("f", nil)
		defer f.close()
		_, err := f.pwrite([]byte("x"), 1<<63-2)
		w.want(err, unix.EFBIG, unix.EINVAL, 0) // tmpfs has room for it
	})
	w.run("O_DIRECT", func(w *world) {
		const block = 4096
		f, err := w.root.open("f", unix.O_CREAT|unix.O_RDWR|unix.O_DIRECT, 0o644)
		if errnoOf(err) == unix.EINVAL && w.place.name == "tmpfs" {
			return
		}
		w.ok(err)
		defer f.close()
		mem, err := unix.Mmap(-1, 0, 16*block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
		w.ok(err)
		defer unix.Munmap(mem)
		data := pattern(16 * block)
		copy(mem, data)
		w.put(f, mem, 0)
		g, err := w.root.open("f", unix.O_RDWR, 0)
		w.ok(err)
		defer g.close()
		w.holds(g, data)
		copy(mem, bytes.Repeat([]byte("d"), 4*block))
		w.put(f, mem[:4*block], 8*block)
		copy(data[8*block:], bytes.Repeat([]byte("d"), 4*block))
		w.holds(g, data)
		w.put(g, bytes.Repeat([]byte("b"), 2*block), 3*block)
		copy(data[3*block:], bytes.Repeat([]byte("b"), 2*block))
		n, err := f.pread(mem, 0)
		w.check(err == nil && n == len(mem) && bytes.Equal(mem, data), "a direct read gives %d bytes, %v", n, err)
		n, err = f.pread(mem, 15*block)
		w.check(err == nil && n == block, "a direct read at the end gives %d bytes, %v", n, err)
	})
	w.run("O_SYNC", func(w *world) {
		for _, flag := range []int{unix.O_SYNC, unix.O_DSYNC} {
			for _, mode := range []int{unix.O_WRONLY, unix.O_RDWR} {
				f, err := w.root.open("f", unix.O_CREAT|mode|flag, 0o644)
				w.ok(err)
				w.put(f, []byte("synced"), 0)
				w.ok(f.close())
				w.wantText("f", "synced")
			}
		}
	})
	w.run("fsync", func(w *world) {
		f := w.newFile("f", []byte("x"))
		w.want(f.sync(), 0)
		w.ok(w.root.call("fdatasync", func() error { return unix.Fdatasync(f.fd) }))
		w.ok(f.close())
		r, err := w.root.open("f", unix.O_RDONLY, 0)
		w.ok(err)
		w.want(r.sync(), 0) // without write permission too
		w.ok(r.close())
		w.ok(w.root.mkdir("d", 0o755))
		d, err := w.root.open("d", unix.O_RDONLY, 0)
		w.ok(err)
		w.want(d.sync(), 0)
		w.ok(w.root.call("fdatasync of a directory", func() error { return unix.Fdatasync(d.fd) }))
		w.ok(w.root.call("syncfs", func() error { return unix.Syncfs(d.fd) }))
		w.ok(d.close(), w.root.mkfifo("p", 0o644))
		p, err := w.root.open("p", unix.O_RDWR, 0)
		w.ok(err)
		w.want(p.sync(), unix.EINVAL)
		w.ok(p.close())
	})
}

func testMmap(w *world) {
	const page = 4096
	mapped := func(f *file, n int, prot, flags int) []byte {
		w.Helper()
		m, err := unix.Mmap(f.fd, 0, n, prot, flags)
		w.ok(err)
		return m
	}
	const rw = unix.PROT_READ | unix.PROT_WRITE
	w.run("shared", func(w *world) {
		data := pattern(10 * page)
		f := w.newFile("f", data)
		defer f.close()
		m := mapped(f, len(data), rw, unix.MAP_SHARED)
		defer unix.Munmap(m)
		w.check(bytes.Equal(m, data), "the mapping differs from the file")
		for i := range 20 {
			off := i * 1777
			copy(m[off:], fmt.Sprintf("mapped %3d", i))
			copy(data[off:], fmt.Sprintf("mapped %3d", i))
			w.holds(f, data)
			text := fmt.Sprintf("written %3d", i)
			w.put(f, []byte(text), int64(off+500))
			copy(data[off+500:], text)
			w.check(string(m[off+500:off+500+len(text)]) == text, "a write does not show in the mapping: %q", m[off+500:off+500+len(text)])
		}
		w.ok(unix.Msync(m, unix.MS_SYNC))
		w.holds(f, data)
		// Through another mapping, and another handle.
		g, err := w.root.open("f", unix.O_RDWR, 0)
		w.ok(err)
		defer g.close()
		m2 := mapped(g, len(data), rw, unix.MAP_SHARED)
		defer unix.Munmap(m2)
		m2[7] = '7'
		data[7] = '7'
		w.check(m[7] == '7', "mappings of a file differ")
		w.holds(f, data)
	})
	w.run("written back", func(w *world) {
		data := pattern(5*page + 100)
		f := w.newFile("f", data)
		m := mapped(f, 6*page, rw, unix.MAP_SHARED)
		w.ok(f.close())
		copy(m[page:], "through a mapping whose file is closed")
		copy(data[page:], "through a mapping whose file is closed")
		if w.place.name != "tmpfs" { // whose pages are the file
			copy(m[5*page+100:], "beyond the end") // goes nowhere
		}
		w.ok(unix.Munmap(m))
		text, err := w.root.read("f")
		w.ok(err)
		w.check(text == string(data), "the file has %d bytes that are not those of the mapping", len(text))
		w.ok(w.root.truncate("f", 6*page))
		text, err = w.root.read("f")
		w.ok(err)
		w.check(text[5*page+100:] == repeat("\x00", page-100), "what was mapped beyond the end came into the file")
	})
	w.run("times", func(w *world) {
		f := w.newFile("f", pattern(page))
		defer f.close()
		w.touchesFiles(func() error {
			m := mapped(f, page, rw, unix.MAP_SHARED)
			m[5] = 1
			err := unix.Msync(m, unix.MS_SYNC)
			unix.Munmap(m)
			return err
		}, []*file{f}, "f:mcA")
	})
	w.run("private", func(w *world) {
		data := pattern(2 * page)
		f := w.newFile("f", data)
		defer f.close()
		m := mapped(f, len(data), rw, unix.MAP_PRIVATE)
		defer unix.Munmap(m)
		copy(m, "private")
		w.holds(f, data)
		r, err := w.root.open("f", unix.O_RDONLY, 0)
		w.ok(err)
		defer r.close()
		_, err = unix.Mmap(r.fd, 0, page, rw, unix.MAP_SHARED)
		w.want(&failure{"mmap for writing", err}, unix.EACCES)
		o, err := w.root.open("f", unix.O_WRONLY, 0)
		w.ok(err)
		defer o.close()
		_, err = unix.Mmap(o.fd, 0, page, unix.PROT_READ, unix.MAP_SHARED)
		w.want(&failure{"mmap for reading", err}, unix.EACCES)
	})
	w.run("unlinked", func(w *world) {
		data := pattern(3 * page)
		f := w.newFile("f", data)
		m := mapped(f, len(data), rw, unix.MAP_SHARED)
		w.ok(w.root.unlink("f"), f.close())
		m[0] = 'x'
		data[0] = 'x'
		w.check(bytes.Equal(m, data), "the mapping of an unlinked file changed")
		w.ok(unix.Munmap(m))
	})
	w.run("cut off", func(w *world) {
		f := w.newFile("f", pattern(4*page))
		defer f.close()
		m := mapped(f, 4*page, rw, unix.MAP_SHARED)
		defer unix.Munmap(m)
		w.ok(f.truncate(page + 10))
		w.check(m[page+10] == 0 && m[2*page-1] == 0, "what was cut off still shows in the mapping")
		w.ok(f.truncate(4 * page))
		w.check(m[page+10] == 0 && m[3*page] == 0 && m[page+9] != 0, "grown again, the mapping shows what was cut off")
		w.ok(f.fallocate(punch, 0, page))
		w.check(m[0] == 0 && m[page-1] == 0 && m[page] != 0, "a hole does not show in the mapping")
	})
}

func testCopy(w *world) {
	copyRange := func(from *file, off int64, to *file, toOff int64, n int, flags int) (int, error) {
		k := 0
		err := w.root.call(fmt.Sprintf("copy_file_range %s %d to %s %d: %d", from.name, off, to.name, toOff, n), func() (err error) {
			k, err = unix.CopyFileRange(from.fd, &off, to.fd, &toOff, n, flags)
			return err
		})
		return k, err
	}
	w.run("between files", func(w *world) {
		data := pattern(100_000)
		f, g := w.newFile("f", data), w.newFile("g", nil)
		defer f.close()
		defer g.close()
		all := func(off, toOff int64, n int) {
			w.Helper()
			for n > 0 {
				k, err := copyRange(f, off, g, toOff, n, 0)
				w.ok(err)
				if k == 0 {
					return
				}
				off, toOff, n = off+int64(k), toOff+int64(k), n-k
			}
		}
		all(0, 0, len(data))
		w.holds(g, data)
		all(12345, 70000, 50000)
		want := append(append([]byte(nil), data[:70000]...), data[12345:62345]...)
		w.holds(g, want)
		all(90000, 200000, 50000) // the source ends
		want = append(want, make([]byte, 200000-len(want))...)
		want = append(want, data[90000:]...)
		w.holds(g, want)
		// They are not one: what is written to one does not show in the other.
		w.put(f, []byte("changed"), 100)
		w.put(g, []byte("CHANGED"), 200)
		copy(data[100:], "changed")
		copy(want[200:], "CHANGED")
		w.holds(f, data)
		w.holds(g, want)
		w.touchesFiles(func() error { _, err := copyRange(f, 0, g, 0, 10, 0); return err }, []*file{g}, "g:mc")
	})
	w.run("within a file", func(w *world) {
		data := pattern(50_000)
		f := w.newFile("f", data)
		defer f.close()
		n, err := copyRange(f, 0, f, 30_000, 10_000, 0)
		w.check(err == nil && n == 10_000, "copied %d, %v", n, err)
		copy(data[30_000:], data[:10_000])
		w.holds(f, data)
		_, err = copyRange(f, 0, f, 100, 10_000, 0)
		w.want(err, unix.EINVAL)
		w.holds(f, data)
	})
	w.run("at positions", func(w *world) {
		f, g := w.newFile("f", pattern(100)), w.newFile("g", nil)
		defer f.close()
		defer g.close()
		_, err := f.seek(10, unix.SEEK_SET)
		w.ok(err)
		n, err := unix.CopyFileRange(f.fd, nil, g.fd, nil, 50, 0)
		w.check(err == nil && n == 50, "copied %d, %v", n, err)
		a, err := f.seek(0, unix.SEEK_CUR)
		w.ok(err)
		b, err := g.seek(0, unix.SEEK_CUR)
		w.check(err == nil && a == 60 && b == 50, "the positions are %d and %d, %v", a, b, err)
		w.holds(g, pattern(100)[10:60])
	})
	w.run("errors", func(w *world) {
		f, g := w.newFile("f", pattern(100)), w.newFile("g", nil)
		defer f.close()
		defer g.close()
		n, err := copyRange(f, 100, g, 0, 10, 0)
		w.check(err == nil && n == 0, "copied %d beyond the end, %v", n, err)
		_, err = copyRange(f, 0, g, 0, 10, 1)
		w.want(err, unix.EINVAL)
		o, err := w.root.open("f", unix.O_WRONLY, 0)
		w.ok(err)
		defer o.close()
		_, err = copyRange(o, 0, g, 0, 10, 0)
		w.want(err, unix.EBADF)
		r, err := w.root.open("f", unix.O_RDONLY, 0)
		w.ok(err)
		defer r.close()
		_, err = copyRange(g, 0, r, 0, 10, 0)
		w.want(err, unix.EBADF)
		a, err := w.root.open("g", unix.O_WRONLY|unix.O_APPEND, 0)
		w.ok(err)
		defer a.close()
		_, err = copyRange(f, 0, a, 0, 10, 0)
		w.want(err, unix.EBADF)
		w.ok(w.root.mkdir("d", 0o755))
		d, err := w.root.open("d", unix.O_RDONLY, 0)
		w.ok(err)
		defer d.close()
		_, err = copyRange(d, 0, g, 0, 10, 0)
		w.want(err, unix.EISDIR)
	})
	w.run("holes stay", func(w *world) {
		f, g := w.newFile("f", nil), w.newFile("g", nil)
		defer f.close()
		defer g.close()
		w.put(f, pattern(4096), 1<<20)
		w.ok(f.truncate(2 << 20))
		for off := int64(0); off < 2<<20; {
			n, err := copyRange(f, off, g, off, 2<<20, 0)
			w.ok(err)
			off += int64(n)
		}
		st, err := g.stat()
		w.ok(err)
		w.check(st.Size == 2<<20, "the copy has %d bytes", st.Size)
		buf := make([]byte, 4096)
		_, err = g.pread(buf, 1<<20)
		w.check(err == nil && bytes.Equal(buf, pattern(4096)), "the copy differs")
	})
	w.run("sendfile", func(w *world) {
		f, g := w.newFile("f", pattern(10_000)), w.newFile("g", nil)
		defer f.close()
		defer g.close()
		off := int64(100)
		n, err := unix.Sendfile(g.fd, f.fd, &off, 5_000)
		w.check(err == nil && n == 5_000, "sent %d, %v", n, err)
		w.holds(g, pattern(10_000)[100:5100])
	})
}

func testStatfs(w *world) {
	var fs unix.Statfs_t
	w.ok(w.ann.call("statfs", func() error { return unix.Statfs(".", &fs) }))
	w.check(fs.Namelen == 255, "names may have %d bytes", fs.Namelen)
	w.check(fs.Bsize > 0 && fs.Frsize > 0, "blocks of %d and %d", fs.Bsize, fs.Frsize)
	w.check(fs.Bavail <= fs.Bfree && fs.Bfree <= fs.Blocks && fs.Blocks > 0, "%d available, %d free of %d", fs.Bavail, fs.Bfree, fs.Blocks)
	w.check(fs.Ffree <= fs.Files && fs.Files > 0, "%d free of %d inodes", fs.Ffree, fs.Files)
	f := w.newFile("f", pattern(1000))
	defer f.close()
	var other unix.Statfs_t
	w.ok(w.root.call("fstatfs", func() error { return unix.Fstatfs(f.fd, &other) }))
	w.check(other.Type == fs.Type && other.Fsid == fs.Fsid && other.Namelen == 255, "fstatfs gives another file system")
}
