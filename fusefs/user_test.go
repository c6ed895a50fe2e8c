package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAsUser runs what a user needs again as one, who mounts through fusermount3. It happens in a mount
// namespace of its own, with a device that users may open, as every machine with udev has.
func TestAsUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root, to become somebody else")
	}
	cmd := client(t, "user", filepath.Join(t.TempDir(), "fuse"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Stderr = nil
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func userClient(args []string) error {
	if err := unix.Mknod(args[0], unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))); err != nil {
		return err
	}
	if err := unix.Chmod(args[0], 0o666); err != nil {
		return err
	}
	if err := unix.Mount(args[0], "/dev/fuse", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	const these = "^(TestMountAndUnmount|TestUnmountBusy|TestUnmountedFromOutside|TestReadDir|TestFileOperations|TestRaces)$"
	cmd := nobody(exec.Command("/proc/self/exe", "-test.run", these, "-test.v"))
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, clientEnv) && !strings.HasPrefix(v, "TMPDIR=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.CombinedOutput()
	if err == nil && !bytes.Contains(out, []byte("--- PASS: TestRaces")) {
		err = errors.New("the tests did not run")
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// TestNoDevice is what a user gets who may not use FUSE.
func TestNoDevice(t *testing.T) {
	cmd := client(t, "nodevice", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Stderr = nil
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func noDeviceClient(args []string) error {
	if err := unix.Mount("none", "/dev", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := checkDevice(); !errors.Is(err, ErrNoFuse) {
		return fmt.Errorf("without the device: %v, want %v", err, ErrNoFuse)
	}
	return nil
}

// TestSetID has set-id bits go where POSIX wants it.
func TestSetID(t *testing.T) {
	dir, _ := mounted(t)
	unix.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755)
	unix.Chmod(filepath.Dir(dir), 0o755)
	for _, c := range []struct {
		name string
		do   func(path string) error
		want uint32
	}{
		{"write by root", func(p string) error { return client(t, "write", p).Run() }, 0o6777},
		{"write by another", func(p string) error { return nobody(client(t, "write", p)).Run() }, 0o777},
		{"truncation by root", func(p string) error { return client(t, "cut", p).Run() }, 0o6777},
		{"truncation by another", func(p string) error { return nobody(client(t, "cut", p)).Run() }, 0o777},
		{"chown", func(p string) error { return os.Chown(p, 1, 1) }, 0o777},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, "f")
			if err := os.WriteFile(path, []byte("12345"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Chmod(path, 0o6777); err != nil {
				t.Fatal(err)
			}
			if err := c.do(path); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil || st.Mode != unix.S_IFREG|c.want {
				t.Errorf("mode %o, %v; want %o", st.Mode, err, c.want)
			}
		})
	}
}

// TestDevices are what only root's mount has.
func TestDevices(t *testing.T) {
	dir, _ := mounted(t)
	path := filepath.Join(dir, "null")
	if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("into the void"), 0); err != nil {
		t.Error(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("device %x, %v", st.Rdev, err)
	}
}
