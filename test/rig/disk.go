package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is an ext4 file system of its own on a loop device: it can be filled, and its power can be cut.
type Disk struct {
	Dir   string // where it is mounted
	image string
}

// NewDisk makes and mounts a disk of the given size. Needs root.
func NewDisk(tb testing.TB, mib int) *Disk {
	tb.Helper()
	base := tb.TempDir()
	d := &Disk{Dir: filepath.Join(base, "disk"), image: filepath.Join(base, "image")}
	Must(tb, os.Mkdir(d.Dir, 0o755), os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, int64(mib)<<20))
	// A file for each page of room, so that a large disk holds a million.
	Output(tb, "mkfs.ext4", "-q", "-F", "-m", "0", "-i", "4096", d.image)
	Must(tb, d.Mount())
	tb.Cleanup(func() { unix.Unmount(d.Dir, unix.MNT_DETACH) })
	return d
}

// Mount mounts the disk again after Unmount.
func (d *Disk) Mount() error {
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.Dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount the disk: %w: %s", err, out)
	}
	return nil
}

// Unmount takes the disk away; whatever used it must have ended.
func (d *Disk) Unmount() error {
	if err := unix.Unmount(d.Dir, 0); err != nil {
		return fmt.Errorf("unmount the disk: %w", err)
	}
	return nil
}

// Cut takes the power from the disk: what is in caches only, the journal's included, is gone. Every
// later access fails with EIO until the disk has been unmounted and mounted.
func (d *Disk) Cut() error {
	const (
		fsIocShutdown = 0x8004587d // _IOR('X', 125, __u32)
		noLogFlush    = 2
	)
	// A child that is made while dir is open has it too until it has become another program, and the disk stays busy.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	dir, err := os.Open(d.Dir)
	if err != nil {
		return fmt.Errorf("cut the power: %w", err)
	}
	defer dir.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), fsIocShutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("cut the power: %w", errno)
	}
	return nil
}
