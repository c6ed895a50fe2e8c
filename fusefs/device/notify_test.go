package device

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The test program is also the processes that TestKilled needs.
const role = "COFFER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "server":
		if err := serveHeld(os.Args[1], os.Args[2] == "pending"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "notices":
		if err := WriteNotices(); err != nil {
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

const (
	heldIno  = 2
	heldName = "file"
	heldSize = 1 << 20
)

// held is a file system with one file. Reads of it, and lookups of any other name, are never answered.
type held struct {
	fuse.RawFileSystem
	conn *Conn
}

func (h *held) attr(ino uint64, to *fuse.Attr) {
	*to = fuse.Attr{Ino: ino, Mode: unix.S_IFDIR | 0o755, Nlink: 2}
	if ino == heldIno {
		*to = fuse.Attr{Ino: ino, Mode: unix.S_IFREG | 0o644, Nlink: 1, Size: heldSize, Owner: fuse.Owner{Uid: uint32(os.Getuid())}}
	}
}

func (h *held) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if name != heldName {
		fmt.Println("held")
		select {}
	}
	out.NodeId = heldIno
	out.SetEntryTimeout(time.Hour)
	out.SetAttrTimeout(time.Hour)
	h.attr(heldIno, &out.Attr)
	return fuse.OK
}

func (h *held) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(time.Hour)
	h.attr(in.NodeId, &out.Attr)
	return fuse.OK
}

func (h *held) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

func (h *held) Read(_ <-chan struct{}, in *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	h.conn.Pass(in.Unique)
	fmt.Println("held")
	select {}
}

// serveHeld mounts held on dir and sends a notice for each line of standard input. If pending, no request is read
// any more once one is held.
func serveHeld(dir string, pending bool) error {
	o := Options{
		Source: "held", Type: "coffer-test", MaxWrite: 64 << 10, MaxLarge: 4, Log: slog.Default(),
		Notices: func() *exec.Cmd {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), role+"=notices")
			return cmd
		},
	}
	if pending {
		o.MaxLarge = 1
	}
	conn, err := Mount(context.Background(), dir, o)
	if err != nil {
		return err
	}
	server := fuse.NewProtocolServer(&held{fuse.NewDefaultRawFileSystem(), conn}, &fuse.MountOptions{MaxWrite: o.MaxWrite})
	handle := func(in, out [][]byte) (int, unix.Errno) {
		n, status := server.HandleRequest(in, out)
		return n, unix.Errno(status)
	}
	if err := conn.First(handle); err != nil {
		return err
	}
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			notice := order.AppendUint64(nil, heldIno)
			conn.Notify(2, append(notice, make([]byte, 16)...)) // FUSE_NOTIFY_INVAL_INODE of all of it
		}
	}()
	fmt.Println("mounted")
	return conn.Serve(handle, func() {})
}

// TestKilled kills the process of a mount while the kernel, which it has told to drop a page, waits for a request
// that holds the page: one that the process has read, or one that it hasn't. All who wait must be let go.
func TestKilled(t *testing.T) {
	for _, which := range []string{"read", "pending"} {
		t.Run(which, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command("/proc/self/exe", dir, which)
			cmd.Env = append(os.Environ(), role+"=server")
			cmd.Stderr = os.Stderr
			in, err := cmd.StdinPipe()
			must(t, err)
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			t.Cleanup(func() {
				cmd.Process.Kill()
				if t.Failed() {
					unix.Unmount(dir, unix.MNT_FORCE)
				}
				unix.Unmount(dir, unix.MNT_DETACH)
				exec.Command("fusermount3", "-uzq", dir).Run()
			})
			lines := bufio.NewReader(out)
			says(t, lines, "mounted")
			file, err := os.Open(filepath.Join(dir, heldName))
			must(t, err)
			defer file.Close()

			if which == "pending" {
				go os.Stat(filepath.Join(dir, "other"))
				says(t, lines, "held")
			}
			read, thread := make(chan error, 1), make(chan int, 1)
			go func() {
				runtime.LockOSThread()
				thread <- unix.Gettid()
				_, err := unix.Pread(int(file.Fd()), make([]byte, 100), 0)
				read <- err
			}()
			if which == "read" {
				says(t, lines, "held")
			} else {
				waits(t, os.Getpid(), <-thread)
			}
			_, err = io.WriteString(in, "notify\n")
			must(t, err)
			waits(t, notices(t, cmd.Process.Pid), 0)
			cmd.Process.Kill()
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			deadline := time.After(20 * time.Second)
			for range 2 {
				select {
				case <-ended:
				case err := <-read:
					if err == nil {
						t.Error("a page was read that nobody served")
					}
				case <-deadline:
					t.Fatal("the process was killed, and somebody still waits for it")
				}
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func says(t *testing.T, lines *bufio.Reader, want string) {
	t.Helper()
	if got, err := lines.ReadString('\n'); got != want+"\n" {
		t.Fatalf("the server says %q, not %q: %v", got, want, err)
	}
}

// eventually waits until f is so.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 2000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("never seen: " + what)
}

// waits returns when a thread of a process, any if 0, sleeps in the kernel so that signals do not wake it.
func waits(t *testing.T, process, thread int) {
	t.Helper()
	pattern := "*"
	if thread != 0 {
		pattern = strconv.Itoa(thread)
	}
	eventually(t, "a thread that waits in the kernel", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/%s/stat", process, pattern))
		for _, task := range tasks {
			stat, err := os.ReadFile(task)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if _, fields, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(fields, "D") {
				return true
			}
		}
		return false
	})
}

// notices is the process that the server has started to write notices, or the server, if that is gone by then.
func notices(t *testing.T, server int) (pid int) {
	t.Helper()
	eventually(t, "a process that writes notices", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", server))
		for _, task := range tasks {
			children, _ := os.ReadFile(task)
			if n, _ := fmt.Sscan(string(children), &pid); n == 1 {
				return true
			}
		}
		return false
	})
	return pid
}
