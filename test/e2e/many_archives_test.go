package e2e

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"coffer/test/rig"
)

// TestManyArchives seals an archive after each of many small changes of a tree of many files: each archive shows the
// files as they were then, and the index grows with the changes, not with the archives. COFFER_MANY_ARCHIVES and
// COFFER_MANY_FILES say how many; 1,000 and 100,000 in a soak. It prints what the first look at a file takes, today and
// in an archive.
func TestManyArchives(t *testing.T) {
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	archives, files := rig.Count(t, "COFFER_MANY_ARCHIVES", 20), rig.Count(t, "COFFER_MANY_FILES", 2000)
	const perDir, changes = 1000, 10
	p := newPlace(t)
	m := p.mount(t, "--archive-every", "0")
	m.Watch(t, 10*time.Minute+time.Duration(archives)*time.Second)
	name := func(k int) string { return fmt.Sprintf("%04d/file-%06d", k/perDir, k) }
	content := func(k, archive int) string { return fmt.Sprintf("file %d as of archive %d\n", k, archive) }
	label := func(archive int) string { return fmt.Sprintf("archive-%04d", archive) }

	changed := make([][]int, files) // the archives from which on a file has other content, by file
	for k := range files {
		if k%perDir == 0 {
			rig.Must(t, os.Mkdir(filepath.Dir(m.Path(name(k))), 0o755))
		}
		rig.Must(t, os.WriteFile(m.Path(name(k)), []byte(content(k, 0)), 0o644))
		changed[k] = []int{0}
	}
	p.Run(t, "snapshot", p.mnt, "-m", label(0))
	first := treeSize(t, p.State())
	for a := 1; a < archives; a++ {
		for range changes {
			k := rng.IntN(files)
			rig.Must(t, os.WriteFile(m.Path(name(k)), []byte(content(k, a)), 0o644))
			changed[k] = append(changed[k], a)
		}
		p.Run(t, "snapshot", p.mnt, "-m", label(a))
	}
	m.Sync(t)
	grown := treeSize(t, p.State()) - first
	t.Logf("the index of %d files: %d MiB more for %d archives, %d bytes each", files, grown>>20, archives-1, grown/int64(archives-1))
	// bbolt lets its file grow by up to as much again as it needs.
	const perChange, steps = 4096, 64 << 20
	if most := int64(steps + archives*changes*perChange); grown > most {
		t.Errorf("the index has grown by %d bytes, more than %d", grown, most)
	}
	m.Unmount(t)
	m = p.mount(t, "--archive-every", "0")

	look := func(path string) (string, time.Duration) {
		t.Helper()
		start := time.Now()
		_, err := os.Lstat(path)
		rig.Must(t, err)
		f, err := os.Open(path)
		rig.Must(t, err)
		defer f.Close()
		var b [1]byte
		_, err = f.Read(b[:])
		rig.Must(t, err)
		took := time.Since(start)
		rest, err := io.ReadAll(f)
		rig.Must(t, err)
		return string(b[:]) + string(rest), took
	}
	var live, past []time.Duration
	start := time.Now()
	listed, err := os.ReadDir(m.Path(".snapshots"))
	rig.Must(t, err)
	listing := time.Since(start)
	for range 200 {
		k, a := rng.IntN(files), rng.IntN(archives)
		got, took := look(m.Path(name(k)))
		live = append(live, took)
		if want := content(k, changed[k][len(changed[k])-1]); got != want {
			t.Errorf("%s is %q, not %q", name(k), got, want)
		}
		got, took = look(m.Path(".snapshots", label(a), name(k)))
		past = append(past, took)
		at := 0
		for _, c := range changed[k] {
			if c <= a {
				at = c
			}
		}
		if want := content(k, at); got != want {
			t.Errorf("%s of archive %d is %q, not %q", name(k), a, got, want)
		}
	}
	t.Logf("%d names in .snapshots listed in %v; stat and first byte of a file, median: today %v, in an archive %v",
		len(listed), listing, middle(live), middle(past))
	m.Unmount(t)
}

func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// treeSize is how many bytes lie in the files below dir.
func treeSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	rig.Must(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n += info.Size()
		return nil
	}))
	return n
}
