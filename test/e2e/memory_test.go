package e2e

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"coffer/test/rig"
)

// TestMemory writes and reads much more than may be held in memory, in a control group that would
// end the process if it took more than it may.
func TestMemory(t *testing.T) {
	const (
		segment = 64 * (1<<20 + 64<<10)
		cache   = 64 << 20
		bound   = segment + cache + 150<<20
	)
	p := newPlace(t)
	m := p.mount(t)
	m.Watch(t, 10*time.Minute)
	limitMemory(t, m.Pid(), bound+100<<20)

	// Twice the bound in one file, and small ones for the index and the inode cache.
	f, err := os.Create(m.Path("large"))
	rig.Must(t, err)
	_, err = io.CopyN(f, rand.Reader, 2*bound)
	rig.Must(t, err, f.Close())
	peak := m.Memory(t)
	rig.CopyTree(t, sourceTree(t), m.Path("tree"))
	peak = max(peak, m.Memory(t))
	m.Sync(t)
	rig.Must(t, filepath.WalkDir(m.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, f)
		return err
	}))
	peak = max(peak, m.Memory(t))
	m.Unmount(t)
	if peak > bound {
		t.Errorf("RssAnon + RssShmem reached %d MiB, more than %d MiB", peak>>20, int64(bound)>>20)
	}
	t.Logf("peak %d MiB of %d MiB", peak>>20, int64(bound)>>20)
}

// limitMemory moves a process into a control group of its own, of either version.
func limitMemory(t *testing.T, pid int, limit int64) {
	t.Helper()
	parent, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		parent, file = "/sys/fs/cgroup", "memory.max"
	}
	group := filepath.Join(parent, "coffer-test-"+strconv.Itoa(pid))
	rig.Must(t, os.Mkdir(group, 0o755))
	t.Cleanup(func() { os.Remove(group) })
	rig.Must(t,
		os.WriteFile(filepath.Join(group, file), []byte(strconv.FormatInt(limit, 10)), 0),
		os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0))
}
