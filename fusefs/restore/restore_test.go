package restore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/test/compare"
)

// everyKind fills a source with one of everything.
func (r *rig) everyKind() {
	t := r.t
	t.Helper()
	at := func(name string) string { return filepath.Join(r.src, name) }
	r.write(r.src, "small x", "empty ", "dir/inner/file y", "dir/closed/z z", "locked/a a", "no-dir/",
		"large "+noise(2<<20), strings.Repeat("n", 255)+" long", "\xff\xfe bytes")
	sparse(t, at("sparse"), 10<<20, 3<<20, 7<<20)
	sparse(t, at("hole"), 4<<20)
	must(t, os.Link(at("large"), at("dir/other name")), os.Link(at("large"), at("dir/inner/third name")),
		os.Symlink("nowhere", at("link")), os.Link(at("link"), at("dir/link too")),
		unix.Mkfifo(at("fifo"), 0o622),
		unix.Mknod(at("socket"), unix.S_IFSOCK|0o700, 0),
		unix.Setxattr(at("small"), "user.colour", []byte("blue"), 0),
		unix.Setxattr(at("small"), "user.none", nil, 0),
		unix.Setxattr(at("dir"), "user.of a directory", []byte{0, 1, 255}, 0),
		unix.Chmod(at("small"), 0o4751), unix.Chmod(at("dir"), unix.S_ISVTX|0o777),
		unix.Chmod(at("locked"), 0o555), unix.Chmod(at("locked/a"), 0o000))
	if os.Geteuid() == 0 {
		must(t, unix.Mknod(at("char"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
			unix.Mknod(at("block"), unix.S_IFBLK|0o640, int(unix.Mkdev(300, 70_000))),
			unix.Setxattr(at("small"), "trusted.t", []byte("t"), 0),
			os.Lchown(at("empty"), 1234, 70_000), os.Lchown(at("link"), 99, 98), os.Lchown(at("dir/inner"), 5, 6))
	}
	output(t, "setfacl", "-m", "u:1234:rw,g:4321:r", at("dir/inner/file"))
	output(t, "setfacl", "-d", "-m", "u:1234:rwx", at("dir/inner"))
	r.age(r.src)
}

func output(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

func noise(n int) string {
	rng := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	b := make([]byte, n)
	rng.Read(b)
	return string(b)
}

// sparse makes a file of a size with some bytes at each of the offsets.
func sparse(t testing.TB, path string, size int64, at ...int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err, f.Truncate(size))
	for _, off := range at {
		_, err := f.WriteAt([]byte("data at "+fmt.Sprint(off)), off)
		must(t, err)
	}
	must(t, f.Close())
}

func TestEveryKind(t *testing.T) {
	r := newRig(t)
	r.everyKind()
	c := r.restore(r.part(r.put()), r.options())
	r.same()
	for name, most := range map[string]int64{"sparse": 4096, "hole": 0} {
		var st unix.Stat_t
		must(t, unix.Stat(filepath.Join(r.to, name), &st))
		if st.Blocks > most {
			t.Errorf("%s takes %d blocks: its holes were filled", name, st.Blocks)
		}
	}
	bytes, err := Size(t.Context(), r.part(r.put()))
	must(t, err)
	if bytes != c.Bytes {
		t.Errorf("%d bytes were restored of %d", c.Bytes, bytes)
	}
	again := r.restore(r.part(r.put()), r.options())
	if again.Files != 0 || again.There != c.Files {
		t.Errorf("a second run: %+v after %+v", again, c)
	}
	r.same()
}

// TestNamedDrafts is for file systems where no file can be made without a name.
func TestNamedDrafts(t *testing.T) {
	r := newRig(t)
	r.everyKind()
	run := r.new(r.part(r.put()), r.options())
	run.named.Store(true)
	must(t, run.Do(t.Context()))
	if n := run.Counts().Problems; n > 0 {
		t.Errorf("problems: %v", r.told)
	}
	r.same()
}

// TestInherited: what the destination passes on to what is made in it is not restored.
func TestInherited(t *testing.T) {
	r := newRig(t)
	r.everyKind()
	must(t, os.Mkdir(r.to, 0o755))
	output(t, "setfacl", "-d", "-m", "u:77:rwx,g:78:rx", r.to)
	must(t, unix.Chmod(r.to, 0o2755))
	r.restore(r.part(r.put()), r.options())
	r.same(".")
}

func TestPaths(t *testing.T) {
	r := newRig(t)
	r.write(r.src, "a/b/c 1", "a/b/d 2", "a/e 3", "f/g 4", "h 5")
	must(t, os.Link(filepath.Join(r.src, "h"), filepath.Join(r.src, "a/b/linked")),
		os.Link(filepath.Join(r.src, "h"), filepath.Join(r.src, "a/linked too")))
	r.age(r.src)
	r.restore(r.part(r.put(), "a/b", "f/g", "/a/linked too"), r.options())
	want := read(t, r.src, func(path string) bool { return path == "h" || path == "a/e" })
	for _, name := range []string{"a/b/linked", "a/linked too"} {
		e := want[name]
		e.Nlink = 2 // of three
		want[name] = e
	}
	if d := compare.Diff(want, read(t, r.to, nil)); len(d) > 0 {
		t.Error(compare.Summary(d))
	}
	for _, none := range []string{"a/x", "h/x"} {
		if _, err := r.put().Part("", none); !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("%s: %v", none, err)
		}
	}
}

// TestGoesOn ends runs before their time, and wants no run to leave a file that is not complete, or to write one twice.
func TestGoesOn(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t)
	r.everyKind()
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("many/%d/%d %s", i%7, i, noise(1+rng.IntN(10_000))))
	}
	r.write(r.src, lines...)
	part := r.part(r.put())
	whole := read(t, r.src, nil)
	files := uint64(0)
	for round := range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		left := 1 + rng.IntN(60)
		mu := make(chan struct{}, 1)
		r.groups.before = func(chunkfmt.Seq) error {
			mu <- struct{}{}
			defer func() { <-mu }()
			if left--; left == 0 {
				cancel()
			}
			return nil
		}
		run := r.new(part, r.options())
		err := run.Do(ctx)
		cancel()
		r.groups.before = nil
		files += run.Counts().Files
		if len(r.told) > 0 {
			t.Fatalf("round %d: %v", round, &r.told[0])
		}
		r.complete(whole)
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	files += r.restore(part, r.options()).Files
	r.same()
	n := uint64(0)
	for _, e := range whole {
		if e.Mode&unix.S_IFMT != unix.S_IFDIR {
			n++
		}
	}
	if files != n {
		t.Errorf("%d files were restored in all runs, of %d", files, n)
	}
}

