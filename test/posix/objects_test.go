package posix

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// kind is what can stand at a path.
type kind string

const (
	nothing   kind = "nothing"
	regular   kind = "file"
	directory kind = "directory"
	fifo      kind = "fifo"
	socket    kind = "socket"
	charDev   kind = "character device"
	blockDev  kind = "block device"
	symlink   kind = "symbolic link"
)

// kinds are all that can be made; files are those that are not directories.
var (
	kinds = []kind{regular, directory, fifo, socket, charDev, blockDev, symlink}
	files = []kind{regular, fifo, socket, charDev, blockDev, symlink}
)

// typeBits is the type in a mode.
var typeBits = map[kind]uint32{
	regular: unix.S_IFREG, directory: unix.S_IFDIR, fifo: unix.S_IFIFO, socket: unix.S_IFSOCK,
	charDev: unix.S_IFCHR, blockDev: unix.S_IFBLK, symlink: unix.S_IFLNK,
}

// make has root make something of a kind that belongs to who. A symbolic link leads nowhere.
func (w *world) make(k kind, path string, who *caller) {
	w.Helper()
	const mode = 0o644
	switch k {
	case nothing:
		return
	case regular:
		w.ok(w.root.create(path, mode))
	case directory:
		w.ok(w.root.mkdir(path, 0o755))
	case fifo:
		w.ok(w.root.mkfifo(path, mode))
	case socket:
		w.ok(w.root.mknod(path, unix.S_IFSOCK|mode, 0))
	case charDev:
		w.ok(w.root.mknod(path, unix.S_IFCHR|mode, unix.Mkdev(1, 3)))
	case blockDev:
		w.ok(w.root.mknod(path, unix.S_IFBLK|mode, unix.Mkdev(7, 200)))
	case symlink:
		w.ok(w.root.symlink("nowhere", path))
	}
	if who != w.root {
		w.ok(w.root.lchown(path, who.uid, who.gid))
	}
}

var fresh int

// spare is a path that nothing is at yet, in a directory where everybody may write.
func (w *world) spare() string {
	w.Helper()
	if _, err := w.root.lstat("spare"); err != nil {
		w.ok(w.root.mkdir("spare", 0o777))
	}
	fresh++
	return fmt.Sprintf("spare/%d", fresh)
}

// spareOf is a path where something of a kind is that belongs to who.
func (w *world) spareOf(k kind, who *caller) string {
	w.Helper()
	path := w.spare()
	w.make(k, path, who)
	return path
}

// mode is the mode without the type.
func (w *world) mode(path string) uint32 {
	w.Helper()
	st, err := w.root.lstat(path)
	w.ok(err)
	return st.Mode & 0o7777
}

func (w *world) wantMode(path string, mode uint32) {
	w.Helper()
	if got := w.mode(path); got != mode {
		w.Errorf("%s has mode %04o, want %04o", short(path), got, mode)
	}
}

func (w *world) wantOwner(path string, uid, gid int) {
	w.Helper()
	st, err := w.root.lstat(path)
	w.ok(err)
	if int(st.Uid) != uid || int(st.Gid) != gid {
		w.Errorf("%s belongs to %d:%d, want %d:%d", short(path), st.Uid, st.Gid, uid, gid)
	}
}

func (w *world) wantLinks(path string, n uint64) {
	w.Helper()
	st, err := w.root.lstat(path)
	w.ok(err)
	if uint64(st.Nlink) != n {
		w.Errorf("%s has %d links, want %d", short(path), st.Nlink, n)
	}
}

func (w *world) wantKind(path string, k kind) {
	w.Helper()
	st, err := w.root.lstat(path)
	if k == nothing {
		w.want(err, unix.ENOENT)
		return
	}
	w.ok(err)
	if st.Mode&unix.S_IFMT != typeBits[k] {
		w.Errorf("%s has mode %o, want a %s", short(path), st.Mode, k)
	}
}

// ino is the inode number.
func (w *world) ino(path string) uint64 {
	w.Helper()
	st, err := w.root.lstat(path)
	w.ok(err)
	return st.Ino
}

// same says that a path leads to an inode.
func (w *world) same(path string, ino uint64) {
	w.Helper()
	if got := w.ino(path); got != ino {
		w.Errorf("%s is inode %d, want %d", short(path), got, ino)
	}
}

// wantText says what a file holds.
func (w *world) wantText(path, text string) {
	w.Helper()
	got, err := w.root.read(path)
	w.ok(err)
	if got != text {
		w.Errorf("%s holds %q, want %q", short(path), short(got), short(text))
	}
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }
