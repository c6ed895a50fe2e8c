package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/test/compare"
	"coffer/test/rig"
)

const exitNotRestored = 3

// TestRestoreEveryKind restores one of everything, from a volume that is mounted and from one that is not.
func TestRestoreEveryKind(t *testing.T) {
	p := newPlace(t)
	m := p.mount(t)
	everyKind(t, m.Path())
	p.Run(t, "snapshot", p.mnt, "-m", "all")
	want := entries(t, m.Path())
	rig.Must(t, os.RemoveAll(m.Path("dir")), os.WriteFile(m.Path("small"), []byte("changed since"), 0o644))
	to := filepath.Join(t.TempDir(), "to")
	p.Run(t, "restore", p.store, "--at", "all", "--to", to)
	rig.Same(t, "restored while mounted", want, entries(t, to))
	now := entries(t, m.Path())
	m.Unmount(t)
	p.Run(t, "restore", p.store, "--to", to+".now")
	rig.Same(t, "restored as it is now", now, entries(t, to+".now"))

	// One file, a directory, and something that is not there.
	p.Run(t, "restore", p.store+":/dir", "below/small", "linked", "--at", "all", "--to", to+".part")
	for _, name := range []string{"below/small", "linked"} {
		e := want["dir/"+name]
		e.Nlink, e.First = 1, ""
		got := entries(t, to+".part")
		rig.Same(t, "restored in part", compare.Tree{name: e}, compare.Tree{name: got[name]})
		if len(got) != 3 {
			t.Errorf("%d names were restored", len(got))
		}
	}
	p.Run(t, "restore", p.store+":/hole", "--at", "all", "--to", to+".file")
	rig.Same(t, "restored alone", compare.Tree{"hole": want["hole"]}, entries(t, to+".file"))
	p.wantExit(t, 28, "no such file", "restore", p.store, "missing", "--to", to)

	// What is in the way is named and stays, until it may be replaced.
	rig.Must(t, os.WriteFile(filepath.Join(to, "large"), []byte("mine"), 0o644))
	p.wantExit(t, exitNotRestored, "/large", "restore", p.store, "--at", "all", "--to", to)
	if b, err := os.ReadFile(filepath.Join(to, "large")); err != nil || string(b) != "mine" {
		t.Errorf("a file that was there: %q, %v", b, err)
	}
	p.Run(t, "restore", p.store, "--at", "all", "--to", to, "--overwrite")
	rig.Same(t, "replaced", want, entries(t, to))
}

// TestRestoreKilled kills restores at random instants (COFFER_RESTORE_KILLS), and wants every file that has its name
// then to be whole, and to be left alone by the next run.
func TestRestoreKilled(t *testing.T) {
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	kills := rig.Count(t, "COFFER_RESTORE_KILLS", 4)
	p := newPlace(t)
	source := filepath.Join(t.TempDir(), "source")
	rig.CopyTree(t, filepath.Join(goRoot(t), "src", "net"), source)
	rig.Must(t, os.WriteFile(filepath.Join(source, "large"), noise(20<<20), 0o640))
	linked := filepath.Join(source, "http", "linked")
	rig.Must(t, os.Link(filepath.Join(source, "large"), linked), os.Symlink("large", filepath.Join(source, "symlink")))
	p.Run(t, "put", source+"/", p.store)
	want := rig.ReadTree(t, source)
	to := filepath.Join(t.TempDir(), "to")
	var before map[string]uint64
	for range kills {
		cmd := p.Coffer("restore", p.store, "--to", to)
		rig.Must(t, cmd.Start())
		awaitFiles(t, to, len(before)+rng.IntN(1+(len(want)-len(before))/2))
		cmd.Process.Kill()
		cmd.Wait()
		whole := inodes(t, to)
		for name, ino := range before {
			if whole[name] != ino {
				t.Errorf("%s was written again", name)
			}
		}
		before = whole
		got := rig.ReadTree(t, to)
		for name := range whole {
			w, g := want[name], got[name]
			w.Nlink, g.Nlink, w.First, g.First = 0, 0, "", ""
			rig.Same(t, "after a kill", compare.Tree{name: w}, compare.Tree{name: g})
		}
	}
	result := restoreResult(t, p.Run(t, "restore", p.store, "--to", to, "--json"))
	if result.There != len(before) {
		t.Errorf("%d files were there, and %d were found to be", len(before), result.There)
	}
	rig.Same(t, "in the end", want, rig.ReadTree(t, to))
}

