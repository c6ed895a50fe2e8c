package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestNames(t *testing.T) {
	dir, _ := mounted(t)
	long := filepath.Join(dir, strings.Repeat("n", 256))
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("a"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"stat long", func() error { _, err := os.Stat(long); return err }, unix.ENAMETOOLONG},
		{"create long", func() error { return os.WriteFile(long, nil, 0o644) }, unix.ENAMETOOLONG},
		{"mkdir long", func() error { return os.Mkdir(long, 0o755) }, unix.ENAMETOOLONG},
		{"symlink long", func() error { return os.Symlink("x", long) }, unix.ENAMETOOLONG},
		{"rename long", func() error { return os.Rename(at("a"), long) }, unix.ENAMETOOLONG},
		{"link long", func() error { return os.Link(at("a"), long) }, unix.ENAMETOOLONG},
		{"longest", func() error { return os.WriteFile(at(strings.Repeat("n", 255)), nil, 0o644) }, nil},
		{"missing", func() error { _, err := os.Stat(at("no")); return err }, unix.ENOENT},
		{"made after it was missing", func() error { return os.Mkdir(at("no"), 0o755) }, nil},
		{"and found", func() error { _, err := os.Stat(at("no")); return err }, nil},
		{"whiteout", func() error {
			return unix.Renameat2(unix.AT_FDCWD, at("a"), unix.AT_FDCWD, at("b"), unix.RENAME_WHITEOUT)
		}, unix.EINVAL},
		{"noreplace", func() error {
			return unix.Renameat2(unix.AT_FDCWD, at("a"), unix.AT_FDCWD, at("no"), unix.RENAME_NOREPLACE)
		}, unix.EEXIST},
		{"exchange", func() error {
			return unix.Renameat2(unix.AT_FDCWD, at("a"), unix.AT_FDCWD, at("no"), unix.RENAME_EXCHANGE)
		}, nil},
		{"rmdir of what was a file", func() error { return os.Remove(at("a")) }, nil},
		{"ioctl", func() error { return terminal(at("no")) }, unix.ENOTTY},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func terminal(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err
}

func TestAttributes(t *testing.T) {
	dir, _ := mounted(t)
	path := filepath.Join(dir, "f")
	before := time.Now()
	if err := os.WriteFile(path, []byte("12345"), 0o640); err != nil {
		t.Fatal(err)
	}
	old := time.Date(1960, 1, 2, 3, 4, 5, 678901234, time.UTC)
	for _, err := range []error{unix.Chmod(path, 0o4751), os.Truncate(path, 3)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 3 || st.Blksize != blockSize || st.Mode != unix.S_IFREG|0o4751 {
		t.Errorf("size %d, block size %d, mode %o", st.Size, st.Blksize, st.Mode)
	}
	if got := time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)); !got.Equal(old) {
		t.Errorf("mtime %v, want %v", got, old)
	}
	born := time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
	if st.Mask&unix.STATX_BTIME == 0 || born.Before(before.Add(-time.Second)) || born.After(time.Now().Add(time.Second)) {
		t.Errorf("born %v (mask %x), want after %v", born, st.Mask, before)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Namelen != 255 {
		t.Errorf("statfs: %+v, %v", fs, err)
	}
}

func TestReadDir(t *testing.T) {
	dir, _ := mounted(t)
	const n = 3000
	var want []string
	for i := range n {
		name := fmt.Sprintf("%s-%04d", strings.Repeat("x", i%100), i)
		want = append(want, name)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	for _, stat := range []bool{false, true} {
		var got []string
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			got = append(got, e.Name())
			if stat {
				if _, err := e.Info(); err != nil {
					t.Error(err)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d names, want %d", len(got), n)
		}
	}

	// With the dots, resumed at each offset in turn.
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	seen := map[string]int{}
	for {
		k, err := unix.Getdents(int(f.Fd()), buf)
		if err != nil {
			t.Fatal(err)
		}
		if k == 0 {
			break
		}
		for b := buf[:k]; len(b) > 0; {
			length := int(b[16]) | int(b[17])<<8
			seen[string(bytes.TrimRight(b[19:length], "\x00"))]++
			b = b[length:]
		}
	}
	if len(seen) != n+2 || seen["."] != 1 || seen[".."] != 1 {
		t.Errorf("%d names with the dots, want %d; %d %d", len(seen), n+2, seen["."], seen[".."])
	}
}

func TestXattrs(t *testing.T) {
	tr := newTree(t)
	dir, _ := mountedTree(t, tr, Options{})
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	e, err := tr.Lookup(t.Context(), 1, "f")
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.SetXattr(t.Context(), e.Ino, "coffer.source", []byte("own"), 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(path, "user.a", []byte("value"), 0); err != nil {
		t.Fatal(err)
	}
	list := make([]byte, 100)
	n, err := unix.Listxattr(path, list)
	if err != nil || string(list[:n]) != "user.a\x00" {
		t.Errorf("listed %q, %v", list[:max(n, 0)], err)
	}
	if n, err := unix.Listxattr(path, nil); err != nil || n != len("user.a")+1 {
		t.Errorf("length of the list is %d, %v", n, err)
	}
	if _, err := unix.Getxattr(path, "user.a", make([]byte, 2)); err != unix.ERANGE {
		t.Errorf("short buffer: %v, want ERANGE", err)
	}
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"get", func() error { _, err := unix.Getxattr(path, "coffer.source", list); return err }, unix.EOPNOTSUPP},
		{"set", func() error { return unix.Setxattr(path, "coffer.source", nil, 0) }, unix.EOPNOTSUPP},
		{"remove", func() error { return unix.Removexattr(path, "coffer.source") }, unix.EOPNOTSUPP},
	} {
		if err := c.do(); err != c.want {
			t.Errorf("%s of a private attribute: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestFileOperations(t *testing.T) {
	dir, _ := mounted(t)
	f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if _, err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Errorf("fsync: %v", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Errorf("fsync of the directory: %v", err)
	}
	d.Close()

	punch := uint32(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
	if err := unix.Fallocate(int(f.Fd()), punch, 4096, 8192); err != nil {
		t.Errorf("punch: %v", err)
	}
	clear(want[4096 : 4096+8192])
	if _, err := unix.Seek(int(f.Fd()), int64(len(want)), unix.SEEK_DATA); err != unix.ENXIO {
		t.Errorf("data beyond the end: %v, want ENXIO", err)
	}
	if off, err := unix.Seek(int(f.Fd()), 100, unix.SEEK_DATA); err != nil || off != 100 {
		t.Errorf("data from 100 is at %d, %v", off, err)
	}

	g, err := os.OpenFile(filepath.Join(dir, "g"), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for from := int64(0); from < int64(len(want)); {
		at := from
		n, err := unix.CopyFileRange(int(f.Fd()), &from, int(g.Fd()), &at, len(want), 0)
		if err != nil || n == 0 {
			t.Fatalf("copy_file_range at %d: %d, %v", from, n, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "g")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("copy differs: %d bytes, %v", len(got), err)
	}

	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	if err != nil {
		t.Fatalf("O_TMPFILE: %v", err)
	}
	tmp := os.NewFile(uintptr(fd), "tmpfile")
	defer tmp.Close()
	if _, err := tmp.WriteString("later"); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "named")
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW); err != nil {
		t.Errorf("give a name to a temporary file: %v", err)
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "later" {
		t.Errorf("named: %q, %v", got, err)
	}
}

func TestAppendMapped(t *testing.T) {
	dir, _ := mounted(t)
	path := filepath.Join(dir, "f")
	if err := client(t, "append", path).Run(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || len(got) != 8200 || string(got[:6]) != "mapped" || string(got[8192:]) != "appended" {
		t.Errorf("%d bytes, starts with %q, %v", len(got), got[:min(6, len(got))], err)
	}
}

// TestSeekMapped: bytes that are in a page of a mapping only are data.
func TestSeekMapped(t *testing.T) {
	dir, _ := mounted(t)
	path := filepath.Join(dir, "f")
	if err := client(t, "seek", path).Run(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || got[20<<10] != 2 {
		t.Errorf("byte %d, %v", got[20<<10], err)
	}
}

// TestWritebackTimes: the times of a file that the kernel gathers writes of are the kernel's, also those of what
// reaches the tree later, or at once.
func TestWritebackTimes(t *testing.T) {
	tr := newTree(t)
	dir, _ := mountedTree(t, tr, Options{Writeback: true})
	f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"write", func() error { return ignoreN(f.Write(make([]byte, 10000))) }},
		{"write of a part", func() error { return ignoreN(f.WriteAt([]byte("part"), 5000)) }},
		{"append", func() error { return ignoreN(f.WriteAt([]byte("end"), 10000)) }},
		{"truncate", func() error { return f.Truncate(9000) }},
		{"fallocate", func() error { return unix.Fallocate(fd, 0, 0, 20000) }},
		{"punch", func() error {
			return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 8192)
		}},
	} {
		if err := errors.Join(c.do(), f.Sync()); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		a, err := tr.Getattr(t.Context(), tree.Ino(st.Ino))
		if err != nil {
			t.Fatal(err)
		}
		mtime, ctime := tree.Time{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}, tree.Time{Sec: st.Ctim.Sec, Nsec: uint32(st.Ctim.Nsec)}
		if a.Mtime != mtime || a.Ctime != ctime || a.Size != uint64(st.Size) {
			t.Errorf("after %s the tree has %v, %v, %d bytes; the kernel %v, %v, %d", c.name, a.Mtime, a.Ctime, a.Size, mtime, ctime, st.Size)
		}
	}
}

// TestWritebackUnlinked: that a file was written and removed is no error for who syncs afterwards.
func TestWritebackUnlinked(t *testing.T) {
	dir, _ := mountedWith(t, Options{Writeback: true})
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	path := filepath.Join(dir, "f")
	for k := range 5 {
		if err := errors.Join(os.WriteFile(path, []byte("soon gone"), 0o644), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
		if err := unix.Syncfs(int(d.Fd())); err != nil {
			t.Errorf("syncfs after removal %d: %v", k+1, err)
		}
	}
}

func ignoreN(_ int, err error) error { return err }

// TestSyncedWrites: with O_SYNC a write is stable when it returns, direct or not.
func TestSyncedWrites(t *testing.T) {
	tr := newTree(t)
	dir, _ := mountedTree(t, tr, Options{})
	for tr.Status().Handles > 0 { // the kernel gives handles back behind close(2)
		time.Sleep(time.Millisecond)
	}
	if err := tr.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, flags := range []int{os.O_WRONLY | unix.O_SYNC, os.O_RDWR | unix.O_SYNC, os.O_WRONLY | unix.O_DSYNC} {
		f, err := os.OpenFile(filepath.Join(dir, itoa(flags)), flags|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("precious"); err != nil {
			t.Error(err)
		}
		if st := tr.Status(); st.DirtyFor != 0 || st.Unacked != 0 {
			t.Errorf("flags %x: %+v after the write", flags, st)
		}
		f.Close()
	}
}

func TestUnlinkedOpen(t *testing.T) {
	dir, _ := mounted(t)
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("gone"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
	if err != nil || string(got) != "gone" {
		t.Errorf("read %q, %v", got, err)
	}
	if fi, err := f.Stat(); err != nil || fi.Size() != 4 {
		t.Errorf("stat: %v, %v", fi, err)
	}
}

// TestLongestLink reads the longest target that a symbolic link can have, the largest answer that no request says
// the size of.
func TestLongestLink(t *testing.T) {
	dir, _ := mounted(t)
	want := strings.Repeat("t", tree.TargetMax)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(want, link); err != nil {
		t.Fatal(err)
	}
	if got, err := os.Readlink(link); err != nil || got != want {
		t.Errorf("a target of %d bytes is read as one of %d, %v", len(want), len(got), err)
	}
}
