package posix

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

// entry is what getdents64 tells of an entry.
type entry struct {
	ino  uint64
	off  int64 // where the stream goes on behind it
	typ  byte
	name string
}

// getdents reads one buffer of entries; none at the end.
func (f *file) getdents(room int) (entries []entry, err error) {
	buf := make([]byte, room)
	n := 0
	err = f.c.call("getdents "+f.name, func() (err error) {
		n, err = unix.Getdents(f.fd, buf)
		return err
	})
	for b := buf[:max(n, 0)]; len(b) > 0; {
		length := binary.NativeEndian.Uint16(b[16:])
		name := b[19:length]
		entries = append(entries, entry{
			binary.NativeEndian.Uint64(b), int64(binary.NativeEndian.Uint64(b[8:])), b[18],
			string(name[:slices.Index(name, 0)]),
		})
		b = b[length:]
	}
	return entries, err
}

// list reads a directory from where its stream is.
func (w *world) list(f *file, room int) (entries []entry) {
	w.Helper()
	for {
		more, err := f.getdents(room)
		w.ok(err)
		if len(more) == 0 {
			return entries
		}
		entries = append(entries, more...)
	}
}

func (w *world) openDir(path string) *file {
	w.Helper()
	d, err := w.root.open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	w.ok(err)
	return d
}

// wantNames says which names entries have, but for the dots, each once.
func (w *world) wantNames(entries []entry, names []string) {
	w.Helper()
	var got []string
	for _, e := range entries {
		if e.name != "." && e.name != ".." {
			got = append(got, e.name)
		}
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(names))
	if !slices.Equal(got, want) {
		w.Errorf("%d entries, want %d; first difference at %d", len(got), len(want), mismatch(got, want))
	}
}