// awaitFiles waits until a directory has so many files with names of their own below it.
func awaitFiles(t *testing.T, dir string, n int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for len(inodes(t, dir)) < n {
		if time.Now().After(deadline) {
			t.Fatalf("there are no %d files in %s", n, dir)
		}
		time.Sleep(time.Millisecond)
	}
}

// inodes are the numbers of all files below a directory, but for directories and what has no name of its own yet.
func inodes(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".coffer-restore-") || unix.Lstat(path, &st) != nil {
			return nil // of a tree that changes
		}
		rel, err := filepath.Rel(dir, path)
		rig.Must(t, err)
		all[rel] = st.Ino
		return nil
	})
	return all
}

// restoreEvent is what the test wants to know of an event.
type restoreEvent struct {
	Event, Path, Error string
	Files, There       int
	Problems           int
}

// restoreResult is the last event.
func restoreResult(t *testing.T, out string) (last restoreEvent) {
	t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
		last = restoreEvent{}
		rig.Must(t, json.Unmarshal(lines.Bytes(), &last))
	}
	if last.Event != "result" {
		t.Errorf("the last event is %+v", last)
	}
	return last
}

// TestRestoreDamaged has a group of the store damaged: the files in it are named, and all others restored.
func TestRestoreDamaged(t *testing.T) {
	p := newPlace(t)
	source := filepath.Join(t.TempDir(), "source")
	rig.Must(t, os.Mkdir(source, 0o755))
	for i := range 12 {
		rig.Must(t, os.WriteFile(filepath.Join(source, fmt.Sprintf("file%02d", i)), noise(200_000+i), 0o644))
	}
	p.Run(t, "put", source+"/", p.store)
	chunk, e := dataGroup(t, p.store, 5)
	turnBit(t, chunk, e.At+chunkfmt.TagSize+int64(e.Tag.StoredLen()/2), 3)

	to := filepath.Join(t.TempDir(), "to")
	code, out, stderr := p.Try(t, "restore", p.store, "--to", to, "--json")
	if code != exitNotRestored {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	result := restoreResult(t, out)
	if result.Problems < 1 || result.Problems > 3 {
		t.Errorf("one group was hit, and %d files are problems", result.Problems)
	}
	want, got := rig.ReadTree(t, source), rig.ReadTree(t, to)
	lost := 0
	for name := range want {
		if _, ok := got[name]; !ok {
			if !strings.Contains(out, `"path":"/`+name+`"`) {
				t.Errorf("%s is missing and not named:\n%s", name, out)
			}
			delete(want, name)
			lost++
		}
	}
	if lost != result.Problems {
		t.Errorf("%d files are missing, %d problems were told", lost, result.Problems)
	}
	rig.Same(t, "the rest", want, got)
}

// dataGroup finds the n-th data group of a store.
func dataGroup(t *testing.T, store string, n int) (chunk string, e chunkfmt.Entry) {
	t.Helper()
	for _, path := range rig.Chunks(t, store) {
		f, err := os.Open(path)
		rig.Must(t, err)
		defer f.Close()
		info, err := f.Stat()
		rig.Must(t, err)
		for scanner := chunkfmt.NewScanner(f, info.Size()); ; {
			e, err := scanner.Next()
			if err != nil {
				break
			}
			if e.Tag.Kind == chunkfmt.KindData {
				if n--; n == 0 {
					return path, e
				}
			}
		}
	}
	t.Fatalf("%s has too few groups", store)
	return
}
