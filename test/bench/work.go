package main

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// work is a tree to be stored and read back.
type work struct {
	name  string
	dir   string
	bytes int64
	files int
}

// makeSources puts the trees in memory, where reading them takes least.
func makeSources(o options) ([]work, error) {
	large := work{name: "large", dir: filepath.Join(o.dir, "large"), bytes: int64(o.mib) << 20, files: 1}
	small := work{name: "small", dir: filepath.Join(o.dir, "small"), bytes: int64(o.small) * 4096, files: o.small}
	tree := work{name: "tree", dir: filepath.Join(o.dir, "tree")}
	rng := rand.NewChaCha8([32]byte{1})
	if err := writeNoise(filepath.Join(large.dir, "data"), rng, large.bytes); err != nil {
		return nil, err
	}
	for i := range o.small {
		name := filepath.Join(small.dir, fmt.Sprintf("%03d", i/200), fmt.Sprintf("%05d", i))
		if err := writeNoise(name, rng, 4096); err != nil {
			return nil, err
		}
	}
	if err := command("cp", "-a", o.tree, tree.dir); err != nil {
		return nil, err
	}
	var err error
	tree.bytes, tree.files, err = size(tree.dir)
	return []work{large, tree, small}, err
}

func writeNoise(path string, rng *rand.ChaCha8, n int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(f, rng, n)
	return err
}

// size is the bytes and the number of the regular files below dir.
func size(dir string) (bytes int64, files int, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		bytes += info.Size()
		files++
		return nil
	})
	return bytes, files, err
}

// readAll reads every file below dir, one after the other, as tar would.
func readAll(dir string) error {
	buf := make([]byte, 1<<20)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		for {
			if _, err := f.Read(buf); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}

// dropCaches makes the kernel forget what it can; that is all but what a memory file system holds.
func dropCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// measure lets one subject store a tree in a fresh place and, where it can, read it back.
func measure(o options, w work, s subject) (m measurement, err error) {
	dir := filepath.Join(o.dir, "run")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	p := &place{options: o, dir: dir}
	defer p.end()
	if s.prepare != nil {
		if err := s.prepare(p); err != nil {
			return m, err
		}
	}
	runtime.GC()
	start := time.Now()
	if err := s.write(p, w.dir); err != nil {
		return m, err
	}
	m.write = time.Since(start)
	if s.remount != nil {
		if m.read, err = coldRead(p, s); err != nil {
			return m, err
		}
	}
	if err := p.end(); err != nil {
		return m, err
	}
	m.memory = p.peak.Load()
	m.stored, _, err = size(p.store())
	return m, err
}

func coldRead(p *place, s subject) (time.Duration, error) {
	if err := s.remount(p); err != nil {
		return 0, err
	}
	if err := dropCaches(); err != nil {
		return 0, err
	}
	start := time.Now()
	err := readAll(filepath.Join(p.target(s), "copy"))
	return time.Since(start), err
}