func mismatch(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func testReaddir(w *world) {
	fill := func(dir string, n int) (names []string) {
		w.ok(w.root.mkdir(dir, 0o755))
		for i := range n {
			name := fmt.Sprintf("%s-%d", repeat("e", i%60), i)
			names = append(names, name)
			w.ok(w.root.create(dir+"/"+name, 0o644))
		}
		return names
	}
	w.run("what is there", func(w *world) {
		w.ok(w.root.mkdir("d", 0o755))
		for _, k := range kinds {
			w.make(k, "d/"+string(k), w.root)
		}
		d := w.openDir("d")
		defer d.close()
		seen := map[string]bool{}
		for _, e := range w.list(d, 4096) {
			seen[e.name] = true
			w.check(e.ino == w.ino("d/"+e.name), "%s is inode %d in the list, and %d", e.name, e.ino, w.ino("d/"+e.name))
			st, err := w.root.lstat("d/" + e.name)
			w.ok(err)
			w.check(uint32(e.typ) == st.Mode>>12 || e.typ == unix.DT_UNKNOWN, "%s has type %d in the list, and mode %o", e.name, e.typ, st.Mode)
		}
		w.check(len(seen) == len(kinds)+2 && seen["."] && seen[".."], "listed %v", seen)
		more, err := d.getdents(4096)
		w.check(err == nil && len(more) == 0, "%d more, %v", len(more), err)
		again := w.openDir("d")
		defer again.close()
		_, err = again.getdents(8)
		w.want(err, unix.EINVAL)
		f := w.newFile("f", nil)
		defer f.close()
		_, err = f.getdents(4096)
		w.want(err, unix.ENOTDIR)
	})
	w.run("names", func(w *world) {
		var names []string
		w.ok(w.root.mkdir("d", 0o755))
		for b := 1; b < 256; b++ {
			if b == '/' || b == '.' {
				continue
			}
			name := string([]byte{byte(b)})
			names = append(names, name, name+repeat("x", 254))
			w.ok(w.root.create("d/"+name, 0o644), w.root.create("d/"+name+repeat("x", 254), 0o644))
		}
		d := w.openDir("d")
		defer d.close()
		w.wantNames(w.list(d, 4096), names)
		for _, name := range names {
			w.ok(w.root.unlink("d/" + name))
		}
		w.ok(w.root.rmdir("d"))
	})
	w.run("permissions", func(w *world) {
		w.make(directory, "d", w.ann)
		for c, class := range w.classes() {
			w.ok(w.root.chmod("d", class&0o444))
			w.want(c.opens("d", unix.O_RDONLY|unix.O_DIRECTORY, 0), 0)
			w.ok(w.root.chmod("d", 0o777&^(class&0o444)))
			w.want(c.opens("d", unix.O_RDONLY|unix.O_DIRECTORY, 0), unix.EACCES)
		}
	})
	w.run("seeking", func(w *world) {
		names := fill("d", 500)
		d := w.openDir("d")
		defer d.close()
		all := w.list(d, 1000)
		w.wantNames(all, names)
		w.check(slices.ContainsFunc(all, func(e entry) bool { return e.name == "." }), "there is no dot")
		// From each place the rest follows, in the same order.
		for _, at := range []int{0, 1, 2, 3, 50, 250, len(all) - 2, len(all) - 1} {
			_, err := d.seek(all[at].off, unix.SEEK_SET)
			w.ok(err)
			rest := w.list(d, 500+at)
			if !slices.Equal(rest, all[at+1:]) {
				w.Errorf("from entry %d of %d there are %d, want %d", at, len(all), len(rest), len(all)-at-1)
			}
		}
		pos, err := d.seek(0, unix.SEEK_SET)
		w.check(err == nil && pos == 0, "rewound to %d, %v", pos, err)
		if again := w.list(d, 4096); !slices.Equal(again, all) {
			w.Errorf("rewound, there are %d entries, want %d", len(again), len(all))
		}
		_, err = d.seek(-1, unix.SEEK_SET)
		w.want(err, unix.EINVAL)
		// telldir is lseek of nothing.
		_, err = d.seek(0, unix.SEEK_SET)
		w.ok(err)
		first, err := d.getdents(200)
		w.ok(err)
		pos, err = d.seek(0, unix.SEEK_CUR)
		w.check(err == nil && pos == first[len(first)-1].off, "the stream is at %d, %v, want %d", pos, err, first[len(first)-1].off)
	})
	w.run("while entries come and go", func(w *world) {
		names := fill("d", 2000)
		d := w.openDir("d")
		defer d.close()
		var seen []entry
		var removed []string
		for step := 0; ; step++ {
			more, err := d.getdents(1024)
			w.ok(err)
			if len(more) == 0 {
				break
			}
			seen = append(seen, more...)
			// One behind and one ahead goes, one comes, one is renamed.
			for _, i := range []int{(step * 7) % 2000, 1999 - (step*11)%2000} {
				if name := names[i]; name != "" && i%3 == 0 {
					w.ok(w.root.unlink("d/" + name))
					removed = append(removed, name)
					names[i] = ""
				}
			}
			if len(seen) > 3*len(names) {
				w.Fatalf("%d entries and no end", len(seen)) // what comes later is at the end of some
			}
			w.ok(w.root.create(fmt.Sprintf("d/new %d", step), 0o644))
			if step%2 == 1 {
				w.ok(w.root.rename(fmt.Sprintf("d/new %d", step), fmt.Sprintf("d/newer %d", step)))
			}
		}
		count := map[string]int{}
		for _, e := range seen {
			count[e.name]++
		}
		for _, name := range names {
			if name != "" && count[name] != 1 {
				w.Fatalf("%q, which was there all the time, was listed %d times", name, count[name])
			}
		}
		for _, name := range removed {
			w.check(count[name] <= 1, "%q, which was removed, was listed %d times", name, count[name])
		}
	})
	w.run("removing all that is listed", func(w *world) {
		fill("d", 3000)
		d := w.openDir("d")
		defer d.close()
		for {
			more, err := d.getdents(4096)
			w.ok(err)
			if len(more) == 0 {
				break
			}
			for _, e := range more {
				if e.name != "." && e.name != ".." {
					w.ok(w.root.unlink("d/" + e.name))
				}
			}
		}
		w.ok(w.root.rmdir("d"))
	})
	w.run("renaming all that is listed", func(w *world) {
		// Comes to an end, though each new name may be put behind all others.
		const n = 500
		fill("d", n)
		d := w.openDir("d")
		defer d.close()
		for seen := 0; ; {
			more, err := d.getdents(1024)
			w.ok(err)
			if len(more) == 0 {
				break
			}
			if seen += len(more); seen > 5*n {
				w.Fatalf("%d entries are %d, and no end", n, seen)
			}
			for _, e := range more {
				if e.name != "." && e.name != ".." {
					w.ok(w.root.rename("d/"+e.name, "d/"+repeat("r", seen%200)+e.name[len(e.name)-2:]+fmt.Sprint(seen, e.ino)))
				}
			}
		}
		_, err := d.seek(0, unix.SEEK_SET)
		w.ok(err)
		if again := w.list(d, 4096); len(again) != n+2 {
			w.Errorf("rewound, %d entries are %d", n+2, len(again))
		}
	})
	w.run("sees what was made after opening", func(w *world) {
		w.ok(w.root.mkdir("d", 0o755))
		d := w.openDir("d")
		defer d.close()
		w.ok(w.root.create("d/a", 0o644))
		w.wantNames(w.list(d, 1000), []string{"a"})
		w.ok(w.root.create("d/b", 0o644), w.root.unlink("d/a"))
		_, err := d.seek(0, unix.SEEK_SET)
		w.ok(err)
		w.wantNames(w.list(d, 1000), []string{"b"})
	})
}

// testManyEntries is a directory as large as they get; COFFER_ENTRIES says how many entries.
func testManyEntries(w *world) {
	n := rig.Count(w.T, "COFFER_ENTRIES", 100_000)
	w.ok(w.root.mkdir("d", 0o755))
	dir, err := unix.Open(w.path("d"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	w.ok(err)
	defer unix.Close(dir)
	names := make([]string, n)
	w.bySeveral(n, func(i int) error {
		names[i] = fmt.Sprintf("entry number %07d", i)
		return unix.Mknodat(dir, names[i], unix.S_IFREG|0o644, 0)
	})
	d := w.openDir("d")
	defer d.close()
	all := w.list(d, 1<<16)
	w.wantNames(all, names)
	_, err = d.seek(all[n/2].off, unix.SEEK_SET)
	w.ok(err)
	if rest := w.list(d, 1<<16); !slices.Equal(rest, all[n/2+1:]) {
		w.Errorf("from the middle there are %d, want %d", len(rest), n-n/2+1)
	}
	for i := 0; i < n; i += max(n/1000, 1) {
		var st unix.Stat_t
		w.ok(unix.Fstatat(dir, names[i], &st, 0))
	}
	w.want(w.root.rmdir("d"), unix.ENOTEMPTY)
	w.bySeveral(n, func(i int) error { return unix.Unlinkat(dir, names[i], 0) })
	w.ok(w.root.rmdir("d"))
	_, err = os.Lstat(w.path("d"))
	w.check(os.IsNotExist(err), "the directory is there still: %v", err)
}

// bySeveral does n things, several at a time.
func (w *world) bySeveral(n int, do func(i int) error) {
	w.Helper()
	const workers = 4
	var all errgroup.Group
	for k := range workers {
		all.Go(func() error {
			for i := k; i < n; i += workers {
				if err := do(i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	w.ok(all.Wait())
}
