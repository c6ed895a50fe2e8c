package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// phases are what is done to the names and attributes of many empty files. What is read is cold.
var phases = []struct {
	name string
	cold bool
	do   func(dir string, files int) error
}{
	{"create", false, each(func(path string) error {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return f.Close()
	})},
	{"stat", true, each(func(path string) error { _, err := os.Lstat(path); return err })},
	{"readdirplus", true, list},
	{"rename", false, each(func(path string) error { return os.Rename(path, path+".renamed") })},
	{"unlink", false, each(func(path string) error { return os.Remove(path + ".renamed") })},
}

// each makes a phase of what is done to one file.
func each(do func(path string) error) func(dir string, files int) error {
	return func(dir string, files int) error {
		for k := range files {
			if err := do(filepath.Join(dir, fmt.Sprintf("file-%06d", k))); err != nil {
				return err
			}
		}
		return nil
	}
}

// list is ls -l: the names and the attributes of each.
func list(dir string, files int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) != files {
		return fmt.Errorf("%s has %d entries, not %d", dir, len(entries), files)
	}
	for _, e := range entries {
		if _, err := e.Info(); err != nil {
			return err
		}
	}
	return nil
}

// rates are operations a second, by phase.
type rates map[string]float64

// metadata measures all phases on one mount, by so many writers, each in a directory of its own.
func metadata(o options, s subject, writers int) (_ rates, err error) {
	p, clean, err := prepared(o, s)
	if err != nil {
		return nil, err
	}
	defer clean()
	files := o.small / writers
	dirs := make([]string, writers)
	for k := range dirs {
		dirs[k] = filepath.Join(p.target(s), fmt.Sprint("writer", k))
		if err := os.Mkdir(dirs[k], 0o755); err != nil {
			return nil, err
		}
	}
	got := rates{}
	for _, phase := range phases {
		if phase.cold {
			if err := dropCaches(); err != nil {
				return nil, err
			}
		}
		start := time.Now()
		var all errgroup.Group
		for _, dir := range dirs {
			all.Go(func() error { return phase.do(dir, files) })
		}
		if err := all.Wait(); err != nil {
			return nil, fmt.Errorf("%s: %w", phase.name, err)
		}
		got[phase.name] = float64(files*writers) / time.Since(start).Seconds()
	}
	return got, p.end()
}

// benchMetadata prints a table a number of writers.
func benchMetadata(o options) error {
	for _, writers := range []int{1, 4} {
		runs := map[string][]rates{}
		var names []string
		for run := range o.runs {
			for _, s := range subjects {
				if !s.mounts || s.name == "passthrough" || !o.only.MatchString("metadata/"+s.name) {
					continue
				}
				fmt.Fprintf(os.Stderr, "run %d of %d: metadata, %d writers, %s\n", run+1, o.runs, writers, s.name)
				r, err := metadata(o, s, writers)
				if err != nil {
					return fmt.Errorf("metadata, %s: %w", s.name, err)
				}
				if runs[s.name] == nil {
					names = append(names, s.name)
				}
				runs[s.name] = append(runs[s.name], r)
			}
		}
		if len(names) == 0 {
			return nil
		}
		fmt.Printf("\nmetadata, %d empty files, %d writers, operations a second, median of %d\n", o.small, writers, o.runs)
		fmt.Printf("%-12s", "")
		for _, phase := range phases {
			fmt.Printf(" %11s %10s", phase.name, "× loopback")
		}
		fmt.Println()
		for _, name := range names {
			fmt.Printf("%-12s", name)
			for _, phase := range phases {
				mine, base := medianRate(runs[name], phase.name), medianRate(runs["loopback"], phase.name)
				if base == 0 {
					fmt.Printf(" %11.0f %10s", mine, "-")
				} else {
					fmt.Printf(" %11.0f %10.2f", mine, mine/base)
				}
			}
			fmt.Println()
		}
	}
	return nil
}

func medianRate(all []rates, phase string) float64 {
	var values []float64
	for _, r := range all {
		values = append(values, r[phase])
	}
	return median(values)
}

// benchScattered compares cold sequential reading of a file written in order with that of one overwritten at
// random, after the background has gathered it.
func benchScattered(o options) error {
	s := subjectNamed("coffer")
	if !o.only.MatchString("scattered/" + s.name) {
		return nil
	}
	fmt.Fprintf(os.Stderr, "scattered: %d overwrites\n", o.overwrites)
	p, clean, err := prepared(o, s)
	if err != nil {
		return err
	}
	defer clean()
	size := int64(256 << 20)
	inOrder, scattered := filepath.Join(p.mnt(), "in-order"), filepath.Join(p.mnt(), "scattered")
	for k, path := range []string{inOrder, scattered} {
		if err := writeNoise(path, noiseSource(byte(k)), size); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := overwrite(scattered, size, o.overwrites); err != nil {
		return err
	}
	written := time.Since(start)
	if err := p.rest(); err != nil {
		return err
	}
	gathered := time.Since(start) - written
	fmt.Printf("\n%d overwrites of 4 KiB at random in a file of %d MiB took %.1f s, gathering it %.1f s more\n",
		o.overwrites, size>>20, written.Seconds(), gathered.Seconds())
	var seconds [2][]float64
	for range o.runs {
		for k, path := range []string{inOrder, scattered} {
			if err := s.remount(p); err != nil {
				return err
			}
			if err := dropCaches(); err != nil {
				return err
			}
			start := time.Now()
			if err := readFile(path); err != nil {
				return err
			}
			seconds[k] = append(seconds[k], time.Since(start).Seconds())
		}
	}
	a, b := median(seconds[0]), median(seconds[1])
	fmt.Printf("read cold: %.2f s the one in order, %.2f s the scattered one, %.2f of its rate\n", a, b, a/b)
	return p.end()
}

// rest waits until coffer has nothing more to do of its own accord.
func (p *place) rest() error {
	for {
		cmd := p.command(p.coffer, "status", "--json")
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("coffer status: %w", err)
		}
		var mounts []struct {
			Tree struct{ Scattered, Unacked, Unapplied int }
		}
		if err := json.Unmarshal(out, &mounts); err != nil {
			return fmt.Errorf("coffer status: %w", err)
		}
		if len(mounts) == 1 && mounts[0].Tree.Scattered+mounts[0].Tree.Unacked+mounts[0].Tree.Unapplied == 0 {
			return p.run(p.coffer, "sync", p.mnt())
		}
		time.Sleep(500 * time.Millisecond)
	}
}
