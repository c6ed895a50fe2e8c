package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

func TestMain(m *testing.M) {
	unix.Umask(0o022)
	os.Exit(rig.Main(m))
}

// place is a user with a store and a place to mount it.
type place struct {
	*rig.User
	store, mnt string
}

func newPlace(t *testing.T) place {
	t.Helper()
	dir := rig.PublicDir(t)
	p := place{rig.NewUser(t, filepath.Join(dir, "home")), filepath.Join(dir, "store"), filepath.Join(dir, "mnt")}
	p.Run(t, "init", p.store)
	return p
}

func (p place) mount(t *testing.T, flags ...string) *rig.Mount {
	t.Helper()
	return p.Mount(t, p.store, p.mnt, flags...)
}
