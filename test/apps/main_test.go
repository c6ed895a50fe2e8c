package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

func TestMain(m *testing.M) {
	unix.Umask(0o022)
	os.Exit(rig.Main(m))
}

// modes are the ways to mount that each application is tried on.
var modes = []struct {
	name  string
	flags []string
}{
	{"default", nil},
	{"writeback", []string{"--writeback"}},
}

// inModes runs a test on a new volume in each mode, beside each other.
func inModes(t *testing.T, test func(t *testing.T, v *volume)) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			test(t, newVolume(t, m.flags...))
		})
	}
}

// volume is a mounted volume of somebody's.
type volume struct {
	*rig.Mount
	t          *testing.T // mounts last as long as it does
	user       *rig.User
	store, mnt string
	flags      []string
}

func newVolume(t *testing.T, flags ...string) *volume {
	t.Helper()
	dir := rig.PublicDir(t)
	v := &volume{
		t: t, user: rig.NewUser(t, filepath.Join(dir, "home")),
		store: filepath.Join(dir, "store"), mnt: filepath.Join(dir, "mnt"), flags: flags,
	}
	v.user.Run(t, "init", v.store)
	v.mount()
	return v
}

func (v *volume) mount() {
	v.t.Helper()
	v.Mount = v.user.Mount(v.t, v.store, v.mnt, v.flags...)
	v.Watch(v.t, 30*time.Minute)
}

// again unmounts in order and mounts again.
func (v *volume) again() {
	v.t.Helper()
	v.Unmount(v.t)
	v.mount()
}

// shell runs a script in dir; a failure ends the test.
func shell(t *testing.T, dir, script string, env ...string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}
