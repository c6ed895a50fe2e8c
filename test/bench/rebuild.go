package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// benchRebuild compares the time in which an index is made anew, of the log alone and of a checkpoint, with the time in
// which its files were written: through a mount, by two writers, and by put.
func benchRebuild(o options) error {
	var of []subject
	for _, s := range subjects {
		if (s.name == "coffer" || s.name == "coffer put") && o.only.MatchString("rebuild/"+s.name) {
			of = append(of, s)
		}
	}
	if len(of) == 0 {
		return nil
	}
	source := filepath.Join(o.dir, "many-source")
	if err := makeMany(source, o.many, 1); err != nil {
		return err
	}
	defer os.RemoveAll(source)
	fmt.Printf("\nmaking the index anew, %d files\n", o.many)
	fmt.Printf("%-12s %9s %11s %8s %14s %8s\n", "", "write s", "from log s", "ratio", "checkpoint s", "ratio")
	for _, s := range of {
		fmt.Fprintf(os.Stderr, "rebuild: %s\n", s.name)
		written, log, checkpoint, err := rebuild(o, s, source)
		if err != nil {
			return fmt.Errorf("rebuild, %s: %w", s.name, err)
		}
		fmt.Printf("%-12s %9.2f %11.2f %8.4f %14.2f %8.4f\n", s.name, written.Seconds(),
			log.Seconds(), log.Seconds()/written.Seconds(), checkpoint.Seconds(), checkpoint.Seconds()/written.Seconds())
	}
	return nil
}

// rebuild writes many files and makes their index anew. What is written counts as written when the archive is sealed,
// which is when the checkpoint is there too.
func rebuild(o options, s subject, source string) (written, log, checkpoint time.Duration, err error) {
	p, clean, err := prepared(o, s)
	if err != nil {
		return 0, 0, 0, err
	}
	defer clean()
	start := time.Now()
	if s.mounts {
		err = first(makeMany(filepath.Join(p.mnt(), "many"), o.many, 2), p.end)
	} else {
		err = s.write(p, &work{dir: source})
	}
	if err != nil {
		return 0, 0, 0, err
	}
	written = time.Since(start)
	timed := func(flags ...string) (time.Duration, error) {
		if err := dropCaches(); err != nil {
			return 0, err
		}
		start := time.Now()
		err := p.run(p.coffer, append([]string{"rebuild", p.store()}, flags...)...)
		return time.Since(start), err
	}
	if log, err = timed("--from-log"); err != nil {
		return 0, 0, 0, err
	}
	checkpoint, err = timed()
	return written, log, checkpoint, err
}

// makeMany makes small files, a hundred in a directory, by so many writers.
func makeMany(dir string, files, writers int) error {
	const perDir = 100
	var all errgroup.Group
	for w := range writers {
		all.Go(func() error {
			for k := w * perDir; k < files; k += writers * perDir {
				at := filepath.Join(dir, fmt.Sprintf("%03d", k/perDir/100), fmt.Sprintf("%06d", k/perDir))
				if err := os.MkdirAll(at, 0o755); err != nil {
					return err
				}
				for i := k; i < min(k+perDir, files); i++ {
					name := filepath.Join(at, fmt.Sprintf("file-%07d.txt", i))
					if err := os.WriteFile(name, fmt.Appendf(nil, "this is file %d of many\n", i), 0o644); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return all.Wait()
}
