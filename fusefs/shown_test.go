package fusefs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

// oneFile is a view of a directory with one file in it, "f", which tests change.
type oneFile struct {
	mu      sync.Mutex
	content []byte
	ctime   int64
}

const (
	oneRoot = past.Node(chunkfmt.RootIno)
	oneIno  = past.Node(7)
)

func (v *oneFile) set(content []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.content, v.ctime = content, v.ctime+1
}

func (v *oneFile) Get(n past.Node) (f past.Found, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f.Node, f.Nlink, f.Mode, f.Parent = n, 2, unix.S_IFDIR|0o755, oneRoot
	switch n {
	case oneRoot:
	case oneIno:
		f.Nlink, f.Mode, f.Size, f.Ctime.Sec = 1, unix.S_IFREG|0o644, uint64(len(v.content)), v.ctime
	default:
		err = unix.ENOENT
	}
	return f, err
}

func (v *oneFile) Lookup(_ past.Node, name string) (past.Found, error) {
	if name != "f" {
		return past.Found{}, unix.ENOENT
	}
	return v.Get(oneIno)
}

func (v *oneFile) ReadDir(context.Context, past.Node, uint64, func(string, past.Dirent) bool) error {
	return nil
}
func (v *oneFile) Xattr(past.Node, string) ([]byte, error) { return nil, unix.ENODATA }
func (v *oneFile) Xattrs(past.Node) ([]past.Xattr, error)  { return nil, nil }
func (v *oneFile) Lasting(past.Node) bool                  { return false }
func (v *oneFile) Seek(int64, int) (int64, error)          { return 0, unix.ENXIO }
func (v *oneFile) Open(n past.Node) (past.OpenFile, past.Found, error) {
	f, err := v.Get(n)
	return v, f, err
}

func (v *oneFile) Read(_ context.Context, p []byte, off int64) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if off >= int64(len(v.content)) {
		return 0, nil
	}
	return copy(p, v.content[off:]), nil
}

// mountedView mounts a view that the kernel may believe for no time at all.
func mountedView(t *testing.T, v view) (dir string, s *Server) {
	t.Helper()
	o := Options{readOnly: true}
	o.setDefaults()
	dir = filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s = &Server{dir: dir, done: make(chan struct{})}
	err := s.mount(t.Context(), &o, func(stop <-chan struct{}) { <-stop }, func(a *answers) fuse.RawFileSystem {
		s.shown = newShown(a, v)
		return s.shown
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { away(t, s) })
	return dir, s
}

// opened opens a file past Go's own polling, for which a server in this process can't answer.
func opened(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// wantAt reads at off and wants some bytes, and that the file is so long.
func wantAt(t *testing.T, what string, fd int, off int64, want []byte, size int64) {
	t.Helper()
	got := make([]byte, len(want)+10)
	n, err := unix.Pread(fd, got, off)
	if err != nil || !bytes.Equal(got[:n], want) {
		t.Errorf("%s: at %d it reads %.40q, %v; want %.40q", what, off, got[:max(n, 0)], err, want)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size != size {
		t.Errorf("%s: %d bytes, %v; want %d", what, st.Size, err, size)
	}
}

// TestChangedWhileOpen: whoever has a file open whose end moves reads no zeros behind the old one, or where a new one
// has come to be.
func TestChangedWhileOpen(t *testing.T) {
	v := &oneFile{content: []byte("0123456789")}
	dir, s := mountedView(t, v)
	path := filepath.Join(dir, "f")
	fd := opened(t, path)
	wantAt(t, "at first", fd, 0, []byte("0123456789"), 10)

	// Longer. Whoever asks how long it is waits until the pages are gone.
	v.set([]byte("0123456789abcdefghij"))
	asked := make(chan unix.Stat_t)
	read := make(chan string)
	go func() {
		var st unix.Stat_t
		unix.Fstat(fd, &st)
		asked <- st
	}()
	go func() {
		b := make([]byte, 100)
		n, err := unix.Pread(fd, b, 10) // the kernel asks first whether the end is where it was
		read <- fmt.Sprintf("%s %v", b[:max(n, 0)], err)
	}()
	s.Changed()
	if st := <-asked; st.Size != 20 {
		t.Errorf("whoever asks is told of %d bytes, want 20", st.Size)
	}
	if got := <-read; got != "abcdefghij <nil>" {
		t.Errorf("behind the old end it reads %q", got)
	}
	wantAt(t, "longer", fd, 10, []byte("abcdefghij"), 20)
	wantAt(t, "longer", opened(t, path), 0, []byte("0123456789abcdefghij"), 20)

	// The same length.
	v.set([]byte("0123456789klmnopqrst"))
	s.Changed()
	wantAt(t, "other bytes", fd, 10, []byte("klmnopqrst"), 20)

	// Shorter than what the kernel takes it for.
	long := bytes.Repeat([]byte("long"), 4<<20)
	v.set(long)
	s.Changed()
	wantAt(t, "long", fd, int64(len(long))-8, []byte("longlong"), int64(len(long)))
	v.set([]byte("short"))
	got := make([]byte, 100)
	if n, err := unix.Pread(fd, got, 12<<20); n != 0 || err != nil {
		t.Errorf("what was cut off reads %q, %v", got[:max(n, 0)], err)
	}
	s.Changed()
	wantAt(t, "short", fd, 0, []byte("short"), 5)
	wantAt(t, "beyond the end", fd, 12<<20, nil, 5)
}

// TestChangedBeside has somebody look at a file all the time that is appended to, cut and written anew: all that he reads is of it.
func TestChangedBeside(t *testing.T) {
	v := &oneFile{content: bytes.Repeat([]byte{1}, 5000)}
	dir, s := mountedView(t, v)
	path := filepath.Join(dir, "f")
	stop := make(chan struct{})
	var looking sync.WaitGroup
	for range 3 {
		looking.Go(func() {
			buf := make([]byte, 64<<10)
			for fd := -1; ; {
				select {
				case <-stop:
					unix.Close(fd)
					return
				default:
				}
				if fd < 0 {
					fd, _ = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
				}
				var st unix.Stat_t
				unix.Fstat(fd, &st)
				for _, off := range []int64{0, max(st.Size-100, 0), 4999} {
					n, err := unix.Pread(fd, buf, off)
					if err != nil {
						t.Error(err)
					}
					if k := bytes.IndexByte(buf[:max(n, 0)], 0); k >= 0 {
						t.Errorf("a zero at %d", off+int64(k))
						unix.Close(fd)
						return
					}
				}
				if st.Size%3 == 0 {
					unix.Close(fd)
					fd = -1
				}
			}
		})
	}
	for n := range 3000 {
		v.set(bytes.Repeat([]byte{byte(n%255 + 1)}, 1+(n+1)*7919%40000))
		s.Changed()
	}
	close(stop)
	looking.Wait()
}
