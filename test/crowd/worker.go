package crowd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// task says who a worker is. It comes through the environment.
type task struct {
	Dir   string // on the file system
	ID    int
	Crowd int // how many there are
	Seed  uint64
}

// worker is one process of the crowd.
type worker struct {
	task
	model
	rng  *rand.Rand
	top  string // of the subtree
	open [4]*handle
	log  []string // the last operations
	done int
	shared
}

// handle is an open file, which may have no name any more.
type handle struct {
	fd int
	n  *node
}

// Work is what a process of the crowd does: it follows the orders that it reads, a line each, and answers each with
// a line: what it did in the shared files so far.
func Work(spec string, orders io.Reader, answers io.Writer) error {
	w := &worker{}
	if err := json.Unmarshal([]byte(spec), &w.task); err != nil {
		return err
	}
	w.rng = rand.New(rand.NewPCG(w.Seed, uint64(w.ID)))
	w.root, w.top = newDir(), filepath.Join(w.Dir, fmt.Sprintf("worker%d", w.ID))
	if err := unix.Mkdir(w.top, 0o755); err != nil {
		return err
	}
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		var n int
		var err error
		switch order, rest, _ := strings.Cut(lines.Text(), " "); order {
		case "run":
			if _, err = fmt.Sscan(rest, &n); err == nil {
				err = w.run(n)
			}
		case "leave":
			err = w.leave()
		case "check":
			err = w.check(true)
		}
		if err != nil {
			return fmt.Errorf("worker %d at operation %d, %s: %w\nlast operations:\n%s", w.ID, w.done, lines.Text(), err, strings.Join(w.log, "\n"))
		}
		answer, err := json.Marshal(w.tally)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(answers, "%s\n", answer); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) run(n int) error {
	for range n {
		w.done++
		if err := w.step(); err != nil {
			return err
		}
		if w.rng.IntN(100) == 0 {
			if err := w.check(false); err != nil {
				return err
			}
		}
	}
	return w.check(false)
}

// leave closes everything, and notes what must be the same afterwards.
func (w *worker) leave() error {
	for k := range w.open {
		if err := w.close(k); err != nil {
			return err
		}
	}
	if err := w.shared.close(); err != nil {
		return err
	}
	return w.root.walk("", func(path string, n *node) error {
		var st unix.Stat_t
		err := unix.Lstat(w.top+path, &st)
		n.ino, n.mtime, n.ctime = st.Ino, st.Mtim, st.Ctim
		return err
	})
}

func (w *worker) close(k int) error {
	h := w.open[k]
	if h == nil {
		return nil
	}
	w.open[k] = nil
	return unix.Close(h.fd)
}

// path draws a path of few names, so that many lead to something.
func (w *worker) path() string {
	depth := 1 + w.rng.IntN(3)
	names := make([]string, depth)
	for k := range names {
		names[k] = fmt.Sprintf("%c%d", 'a'+k, w.rng.IntN(6))
	}
	return strings.Join(names, "/")
}

// same says whether an operation ended as it had to.
func same(want, got error) error {
	if want != got {
		return fmt.Errorf("ended with %v, want %v", got, want)
	}
	return nil
}

// note adds to the log of operations.
func (w *worker) note(format string, args ...any) {
	if len(w.log) >= 60 {
		w.log = slices.Delete(w.log, 0, 20)
	}
	w.log = append(w.log, fmt.Sprintf("%6d ", w.done)+fmt.Sprintf(format, args...))
}

// step does one operation.
func (w *worker) step() error {
	switch w.rng.IntN(10) {
	case 0, 1, 2, 3:
		return w.nameStep()
	case 4, 5:
		return w.sharedStep()
	default:
		return w.fileStep()
	}
}

