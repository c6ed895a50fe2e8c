package fsx

import (
	"os"
	"path/filepath"
	"testing"

	"coffer/test/rig"
)

// Host is a file system to test.
type Host interface {
	// Dir is an empty directory on it.
	Dir() string
	// Remount unmounts the file system in order and mounts it again. Nothing on it is open.
	Remount(testing.TB)
	// Crash ends the file system without warning and mounts it again. Files may be open.
	Crash(testing.TB)
}

// Coffer is a mounted volume; its crash is the death of its process.
type Coffer struct {
	user       *rig.User
	mount      *rig.Mount
	store, mnt string
	flags      []string
}

// NewCoffer makes a store and mounts it with flags.
func NewCoffer(tb testing.TB, flags ...string) *Coffer {
	tb.Helper()
	dir := tb.TempDir()
	c := &Coffer{
		user:  rig.NewUser(tb, filepath.Join(dir, "home")),
		store: filepath.Join(dir, "store"), mnt: filepath.Join(dir, "mnt"), flags: flags,
	}
	c.user.Run(tb, "init", c.store)
	c.mount = c.user.Mount(tb, c.store, c.mnt, c.flags...)
	return c
}

// Dir implements Host.
func (c *Coffer) Dir() string { return c.mnt }

// Remount implements Host.
func (c *Coffer) Remount(tb testing.TB) {
	tb.Helper()
	c.mount.Unmount(tb)
	c.mount = c.user.Mount(tb, c.store, c.mnt, c.flags...)
}

// Crash implements Host.
func (c *Coffer) Crash(tb testing.TB) {
	tb.Helper()
	c.mount.Kill()
	c.mount = c.user.Mount(tb, c.store, c.mnt, c.flags...)
}

// Ext4 is a disk of its own; its crash is a cut of the power.
type Ext4 struct{ disk *rig.Disk }

// NewExt4 makes a disk of 1 GiB.
func NewExt4(tb testing.TB) Ext4 {
	tb.Helper()
	e := Ext4{rig.NewDisk(tb, 1024)}
	rig.Must(tb, os.Mkdir(e.Dir(), 0o755))
	rig.Output(tb, "sync", "-f", e.Dir())
	return e
}

// Dir implements Host.
func (e Ext4) Dir() string { return filepath.Join(e.disk.Dir, "files") }

// Remount implements Host.
func (e Ext4) Remount(tb testing.TB) {
	tb.Helper()
	rig.Must(tb, e.disk.Unmount(), e.disk.Mount())
}

// Crash implements Host.
func (e Ext4) Crash(tb testing.TB) {
	tb.Helper()
	rig.Must(tb, e.disk.Cut())
	rig.Must(tb, e.disk.Unmount(), e.disk.Mount())
}

// Plain is a directory of a file system that stays mounted.
type Plain string

// Dir implements Host.
func (p Plain) Dir() string { return string(p) }

// Remount implements Host.
func (p Plain) Remount(testing.TB) {}

// Crash implements Host.
func (p Plain) Crash(testing.TB) {}
