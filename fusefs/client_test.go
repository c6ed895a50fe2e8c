package fusefs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// clientEnv makes the test binary a client of a mount instead: what it names is run with the arguments. A page
// fault on a mount stops a thread without Go's scheduler knowing, so a server must not serve its own process.
const clientEnv = "COFFER_FUSEFS_CLIENT"

var clients = map[string]func(args []string) error{
	"race":   raceClient,
	"append": appendClient,
	"write":  writeClient,
	"cut":    cutClient,
	"user":   userClient,
	"seek":   seekClient,

	"nodevice": noDeviceClient,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(clientEnv); name != "" {
		if err := clients[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func client(t *testing.T, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), clientEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// nobody runs a command as an ordinary user.
func nobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	return cmd
}

// raceClient reads a file over and over in one of several ways. For each number on its input it waits until
// the file consists of bytes of that value, and says so.
func raceClient(args []string) error {
	read, err := reader(args[0], args[1])
	if err != nil {
		return err
	}
	var stop atomic.Bool
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			for !stop.Load() {
				if _, err := read(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		b, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		if err := becomes(bytes.Repeat([]byte{byte(b)}, raceSize), read); err != nil {
			return err
		}
		fmt.Println("seen", b)
	}
	stop.Store(true)
	return g.Wait()
}

func reader(how, path string) (func() ([]byte, error), error) {
	if how == "open" {
		return func() ([]byte, error) { return os.ReadFile(path) }, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if how == "read" {
		return func() ([]byte, error) {
			b := make([]byte, raceSize)
			_, err := f.ReadAt(b, 0)
			return b, err
		}, nil
	}
	m, err := unix.Mmap(int(f.Fd()), 0, raceSize, unix.PROT_READ, unix.MAP_SHARED)
	return func() ([]byte, error) { return bytes.Clone(m), nil }, err
}

// becomes polls until read gives want: the notification that drops stale pages runs beside the write.
func becomes(want []byte, read func() ([]byte, error)) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		got, err := read()
		if err != nil {
			return err
		}
		if bytes.Equal(got, want) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("still sees %d, want %d", got[0], want[0])
		}
	}
}

func writeClient(args []string) error {
	f, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("x")
	return errors.Join(err, f.Close())
}

func cutClient(args []string) error { return os.Truncate(args[0], 0) }

// seekClient dirties a page of a mapping in the middle of a hole and looks for data before anybody writes it.
func seekClient(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := f.Truncate(64 << 10); err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	m[20<<10] = 1
	data, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
	if err != nil || data != 20<<10 {
		return fmt.Errorf("data is at %d, %w, want %d", data, err, 20<<10)
	}
	hole, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
	if err != nil || hole != 24<<10 {
		return fmt.Errorf("the hole behind it is at %d, %w, want %d", hole, err, 24<<10)
	}
	if m[20<<10]++; m[20<<10] != 2 {
		return errors.New("the mapping does not hold what was written")
	}
	return errors.Join(unix.Munmap(m), f.Close())
}

// racer is a running raceClient.
type racer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startRacer(t *testing.T, how, path string) *racer {
	t.Helper()
	r := &racer{cmd: client(t, "race", how, path)}
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.out = bufio.NewReader(out)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cmd.Process.Kill() })
	r.hear(t, "ready")
	return r
}

func (r *racer) hear(t *testing.T, want string) {
	t.Helper()
	line, err := r.out.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != want {
		t.Fatalf("client says %q, %v; want %q", line, err, want)
	}
}

func (r *racer) sees(t *testing.T, b byte) {
	t.Helper()
	fmt.Fprintln(r.in, b)
	r.hear(t, fmt.Sprint("seen ", b))
}

func (r *racer) end(t *testing.T) {
	t.Helper()
	r.in.Close()
	if err := r.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// appendClient dirties a page of a mapping of a file that is open for appending: it goes to its own
// place, not to the end.
func appendClient(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 8192))
	if err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m, "mapped")
	err = errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
	_, werr := f.WriteString("appended")
	return errors.Join(err, werr, f.Close())
}
