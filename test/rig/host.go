package rig

import (
	"os"
	"path/filepath"
	"testing"
)

// Host is a file system to test, a mount or another one as a control.
type Host interface {
	// Dir is an empty directory on it.
	Dir() string
	// Remount unmounts the file system in order and mounts it again. Nothing on it is open.
	Remount(testing.TB)
	// Crash ends the file system without warning and mounts it again. Files may be open.
	Crash(testing.TB)
}

// Volume is a mounted volume; its crash is the death of its process.
type Volume struct {
	user       *User
	mount      *Mount
	store, mnt string
	flags      []string
}

// NewVolume makes a store and mounts it with flags.
func NewVolume(tb testing.TB, flags ...string) *Volume {
	tb.Helper()
	dir := tb.TempDir()
	v := &Volume{
		user:  NewUser(tb, filepath.Join(dir, "home")),
		store: filepath.Join(dir, "store"), mnt: filepath.Join(dir, "mnt"), flags: flags,
	}
	v.user.Run(tb, "init", v.store)
	v.mount = v.user.Mount(tb, v.store, v.mnt, v.flags...)
	return v
}

// Dir implements Host.
func (v *Volume) Dir() string { return v.mnt }

// Remount implements Host.
func (v *Volume) Remount(tb testing.TB) {
	tb.Helper()
	v.mount.Unmount(tb)
	v.mount = v.user.Mount(tb, v.store, v.mnt, v.flags...)
}

// Crash implements Host.
func (v *Volume) Crash(tb testing.TB) {
	tb.Helper()
	v.mount.Kill()
	v.mount = v.user.Mount(tb, v.store, v.mnt, v.flags...)
}

// Ext4 is a Disk; its crash is a cut of the power.
type Ext4 struct{ disk *Disk }

// NewExt4 makes a disk of 1 GiB.
func NewExt4(tb testing.TB) Ext4 {
	tb.Helper()
	e := Ext4{NewDisk(tb, 1024)}
	Must(tb, os.Mkdir(e.Dir(), 0o755))
	Output(tb, "sync", "-f", e.Dir())
	return e
}

// Dir implements Host.
func (e Ext4) Dir() string { return filepath.Join(e.disk.Dir, "files") }

// Remount implements Host.
func (e Ext4) Remount(tb testing.TB) {
	tb.Helper()
	Must(tb, e.disk.Unmount(), e.disk.Mount())
}

// Crash implements Host.
func (e Ext4) Crash(tb testing.TB) {
	tb.Helper()
	Must(tb, e.disk.Cut())
	Must(tb, e.disk.Unmount(), e.disk.Mount())
}

// Plain is a directory of a file system that stays mounted.
type Plain string

// Dir implements Host.
func (p Plain) Dir() string { return string(p) }

// Remount implements Host.
func (p Plain) Remount(testing.TB) {}

// Crash implements Host.
func (p Plain) Crash(testing.TB) {}