// nameStep does an operation on names.
func (w *worker) nameStep() error {
	a, b := w.path(), w.path()
	at := func(path string) string { return w.top + "/" + path }
	switch k := w.rng.IntN(14); k {
	case 0, 1:
		w.note("mkdir %s", a)
		return same(w.enter(a, newDir()), unix.Mkdir(at(a), 0o755))
	case 2:
		target := fmt.Sprintf("nowhere/%d", w.done)
		w.note("symlink %s", a)
		return same(w.enter(a, &node{mode: unix.S_IFLNK | 0o777, target: target}), unix.Symlink(target, at(a)))
	case 3:
		w.note("mkfifo %s", a)
		return same(w.enter(a, &node{mode: unix.S_IFIFO | 0o600, xattrs: map[string]string{}}), unix.Mkfifo(at(a), 0o600))
	case 4, 5:
		w.note("link %s %s", a, b)
		return same(w.link(a, b), unix.Link(at(a), at(b)))
	case 6, 7:
		w.note("unlink %s", a)
		return same(w.unlink(a), unix.Unlink(at(a)))
	case 8:
		w.note("rmdir %s", a)
		return same(w.rmdir(a), unix.Rmdir(at(a)))
	case 9:
		w.note("chmod %s", a)
		return w.chmod(a)
	default:
		flags := []uint{0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[k-10]
		w.note("rename %s %s %d", a, b, flags)
		return same(w.rename(a, b, flags), unix.Renameat2(unix.AT_FDCWD, at(a), unix.AT_FDCWD, at(b), flags))
	}
}

func (w *worker) chmod(path string) error {
	_, _, n, err := w.find(path)
	if err == nil && (n == nil || n.kind() == unix.S_IFLNK) {
		err = unix.ENOENT // through a link that leads nowhere
	}
	mode := uint32(0o600 | w.rng.IntN(0o100))
	if n != nil && n.isDir() {
		mode = 0o700 | mode
	}
	if err == nil {
		n.mode = n.kind() | mode
	}
	return same(err, unix.Chmod(w.top+"/"+path, mode))
}

// fileStep does an operation on what a file holds.
func (w *worker) fileStep() error {
	k := w.rng.IntN(len(w.open))
	h := w.open[k]
	if h == nil {
		return w.openStep(k)
	}
	off, size := w.rng.IntN(len(h.n.data)+5000), 1+w.rng.IntN(9000)
	if w.rng.IntN(20) == 0 {
		size *= 20
	}
	if off > 400_000 {
		off = 0
	}
	switch op := w.rng.IntN(16); op {
	case 0, 1:
		w.note("close %d", k)
		return w.close(k)
	case 2, 3, 4, 5:
		w.note("write %d [%d, %d)", k, off, off+size)
		p := make([]byte, size)
		fill(p, w.rng.Uint64())
		h.n.write(off, p)
		n, err := unix.Pwrite(h.fd, p, int64(off))
		return wrote(n, size, err)
	case 6, 7, 8:
		w.note("read %d [%d, %d)", k, off, off+size)
		return w.read(h, off, size)
	case 9:
		w.note("truncate %d %d", k, off)
		h.n.truncate(off)
		return unix.Ftruncate(h.fd, int64(off))
	case 10:
		w.note("punch %d [%d, %d)", k, off, off+size)
		h.n.zero(off, off+size)
		return unix.Fallocate(h.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(size))
	case 11:
		w.note("copy %d [%d, %d)", k, off, off+size)
		return w.copy(h, w.open[(k+1)%len(w.open)], off, size)
	case 12:
		name, value := fmt.Sprintf("user.x%d", w.rng.IntN(3)), fmt.Sprint(w.done)
		w.note("setxattr %d %s", k, name)
		h.n.xattrs[name] = value
		return unix.Fsetxattr(h.fd, name, []byte(value), 0)
	case 13:
		w.note("utimes %d", k)
		t := []unix.Timeval{{Sec: w.rng.Int64N(1 << 32)}, {Sec: w.rng.Int64N(1 << 32), Usec: w.rng.Int64N(1e6)}}
		return unix.Futimes(h.fd, t)
	case 14:
		if w.rng.IntN(10) > 0 {
			return nil
		}
		w.note("fsync %d", k)
		return unix.Fsync(h.fd)
	default:
		w.note("mapwrite %d", k)
		return w.mapWrite(h, off)
	}
}

func wrote(n, want int, err error) error {
	if err == nil && n != want {
		err = fmt.Errorf("%d bytes of %d", n, want)
	}
	return err
}

func (w *worker) openStep(k int) error {
	path := w.path()
	flags := unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	switch w.rng.IntN(4) {
	case 0:
		flags |= unix.O_EXCL
	case 1:
		flags |= unix.O_TRUNC
	}
	w.note("open %d %s flags %#x", k, path, flags)
	if _, _, n, err := w.find(path); err == nil && n != nil && n.kind() == unix.S_IFIFO {
		return nil // opens, but is no file
	}
	n, want := w.model.open(path, flags, 0o644)
	fd, err := unix.Open(w.top+"/"+path, flags, 0o644)
	if err == nil {
		w.open[k] = &handle{fd, n}
	}
	return same(want, err)
}

func (w *worker) read(h *handle, off, size int) error {
	p := make([]byte, size)
	n, err := unix.Pread(h.fd, p, int64(off))
	if err != nil {
		return err
	}
	end := len(h.n.data)
	return equal(h.n.data[min(off, end):min(off+size, end)], p[:n])
}

func equal(want, got []byte) error {
	if bytes.Equal(want, got) {
		return nil
	}
	if len(want) != len(got) {
		return fmt.Errorf("%d bytes, want %d", len(got), len(want))
	}
	k := 0
	for want[k] == got[k] {
		k++
	}
	return fmt.Errorf("differs from byte %d on: %x, want %x", k, got[k:min(k+8, len(got))], want[k:min(k+8, len(want))])
}

func (w *worker) copy(from, to *handle, off, size int) error {
	if to == nil || to.n == from.n {
		return nil
	}
	in, out := int64(off), int64(off/2)
	n, err := unix.CopyFileRange(from.fd, &in, to.fd, &out, size, 0)
	if err != nil {
		return err
	}
	end := len(from.n.data)
	want := from.n.data[min(off, end):min(off+size, end)]
	if n > len(want) || n == 0 && len(want) > 0 {
		return fmt.Errorf("copied %d bytes of %d", n, len(want))
	}
	if n > 0 {
		to.n.write(off/2, bytes.Clone(want[:n]))
	}
	return nil
}

func (w *worker) mapWrite(h *handle, off int) error {
	size := len(h.n.data)
	if size == 0 {
		return nil
	}
	off %= size
	n := min(100, size-off)
	m, err := unix.Mmap(h.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	fill(m[off:off+n], w.rng.Uint64())
	copy(h.n.data[off:], m[off:off+n])
	return unix.Munmap(m)
}

func fill(p []byte, seed uint64) {
	src := rand.NewPCG(seed, 7)
	for k := range p {
		if k%8 == 0 {
			seed = src.Uint64()
		}
		p[k] = byte(seed >> (k % 8 * 8))
	}
}

// check compares all of the subtree; after a mount also what must not have changed by it.
func (w *worker) check(mounted bool) error {
	return w.root.walk("", func(path string, n *node) error {
		if err := w.checkNode(w.top+path, n, mounted); err != nil {
			return fmt.Errorf("%s: %w", w.top+path, err)
		}
		return nil
	})
}

func (w *worker) checkNode(path string, n *node, mounted bool) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if st.Mode != n.mode || !n.isDir() && int(st.Nlink) != n.nlink {
		return fmt.Errorf("mode %o with %d names, want %o with %d", st.Mode, st.Nlink, n.mode, n.nlink)
	}
	if mounted && (st.Ino != n.ino || st.Mtim != n.mtime || st.Ctim != n.ctime) {
		return fmt.Errorf("inode %d, times %v %v; before it was mounted %d, %v %v", st.Ino, st.Mtim, st.Ctim, n.ino, n.mtime, n.ctime)
	}
	switch n.kind() {
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		return errors.Join(err, equal([]byte(n.target), []byte(target)))
	case unix.S_IFDIR:
		return checkNames(path, n)
	case unix.S_IFREG:
		got, err := os.ReadFile(path)
		return errors.Join(err, equal(n.data, got), checkXattrs(path, n))
	}
	return nil
}

func checkNames(path string, n *node) error {
	list, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range list {
		if n.names[e.Name()] == nil {
			return fmt.Errorf("%s should not be there", e.Name())
		}
	}
	if len(list) != len(n.names) {
		return fmt.Errorf("%d names, want %d", len(list), len(n.names))
	}
	return nil
}

func checkXattrs(path string, n *node) error {
	for name, want := range n.xattrs {
		value := make([]byte, 100)
		k, err := unix.Lgetxattr(path, name, value)
		if err != nil || string(value[:k]) != want {
			return fmt.Errorf("xattr %s is %q, %v, want %q", name, value[:max(k, 0)], err, want)
		}
	}
	return nil
}
