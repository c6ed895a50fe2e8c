package posix

import (
	"os"

	"golang.org/x/sys/unix"
)

// testFileHandles opens files by what is left of them when nobody has them in mind: the handles that an NFS
// server gives out.
func testFileHandles(w *world) {
	mount, err := unix.Open(w.dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	w.ok(err)
	defer unix.Close(mount)
	handle := func(path string) (h unix.FileHandle) {
		w.ok(w.root.call("name_to_handle_at "+path, func() (err error) {
			h, _, err = unix.NameToHandleAt(here, path, 0)
			return err
		}))
		return h
	}
	open := func(h unix.FileHandle, flags int) (*file, error) {
		f := &file{c: w.root, name: "handle"}
		err := w.root.call("open_by_handle_at", func() (err error) {
			f.fd, err = unix.OpenByHandleAt(mount, h, flags)
			return err
		})
		return f, err
	}
	drop := func() { // what the kernel has in mind
		unix.Syncfs(mount)
		w.ok(os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0))
	}
	w.ok(w.root.mkdir("d", 0o755), w.root.mkdir("d/e", 0o755), w.root.write("d/e/f", "contents"))
	f, d := handle("d/e/f"), handle("d/e")
	for range 2 {
		o, err := open(f, unix.O_RDWR)
		w.ok(err)
		w.holds(o, []byte("contents"))
		st, err := o.stat()
		w.ok(err)
		w.check(st.Ino == w.ino("d/e/f"), "the handle leads to inode %d", st.Ino)
		w.ok(o.close())
		o, err = open(d, unix.O_RDONLY|unix.O_DIRECTORY)
		w.ok(err)
		w.wantNames(w.list(o, 1000), []string{"f"})
		var up unix.Stat_t
		w.ok(unix.Fstatat(o.fd, "..", &up, 0))
		w.check(up.Ino == w.ino("d"), "above the directory is inode %d", up.Ino)
		w.ok(o.close())
		drop()
	}
	w.ok(w.root.rename("d/e/f", "moved"))
	drop()
	o, err := open(f, unix.O_RDONLY)
	w.ok(err)
	w.holds(o, []byte("contents"))
	w.ok(w.root.unlink("moved"))
	again, err := open(f, unix.O_RDONLY)
	w.want(err, 0) // it is open still
	if err == nil {
		w.ok(again.close())
	}
	w.ok(o.close(), w.root.rmdir("d/e"))
	drop()
	_, err = open(f, unix.O_RDONLY)
	w.want(err, unix.ESTALE)
	_, err = open(d, unix.O_RDONLY)
	w.want(err, unix.ESTALE)
}
