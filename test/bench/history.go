package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// modules are what has a history that is at hand: their versions are unpacked over one another.
var modules = []string{
	"golang.org/x/tools", "golang.org/x/text", "golang.org/x/sys", "github.com/klauspost/compress", "github.com/spf13/cobra",
}

// states is how many versions of the modules there are, each one state of a tree.
const states = 10

// keeper is a program that keeps states of a tree.
type keeper struct {
	name    string
	init    func(p *place) *exec.Cmd
	store   func(p *place, tree string, state int) *exec.Cmd
	restore func(p *place) *exec.Cmd // of the last one, into the current directory
}

var keepers = []keeper{
	{
		name:    "coffer put",
		init:    func(p *place) *exec.Cmd { return p.command(p.coffer, "init", p.store()) },
		store:   func(p *place, tree string, _ int) *exec.Cmd { return p.command(p.coffer, "put", tree, p.store()) },
		restore: func(p *place) *exec.Cmd { return p.command(p.coffer, "restore", p.store(), "--to", ".") },
	},
	{
		name:    "restic",
		init:    func(p *place) *exec.Cmd { return p.command("restic", "-q", "init") },
		store:   func(p *place, tree string, _ int) *exec.Cmd { return p.command("restic", "-q", "backup", tree) },
		restore: func(p *place) *exec.Cmd { return p.command("restic", "-q", "restore", "latest", "--target", ".") },
	},
	{
		name: "borg",
		init: func(p *place) *exec.Cmd { return p.command("borg", "init", "-e", "repokey-blake2", p.store()) },
		store: func(p *place, tree string, state int) *exec.Cmd {
			return p.command("borg", "create", p.store()+"::"+strconv.Itoa(state), tree)
		},
		restore: func(p *place) *exec.Cmd { return p.command("borg", "extract", p.store()+"::"+strconv.Itoa(states-1)) },
	},
}

// kept is what one keeper took for all states, and to bring the last back.
type kept struct {
	store, restore    time.Duration
	stored            int64
	memory, restoring int64 // peaks of resident memory, files that are mapped included, bytes
}

// benchHistory prints what it takes to keep ten states of a tree and to bring the last one back, by put and restore
// beside restic and borg, and by cp out of .snapshots beside cp out of a loopback.
func benchHistory(o options) error {
	var names []string
	for _, k := range keepers {
		if o.only.MatchString("history/" + k.name) {
			names = append(names, k.name)
		}
	}
	snapshots := o.only.MatchString("history/snapshots")
	if len(names) == 0 && !snapshots {
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
			if !slices.Contains(names, k.name) {
				continue
			}
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
	if len(names) > 0 {
		fmt.Printf("\nhistory, %d states of a tree, median of %d\n", states, o.runs)
		fmt.Printf("%-12s %9s %10s %8s %10s %8s\n", "", "store s", "stored MB", "RSS MiB", "restore s", "RSS MiB")
	}
	for _, name := range names {
		of := func(v func(kept) float64) float64 {
			var values []float64
			for _, k := range all[name] {
				values = append(values, v(k))
			}
			return median(values)
		}
		fmt.Printf("%-12s %9.2f %10.1f %8.0f %10.2f %8.0f\n", name,
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

func keep(o options, k keeper, versions [][]string) (got kept, err error) {
	p, clean, err := prepared(o, subject{})
	if err != nil {
		return got, err
	}
	defer clean()
	if _, _, err := timed(k.init(p)); err != nil {
		return got, err
	}
	tree := filepath.Join(p.dir, "tree")
	for state, dirs := range versions {
		if err := unpack(tree, dirs); err != nil {
			return got, err
		}
		took, memory, err := timed(k.store(p, tree, state))
		if err != nil {
			return got, err
		}
		got.store += took
		got.memory = max(got.memory, memory)
	}
	if got.stored, _, err = size(p.store()); err != nil {
		return got, err
	}
	to := filepath.Join(p.dir, "restored")
	if err := first(os.Mkdir(to, 0o755), dropCaches); err != nil {
		return got, err
	}
	cmd := k.restore(p)
	cmd.Dir = to
	if got.restore, got.restoring, err = timed(cmd); err != nil {
		return got, err
	}
	want, files, err := size(tree)
	if err != nil {
		return got, err
	}
	if n, restored, err := size(to); err != nil || n != want || restored != files {
		return got, fmt.Errorf("%d bytes in %d files were restored of %d in %d: %w", n, restored, want, files, err)
	}
	return got, nil
}

// copySnapshot times a copy of the last state out of a mount that has just been made.
func copySnapshot(o options, name string, versions [][]string) (time.Duration, error) {
	s := subjects[slices.IndexFunc(subjects, func(s subject) bool { return s.name == name })]
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

// timed runs a command and tells how long it took, and its peak of resident memory in bytes.
func timed(cmd *exec.Cmd) (took time.Duration, memory int64, err error) {
	var said bytes.Buffer
	cmd.Stderr = &said
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, said.String())
	}
	return time.Since(start), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10, nil
}
