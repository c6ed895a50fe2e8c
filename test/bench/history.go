package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// modules are what has a history that is at hand: their versions are unpacked over one another.
var modules = []string{
	"golang.org/x/tools", "golang.org/x/text", "golang.org/x/sys", "github.com/klauspost/compress", "github.com/spf13/cobra",
}

// states is how many versions of the modules there are, each one state of a tree.
const states = 10

// kept is what one subject took for all states, and to bring the last back.
type kept struct {
	store, restore    time.Duration
	stored            int64
	memory, restoring int64 // peaks of RssAnon + RssShmem, bytes
}

// benchHistory prints what it takes to keep ten states of a tree and to bring the last one back, by put and restore
// beside restic and borg, and by cp out of .snapshots beside cp out of a loopback.
func benchHistory(o options) error {
	var keepers []subject
	for _, s := range subjects {
		if s.restore != nil && o.only.MatchString("history/"+s.name) {
			keepers = append(keepers, s)
		}
	}
	snapshots := o.only.MatchString("history/snapshots")
	if len(keepers) == 0 && !snapshots {
		return nil
	}
	versions, err := moduleVersions()
	if err != nil {
		return err
	}
	all := map[string][]kept{}
	copies := map[string][]float64{}
	for run := range o.runs {
		for _, k := range keepers {
			fmt.Fprintf(os.Stderr, "run %d of %d: history, %s\n", run+1, o.runs, k.name)
			got, err := keep(o, k, versions)
			if err != nil {
				return fmt.Errorf("history, %s: %w", k.name, err)
			}
			all[k.name] = append(all[k.name], got)
		}
		for _, name := range []string{"loopback", "coffer"} {
			if !snapshots {
				continue
			}
			fmt.Fprintf(os.Stderr, "run %d of %d: history, snapshots of %s\n", run+1, o.runs, name)
			took, err := copySnapshot(o, name, versions)
			if err != nil {
				return fmt.Errorf("history, snapshots of %s: %w", name, err)
			}
			copies[name] = append(copies[name], took.Seconds())
		}
	}
	if len(keepers) > 0 {
		fmt.Printf("\nhistory, %d states of a tree, median of %d\n", states, o.runs)
		fmt.Printf("%-12s %9s %10s %8s %10s %8s\n", "", "store s", "stored MB", "RSS MiB", "restore s", "RSS MiB")
	}
	for _, k := range keepers {
		of := func(v func(kept) float64) float64 {
			var values []float64
			for _, k := range all[k.name] {
				values = append(values, v(k))
			}
			return median(values)
		}
		fmt.Printf("%-12s %9.2f %10.1f %8.0f %10.2f %8.0f\n", k.name,
			of(func(k kept) float64 { return k.store.Seconds() }), of(func(k kept) float64 { return float64(k.stored) / 1e6 }),
			of(func(k kept) float64 { return float64(k.memory) / (1 << 20) }),
			of(func(k kept) float64 { return k.restore.Seconds() }),
			of(func(k kept) float64 { return float64(k.restoring) / (1 << 20) }))
	}
	if snapshots {
		mine, base := median(copies["coffer"]), median(copies["loopback"])
		fmt.Printf("\ncp -a of the last state, cold: out of .snapshots %.2f s, out of a loopback of the tree %.2f s, × loopback %.2f\n",
			mine, base, base/mine)
	}
	return nil
}

// moduleVersions downloads the versions of the modules and gives their folders, by state.
func moduleVersions() ([][]string, error) {
	byState := make([][]string, states)
	for _, module := range modules {
		out, err := exec.Command("go", "list", "-m", "-versions", module).Output()
		if err != nil {
			return nil, fmt.Errorf("which versions of %s there are: %w", module, err)
		}
		versions := slices.DeleteFunc(strings.Fields(string(out))[1:], func(v string) bool { return strings.Contains(v, "-") })
		if len(versions) < states {
			return nil, fmt.Errorf("there are %d versions of %s, not %d", len(versions), module, states)
		}
		for k, version := range versions[len(versions)-states:] {
			out, err := exec.Command("go", "mod", "download", "-json", module+"@"+version).Output()
			if err != nil {
				return nil, fmt.Errorf("download %s %s: %w", module, version, err)
			}
			var m struct{ Dir string }
			if err := json.Unmarshal(out, &m); err != nil {
				return nil, fmt.Errorf("download %s %s: %w", module, version, err)
			}
			byState[k] = append(byState[k], m.Dir)
		}
	}
	return byState, nil
}

// unpack brings the tree to a state: each module over its version before.
func unpack(tree string, versions []string) error {
	for k, dir := range versions {
		to := filepath.Join(tree, strconv.Itoa(k))
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		// Files in the module cache can't be written, so each replaces the one before.
		if err := command("cp", "-r", "--remove-destination", dir+"/.", to); err != nil {
			return err
		}
		if err := command("chmod", "-R", "u+w", to); err != nil {
			return err
		}
	}
	return nil
}

func keep(o options, s subject, versions [][]string) (got kept, err error) {
	p, clean, err := prepared(o, s)
	if err != nil {
		return got, err
	}
	defer clean()
	w := work{dir: filepath.Join(p.dir, "tree")}
	p.runs = true
	for _, dirs := range versions {
		if err := unpack(w.dir, dirs); err != nil {
			return got, err
		}
		start := time.Now()
		if err := s.write(p, &w); err != nil {
			return got, err
		}
		got.store += time.Since(start)
	}
	got.memory = p.peak.Load()
	if got.stored, _, err = size(p.store()); err != nil {
		return got, err
	}
	if w.bytes, w.files, err = size(w.dir); err != nil {
		return got, err
	}
	got.restore, got.restoring, err = restore(p, &w, s)
	return got, err
}

// copySnapshot times a copy of the last state out of a mount that has just been made.
func copySnapshot(o options, name string, versions [][]string) (time.Duration, error) {
	s := subjectNamed(name)
	p, clean, err := prepared(o, s)
	if err != nil {
		return 0, err
	}
	defer clean()
	tree := filepath.Join(p.dir, "tree")
	for _, dirs := range versions {
		if err := unpack(tree, dirs); err != nil {
			return 0, err
		}
	}
	from := p.mnt() + "/copy"
	if err := command("cp", "-a", tree, from); err != nil {
		return 0, err
	}
	if name == "coffer" {
		if err := p.run(p.coffer, "snapshot", p.mnt(), "-m", "last"); err != nil {
			return 0, err
		}
		from = p.mnt() + "/.snapshots/last/copy"
	}
	if err := s.remount(p); err != nil {
		return 0, err
	}
	if err := dropCaches(); err != nil {
		return 0, err
	}
	start := time.Now()
	err = command("cp", "-a", from, filepath.Join(p.dir, "copied"))
	return time.Since(start), err
}
