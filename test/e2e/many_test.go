package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"coffer/test/rig"
)

// TestManyFiles makes, lists and reads more files than the process has room for in memory, in a control group
// that would end it if it took more than it may. COFFER_FILES says how many; 3,000,000 in a soak.
func TestManyFiles(t *testing.T) {
	const (
		limit  = 512 << 20
		perDir = 10_000
	)
	files := rig.Count(t, "COFFER_FILES", 20_000)
	p := newPlace(t)
	m := p.mount(t)
	m.Watch(t, 10*time.Minute+time.Duration(files)*2*time.Millisecond)
	limitMemory(t, m.Pid(), limit)
	name := func(k int) string { return m.Path(fmt.Sprintf("%04d", k/perDir), fmt.Sprintf("file-%07d", k)) }
	content := func(k int) string { return fmt.Sprintf("this is file %d of many\n", k) }

	// workers splits the files between as many as keep the mount busy.
	const many = 4
	workers := func(do func(k int) error) {
		t.Helper()
		var all errgroup.Group
		for w := range many {
			all.Go(func() error {
				for k := w * files / many; k < (w+1)*files/many; k++ {
					if err := do(k); err != nil {
						return err
					}
				}
				return nil
			})
		}
		rig.Must(t, all.Wait())
	}
	for k := 0; k < files; k += perDir {
		rig.Must(t, os.Mkdir(filepath.Dir(name(k)), 0o755))
	}
	workers(func(k int) error { return os.WriteFile(name(k), []byte(content(k)), 0o644) })
	m.Sync(t)
	peak := m.Memory(t)

	found := 0
	rig.Must(t, filepath.WalkDir(m.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm() != 0o644 || info.Size() == 0 {
			return fmt.Errorf("%s is %v, %d bytes", path, info.Mode(), info.Size())
		}
		found++
		return nil
	}))
	if found != files {
		t.Errorf("%d files are listed of %d", found, files)
	}
	peak = max(peak, m.Memory(t))

	workers(func(k int) error {
		got, err := os.ReadFile(name(k))
		if err == nil && string(got) != content(k) {
			err = fmt.Errorf("%s holds %q", name(k), got)
		}
		return err
	})
	peak = max(peak, m.Memory(t))
	t.Logf("%d files, peak %d MiB of %d MiB", files, peak>>20, limit>>20)
	if peak > limit {
		t.Errorf("RssAnon + RssShmem reached %d MiB", peak>>20)
	}
	m.Unmount(t)
}
