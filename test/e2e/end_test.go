package e2e

import (
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

// TestOtherEnds takes mounts away in the ways that are not coffer umount. The process notices, stores what it
// has, and ends by itself.
func TestOtherEnds(t *testing.T) {
	p := newPlace(t)
	written := map[string][]byte{}
	for _, tc := range []struct {
		name string
		end  func(m *rig.Mount) error
	}{
		{"umount(8)", func(m *rig.Mount) error { return unix.Unmount(m.Dir, 0) }},
		{"SIGTERM", func(m *rig.Mount) error { return syscall.Kill(m.Pid(), syscall.SIGTERM) }},
		{"SIGTERM while in use", func(m *rig.Mount) error {
			f, err := os.Create(m.Path("open"))
			if err != nil {
				return err
			}
			t.Cleanup(func() { f.Close() })
			return syscall.Kill(m.Pid(), syscall.SIGTERM)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := p.mount(t)
			m.Watch(t, time.Minute)
			verify(t, m, written)
			written[tc.name] = noise(300_000)
			rig.Must(t, os.WriteFile(m.Path(tc.name), written[tc.name], 0o644), tc.end(m))
			<-m.Done()
			m = p.mount(t)
			verify(t, m, written)
			m.Unmount(t)
		})
	}
}