// complete wants everything but directories that is in the destination to be as in the source.
func (r *rig) complete(whole compare.Tree) {
	r.t.Helper()
	for path, e := range read(r.t, r.to, nil) {
		w := whole[path]
		if e.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		w.Nlink, e.Nlink, w.First, e.First = 0, 0, "", ""
		if d := compare.Diff(compare.Tree{path: w}, compare.Tree{path: e}); len(d) > 0 {
			r.t.Errorf("a run that was ended leaves %s", compare.Summary(d))
		}
	}
}

// TestLeftovers: what runs that were killed have left is removed.
func TestLeftovers(t *testing.T) {
	r := newRig(t)
	r.write(r.src, "a/b x", "c y")
	a := filepath.Join(r.to, "a")
	must(t, os.MkdirAll(a, 0o755), unix.Chmod(a, unfinished), unix.Chmod(r.to, unfinished),
		os.WriteFile(filepath.Join(a, temporary()), []byte("half"), 0o600),
		os.Symlink("x", filepath.Join(r.to, temporary())))
	r.restore(r.part(r.put()), r.options())
	r.same()
}

// TestNothingReplaced has something else under each name.
func TestNothingReplaced(t *testing.T) {
	r := newRig(t)
	src := func(name string) string { return filepath.Join(r.src, name) }
	to := func(name string) string { return filepath.Join(r.to, name) }
	r.write(r.src, "changed new", "shorter s", "touched same", "mode same", "attribute same", "was-link file",
		"was-dir file", "was-full-dir file", "dir/inner i", "sub/inner i", "good g", "linked l", "through/secret s")
	must(t, os.Link(src("linked"), src("linked2")), os.Symlink("here", src("symlink")),
		unix.Setxattr(src("attribute"), "user.x", []byte("x"), 0))
	r.age(r.src)
	part := r.part(r.put())

	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	must(t, os.Mkdir(elsewhere, 0o755))
	r.write(r.to, "changed old", "shorter longer", "was-dir/", "was-full-dir/kept k", "dir file", "sub/",
		"linked-too-is 1", "linked2 other", "mine m")
	output(t, "cp", "-a", src("touched"), src("mode"), src("attribute"), src("good"), r.to)
	must(t, os.Symlink("/etc/passwd", to("was-link")), os.Symlink("there", to("symlink")),
		os.Symlink(elsewhere, to("through")), os.Chtimes(to("touched"), time.Time{}, time.Unix(1, 0)),
		unix.Chmod(to("mode"), 0o600), unix.Removexattr(to("attribute"), "user.x"))
	before := read(t, r.to, nil)
	c := r.run(part, r.options())
	r.problems("/changed", "/shorter", "/touched", "/mode", "/attribute", "/was-link", "/was-dir", "/was-full-dir",
		"/dir", "/linked2", "/symlink", "/through")
	if c.There != 1 {
		t.Errorf("%d files were there, want the good one", c.There)
	}
	after := read(t, r.to, nil)
	for path, e := range before {
		got := after[path]
		if path == "." || path == "sub" {
			continue // where something was added
		}
		if d := compare.Diff(compare.Tree{path: e}, compare.Tree{path: got}); len(d) > 0 {
			t.Errorf("replaced: %s", compare.Summary(d))
		}
	}
	if names, err := os.ReadDir(elsewhere); err != nil || len(names) > 0 {
		t.Errorf("a symbolic link was followed: %v, %v", names, err)
	}

	o := r.options()
	o.Overwrite = true
	r.run(part, o)
	r.problems("/was-full-dir")
	r.same(".", "mine", "linked-too-is", "was-full-dir")
	if b, err := os.ReadFile(to("mine")); err != nil || string(b) != "m" {
		t.Errorf("what the archive does not have: %q, %v", b, err)
	}
	if names, err := os.ReadDir(elsewhere); err != nil || len(names) > 0 {
		t.Errorf("a symbolic link was followed: %v, %v", names, err)
	}
}

