package posix

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// testRaces has several try the same: one succeeds, the others are told why not.
func testRaces(w *world) {
	const racers, rounds = 4, 50
	dir, err := unix.Open(w.dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	w.ok(err)
	defer unix.Close(dir)
	// once says that exactly one of the racers succeeds and the others get an error.
	once := func(name string, lost unix.Errno, prepare func(path string), try func(path string, k int) error) {
		w.T.Helper()
		for round := range rounds {
			path := fmt.Sprintf("%s %d", name, round)
			prepare(path)
			var won atomic.Int32
			var all sync.WaitGroup
			for k := range racers {
				all.Go(func() {
					switch err := try(path, k); err {
					case nil:
						won.Add(1)
					case lost:
					default:
						w.Errorf("%s: %v, want %v of those who come too late", path, err, lost)
					}
				})
			}
			all.Wait()
			if won.Load() != 1 {
				w.Errorf("%s: %d of %d succeeded", path, won.Load(), racers)
			}
		}
	}
	none := func(string) {}
	file := func(path string) { w.make(regular, path, w.root) }
	each := func(path string) {
		for k := range racers {
			w.make(regular, fmt.Sprint(path, " from ", k), w.root)
		}
	}
	once("mkdir", unix.EEXIST, none, func(path string, _ int) error { return unix.Mkdirat(dir, path, 0o755) })
	once("create", unix.EEXIST, none, func(path string, _ int) error {
		fd, err := unix.Openat(dir, path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	})
	once("symlink", unix.EEXIST, none, func(path string, _ int) error { return unix.Symlinkat("x", dir, path) })
	once("link", unix.EEXIST, each, func(path string, k int) error {
		return unix.Linkat(dir, fmt.Sprint(path, " from ", k), dir, path, 0)
	})
	once("noreplace", unix.EEXIST, each, func(path string, k int) error {
		return unix.Renameat2(dir, fmt.Sprint(path, " from ", k), dir, path, unix.RENAME_NOREPLACE)
	})
	once("unlink", unix.ENOENT, file, func(path string, _ int) error { return unix.Unlinkat(dir, path, 0) })
	once("rename", unix.ENOENT, file, func(path string, k int) error {
		return unix.Renameat2(dir, path, dir, fmt.Sprint(path, " to ", k), 0)
	})
	once("rmdir", unix.ENOENT, func(path string) { w.make(directory, path, w.root) }, func(path string, _ int) error {
		return unix.Unlinkat(dir, path, unix.AT_REMOVEDIR)
	})

	// A name that is replaced all the time is there all the time.
	w.make(regular, "target", w.root)
	var stop atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		for i := range 10 * rounds {
			from := fmt.Sprint("replacement ", i)
			fd, err := unix.Openat(dir, from, unix.O_CREAT|unix.O_WRONLY, 0o644)
			if err == nil {
				err = unix.Close(fd)
			}
			if err == nil {
				err = unix.Renameat(dir, from, dir, "target")
			}
			if err != nil {
				w.Error(err)
			}
		}
		stop.Store(true)
	})
	for range racers {
		all.Go(func() {
			for !stop.Load() {
				var st unix.Stat_t
				if err := unix.Fstatat(dir, "target", &st, 0); err != nil {
					w.Errorf("stat of what is being replaced: %v", err)
					return
				}
				fd, err := unix.Openat(dir, "target", unix.O_RDONLY, 0)
				if err != nil {
					w.Errorf("open of what is being replaced: %v", err)
					return
				}
				unix.Close(fd)
			}
		})
	}
	all.Wait()
	w.wantLinks("target", 1)

	// Directories moved into each other never make a ring.
	for round := range rounds {
		a, b := fmt.Sprint("a", round), fmt.Sprint("b", round)
		w.ok(w.root.mkdir(a, 0o755), w.root.mkdir(b, 0o755))
		var moved atomic.Int32
		for _, pair := range [][2]string{{a, b}, {b, a}} {
			all.Go(func() {
				switch err := unix.Renameat(dir, pair[0], dir, pair[1]+"/in"); err {
				case nil:
					moved.Add(1)
				case unix.ENOENT, unix.EINVAL:
				default:
					w.Errorf("rename %s below %s: %v", pair[0], pair[1], err)
				}
			})
		}
		all.Wait()
		w.check(moved.Load() == 1, "%d of two renames into each other succeeded", moved.Load())
	}
}
