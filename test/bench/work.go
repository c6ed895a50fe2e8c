package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// work is a tree to be stored and read back.
type work struct {
	name  string
	dir   string
	bytes int64
	files int
	tar   string // is to be unpacked instead of copied; of mounts only
}

// store brings the work into the directory to, which is made.
func (w *work) store(to string) error {
	if w.tar == "" {
		return command("cp", "-a", w.dir, to)
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	return command("tar", "-xf", w.tar, "-C", to)
}

// makeSources puts the trees in memory, where reading them takes least.
func makeSources(o options) ([]work, error) {
	large := work{name: "large", dir: filepath.Join(o.dir, "large"), bytes: int64(o.mib) << 20, files: 1}
	small := work{name: "small", dir: filepath.Join(o.dir, "small"), bytes: int64(o.small) * 4096, files: o.small}
	tree := work{name: "tree", dir: filepath.Join(o.dir, "tree")}
	rng := noiseSource(1)
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
	if tree.bytes, tree.files, err = size(tree.dir); err != nil {
		return nil, err
	}
	untar := tree
	untar.name, untar.tar = "untar", filepath.Join(o.dir, "tree.tar")
	return []work{large, tree, untar, small}, command("tar", "-cf", untar.tar, "-C", tree.dir, ".")
}

func noiseSource(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

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
		return drain(f, buf)
	})
}

func readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return drain(f, make([]byte, 1<<20))
}

// drain reads to the end, and lets no copy go past the buffer.
func drain(f *os.File, buf []byte) error {
	for {
		if _, err := f.Read(buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// overwrite overwrites n pages of a file of so many bytes, at random.
func overwrite(path string, size int64, n int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	noise := noiseSource(9)
	page := make([]byte, 4096)
	for range n {
		noise.Read(page)
		if _, err := f.WriteAt(page, int64(noise.Uint64()%uint64(size/4096))*4096); err != nil {
			return err
		}
	}
	return nil
}

// dropCaches makes the kernel forget what it can; that is all but what a memory file system holds.
func dropCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// backMemory touches as much memory as the work will need, and somewhat more, and gives it back. A virtual machine
// gets its memory from the host as it touches it, a page at a time and many times slower than it fills it, and
// loses what it does not use: whoever comes first would pay for all that come after him.
func backMemory(bytes int64) error {
	m, err := unix.Mmap(-1, 0, int(bytes+bytes/4+256<<20), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("touch memory: %w", err)
	}
	// With large pages it is done sooner; without, it is done as well.
	_ = unix.Madvise(m, unix.MADV_HUGEPAGE)
	for at := 0; at < len(m); at += os.Getpagesize() {
		m[at] = 1
	}
	return unix.Munmap(m)
}

// measure lets one subject store a tree in a fresh place and, where it can, read it back.
func measure(o options, w work, s subject) (m measurement, err error) {
	p, clean, err := prepared(o, s)
	if err != nil {
		return m, err
	}
	defer clean()
	if err := backMemory(w.bytes); err != nil {
		return m, err
	}
	start := time.Now()
	if err := s.write(p, &w); err != nil {
		return m, err
	}
	m.write = time.Since(start)
	if s.remount != nil {
		if m.read, err = coldRead(p, &w, s); err != nil {
			return m, err
		}
	}
	if err := p.end(); err != nil {
		return m, err
	}
	m.memory = p.peak.Load()
	if m.stored, _, err = size(p.store()); err != nil || s.restore == nil {
		return m, err
	}
	m.restore, m.restoreMemory, err = restore(p, &w, s)
	return m, err
}

// restore brings back what was stored, from what is in memory of a program that has ended, and no more.
func restore(p *place, w *work, s subject) (took time.Duration, memory int64, err error) {
	if err := first(os.Mkdir(p.restored(), 0o755), dropCaches); err != nil {
		return 0, 0, err
	}
	if err := backMemory(w.bytes); err != nil {
		return 0, 0, err
	}
	cmd := s.restore(p)
	var said bytes.Buffer
	cmd.Dir, cmd.Stderr = p.restored(), &said
	p.peak.Store(0)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	p.watch(cmd.Process.Pid)
	err = cmd.Wait()
	took = time.Since(start)
	p.unwatch()
	if err != nil {
		return 0, 0, fmt.Errorf("restore: %w: %s", err, said.String())
	}
	n, files, err := size(p.restored())
	if err == nil && (n != w.bytes || files != w.files) {
		err = fmt.Errorf("%d bytes in %d files were restored of %d in %d", n, files, w.bytes, w.files)
	}
	return took, p.peak.Load(), err
}

// prepared gives a subject a fresh place.
func prepared(o options, s subject) (_ *place, clean func(), err error) {
	dir := filepath.Join(o.dir, "run")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, nil, err
	}
	p := &place{options: o, dir: dir}
	clean = func() {
		p.end()
		os.RemoveAll(dir)
	}
	if s.prepare != nil {
		if err := s.prepare(p); err != nil {
			clean()
			return nil, nil, err
		}
	}
	return p, clean, nil
}

func coldRead(p *place, w *work, s subject) (time.Duration, error) {
	if err := s.remount(p); err != nil {
		return 0, err
	}
	if err := dropCaches(); err != nil {
		return 0, err
	}
	if err := backMemory(w.bytes); err != nil {
		return 0, err
	}
	start := time.Now()
	err := readAll(filepath.Join(p.target(s), "copy"))
	return time.Since(start), err
}