// TestDamage has one group that can't be read, in the midst of a large file that has a second name.
func TestDamage(t *testing.T) {
	r := newRig(t)
	r.write(r.src, "large "+noise(2<<20), "dir/small x", "other y")
	must(t, os.Link(filepath.Join(r.src, "large"), filepath.Join(r.src, "dir/linked")))
	r.age(r.src)
	s := r.put()
	e, err := s.Resolve("large")
	must(t, err)
	f, err := s.Open(e.Ino)
	must(t, err)
	parts, err := f.Extents(1<<20, 1, nil)
	must(t, err)
	r.groups.before = func(seq chunkfmt.Seq) error {
		if seq == parts[0].Group {
			return errors.New("this group is damaged")
		}
		return nil
	}
	r.run(r.part(s), r.options())
	r.problems("/large", "/dir/linked")
	r.same("large", "dir/linked")
	r.groups.before = nil
	if c := r.restore(r.part(s), r.options()); c.Files != 2 || c.There != 2 {
		t.Errorf("once it is whole again: %+v", c)
	}
	r.same()
}

// TestStoreAway: a store that does not answer ends the run, and is not the fault of each file.
func TestStoreAway(t *testing.T) {
	r := newRig(t)
	r.write(r.src, "a x", "b y")
	away := errors.New("away")
	r.groups.before = func(chunkfmt.Seq) error { return away }
	o := r.options()
	o.Away = away
	if err := r.new(r.part(r.put()), o).Do(t.Context()); !errors.Is(err, away) || len(r.told) > 0 {
		t.Errorf("%v, %v", err, r.told)
	}
}

func TestOneAtATime(t *testing.T) {
	r := newRig(t)
	r.write(r.src, "a x")
	part := r.part(r.put())
	r.groups.before = func(chunkfmt.Seq) error {
		if err := New(part, r.options()).Do(t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("a second restore into the same directory: %v", err)
		}
		return nil
	}
	r.restore(part, r.options())
	r.same()
}

// TestFull restores into a file system that is too small.
func TestFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can mount; the applications of test/ run as root")
		return
	}
	r := newRig(t)
	r.write(r.src, "a "+noise(8<<20), "b x")
	must(t, os.Mkdir(r.to, 0o755), unix.Mount("small", r.to, "tmpfs", 0, "size=4m"))
	t.Cleanup(func() { unix.Unmount(r.to, unix.MNT_DETACH) })
	err := r.new(r.part(r.put()), r.options()).Do(t.Context())
	if !errors.Is(err, unix.ENOSPC) || len(r.told) > 0 {
		t.Errorf("%v, %v", err, r.told)
	}
	if _, err := os.Lstat(filepath.Join(r.to, "a")); !os.IsNotExist(err) {
		t.Errorf("a file that did not fit: %v", err)
	}
}

func TestSameTime(t *testing.T) {
	want := chunkfmt.Time{Sec: -5, Nsec: 123_456_789}
	for nsec, same := range map[int64]bool{
		123_456_789: true, 123_456_700: true, 123_456_000: true, 120_000_000: true, 0: true, 123_456_788: false, 1: false,
	} {
		if got := sameTime(unix.Timespec{Sec: -5, Nsec: nsec}, want); got != same {
			t.Errorf("%d ns: %v", nsec, got)
		}
	}
	if sameTime(unix.Timespec{Sec: -4, Nsec: 123_456_789}, want) {
		t.Error("another second is the same time")
	}
}
