package dir_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is an ext4 in an image file that can be mounted again and again.
type disk struct {
	image, mount string
}

// small is the size of a disk that is soon full.
const small = 16 << 20

func newDisk(t *testing.T, size int64, mkfs ...string) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root to mount a file system")
	}
	d := &disk{image: filepath.Join(t.TempDir(), "image"), mount: filepath.Join(t.TempDir(), "mount")}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, size); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.mount, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", append(mkfs, "-q", "-F", d.image)...)
	d.attach(t)
	t.Cleanup(func() {
		if err := unix.Unmount(d.mount, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return d
}

func (d *disk) attach(t *testing.T, options ...string) {
	t.Helper()
	run(t, "mount", append(options, "-o", "loop", d.image, d.mount)...)
}

// shutdown fails everything from now on, and drops what is not on the disk.
func (d *disk) shutdown(t *testing.T) {
	t.Helper()
	const shutdown, withoutFlush = 0x8004587d, 2 // FS_IOC_SHUTDOWN
	f, err := os.Open(d.mount)
	if err != nil {
		t.Fatal(err)
	}
	err = unix.IoctlSetPointerInt(int(f.Fd()), shutdown, withoutFlush)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatalf("shut the file system down: %v", err)
	}
}

// cut is a loss of power: what is on the disk is mounted anew.
func (d *disk) cut(t *testing.T) {
	t.Helper()
	d.shutdown(t)
	run(t, "umount", d.mount)
	d.attach(t)
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
