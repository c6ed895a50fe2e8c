package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"coffer/test/compare"
	"coffer/test/rig"
)

// spoolFaults happen to a client with a spool, its server, and its disk.
var spoolFaults = []fault{
	{name: "killed", strike: func(n *networked, m *rig.Mount) error {
		server, client := n.rng.IntN(3) > 0, n.rng.IntN(3) > 0
		if client {
			m.Signal()
		}
		if !server {
			return nil
		}
		n.server.Kill()
		// For a while there is the spool alone.
		<-time.After(time.Duration(n.rng.IntN(1000)) * time.Millisecond)
		return n.server.Start()
	}},
	{name: "power cut of the spool", strike: func(n *networked, m *rig.Mount) error {
		n.now.cutting.Store(true)
		if err := n.spoolDisk.Cut(); err != nil {
			return err
		}
		<-time.After(time.Duration(n.rng.IntN(150)) * time.Millisecond)
		m.Signal()
		return nil
	}},
}

// TestSpool has a client with a small spool in front of its server meet faults under load: processes that are killed at
// random instants, and power cuts of the disk that the spool is on. Each time the client's tree is checked; now and then
// all of it is moved on, and another machine's is. COFFER_SPOOL_KILLS says how often.
func TestSpool(t *testing.T) {
	for _, f := range spoolFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			n := newNetworked(t, f)
			other := n.another(t)
			place := t.TempDir()
			if f.name != "killed" {
				n.spoolDisk = rig.NewDisk(t, 512)
				place = n.spoolDisk.Dir
			}
			n.flags = []string{"--spool", filepath.Join(place, "spool"), "--spool-limit", "8MiB"}
			kills := rig.Count(t, "COFFER_SPOOL_KILLS", 3)
			for i := range kills {
				if err := n.run(t); err != nil {
					t.Fatalf("fault %d: %v", i+1, err)
				}
				if i%10 != 9 && i+1 != kills {
					continue
				}
				if err := n.moveOn(t, other); err != nil {
					t.Fatalf("after fault %d: %v", i+1, err)
				}
			}
		})
	}
}

// another is a machine with the key of the client's volume.
func (n *networked) another(t *testing.T) *rig.User {
	t.Helper()
	dir := t.TempDir()
	u := rig.NewUser(t, filepath.Join(dir, "home"))
	recovery := filepath.Join(dir, "recovery")
	rig.Must(t, os.WriteFile(recovery, []byte(n.user.Run(t, "key", "export", n.store)), 0o600))
	u.Run(t, "key", "import", n.server.Invite(t, "another", n.server.Address, "--with", "client"), recovery)
	return u
}

// moveOn waits until the spool is empty, ends the mount, and compares what another machine sees.
func (n *networked) moveOn(t *testing.T, other *rig.User) error {
	t.Helper()
	m, err := n.user.TryMount(t, n.store, n.mnt, n.flags...)
	if err != nil {
		return err
	}
	n.user.Run(t, "sync", "--remote", n.mnt)
	m.Unmount(t)
	if left := rig.Chunks(t, n.flags[1]); len(left) > 0 {
		return fmt.Errorf("the spool has %q when all is on the server", left)
	}
	mnt := filepath.Join(t.TempDir(), "mnt")
	m, err = other.TryMount(t, "coffer://"+n.server.Address, mnt)
	if err != nil {
		return err
	}
	tree, err := compare.Read(mnt, nil)
	if err != nil {
		return fmt.Errorf("read another machine's tree: %w\n%s", err, m.Log())
	}
	m.Unmount(t)
	if d := diff(n.state, tree, 10); len(d) > 0 {
		return fmt.Errorf("another machine's tree differs:\n%s", compare.Summary(d))
	}
	return nil
}
