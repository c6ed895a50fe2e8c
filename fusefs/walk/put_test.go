package walk

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/test/compare"
)

// everything fills the source with one of each kind that an archive has to keep.
func (r *rig) everything() {
	r.t.Helper()
	big := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
	r.write("small hello", "empty", "dir/a 1", "dir/b 2", "dir/deep/er/c 3", "none/", "two words", "big "+string(big))
	must(r.t,
		os.WriteFile(r.at("name with blank"), nil, 0o600),
		os.WriteFile(r.at("bad\xffutf8\n"), []byte("x"), 0o600),
		os.Symlink("dir/a", r.at("link")), os.Symlink("nowhere", r.at("dangling")), os.Symlink(strings.Repeat("t", 4000), r.at("longlink")),
		os.Link(r.at("small"), r.at("hard1")), os.Link(r.at("small"), r.at("dir/hard2")), os.Link(r.at("link"), r.at("hardlink")),
		unix.Mkfifo(r.at("fifo"), 0o640),
		unix.Mknod(r.at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(r.at("loop"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 0))),
		os.Chown(r.at("dir/b"), 12, 34), os.Lchown(r.at("link"), 56, 78),
		unix.Chmod(r.at("dir/a"), 0o4755), unix.Chmod(r.at("none"), 0o3775),
		unix.Setxattr(r.at("small"), "user.note", []byte("value"), 0),
		unix.Setxattr(r.at("small"), "user.large", bytes.Repeat([]byte("l"), 3000), 0),
		unix.Setxattr(r.at("none"), "user.empty", nil, 0),
		unix.Lsetxattr(r.at("link"), "trusted.link", []byte("of a link"), 0),
	)
	for _, acl := range []string{"-m u:12:rwx,g:34:r small", "-d -m u:12:rx dir", "-m m::r dir/b"} {
		cmd := exec.Command("setfacl", strings.Fields(acl)...)
		cmd.Dir = r.src
		if out, err := cmd.CombinedOutput(); err != nil {
			r.t.Fatalf("setfacl: %v: %s", err, out)
		}
	}
	// A Unix socket's path is short, so it is bound from inside.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.at("sock"), Net: "unix"})
	must(r.t, err)
	l.SetUnlinkOnClose(false)
	must(r.t, l.Close())
	f, err := os.Create(r.at("sparse"))
	must(r.t, err)
	for _, off := range []int64{1 << 20, 7<<20 + 123} {
		_, err := f.WriteAt([]byte("data"), off)
		must(r.t, err)
	}
	must(r.t, f.Truncate(20<<20), f.Close())
	setTimes(r.t, r.at("dir/deep"), 1, 999999999)
	setTimes(r.t, r.at("small"), -12345, 678)
	setTimes(r.t, r.at("link"), 1e9, 1)
	setTimes(r.t, r.at("dir"), 1e9+7, 7)
}

func TestPutEverything(t *testing.T) {
	r := newRig(t)
	r.everything()
	res := r.put(Options{})
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	r.same("t")
	var st unix.Stat_t
	if err := unix.Stat(r.mnt+"/t/sparse", &st); err != nil || st.Blocks*512 > 4<<20 {
		t.Errorf("the sparse file takes %d bytes, %v", st.Blocks*512, err)
	}
	if res.Stored != 10 || res.Dirs != 5 {
		t.Errorf("counts %+v", res.Counts)
	}

	again := r.put(Options{Delete: true})
	if again.Stored != 0 || again.Bytes != 0 || again.Unchanged != 10 || again.Removed != 0 {
		t.Errorf("a second run: %+v", again.Counts)
	}
	r.same("t")
}

// TestAccessTime: reading changes no access time, and it is carried over.
func TestAccessTime(t *testing.T) {
	r := newRig(t)
	r.write("f content")
	setTimes(t, r.at("f"), 1e9, 5)
	r.put(Options{})
	for _, path := range []string{r.at("f"), r.mnt + "/t/f"} {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Atim != (unix.Timespec{Sec: 1e9, Nsec: 5}) {
			t.Errorf("access time of %s is %v, %v", path, st.Atim, err)
		}
	}
}

func TestSources(t *testing.T) {
	for _, c := range []struct {
		sources []string
		target  string
		want    string // names below the root
	}{
		{[]string{"SRC"}, "/", "src src/d src/d/f src/l"},
		{[]string{"SRC/"}, "/", "d d/f l"},
		{[]string{"SRC/."}, "/x/y", "x x/y x/y/d x/y/d/f x/y/l"},
		{[]string{"SRC/d/.."}, "x", "x x/d x/d/f x/l"},
		{[]string{"SRC/d", "SRC/l"}, "x", "x x/d x/d/f x/l"},
		{[]string{"SRC/d/f"}, "x", "x x/f"},
		{[]string{"SRC/l"}, "x", "x x/l"},
		{[]string{"SRC/l/"}, "x", "x x/f"},
		{[]string{"SRC/d/", "SRC"}, "x", "x x/f x/src x/src/d x/src/d/f x/src/l"},
	} {
		t.Run(strings.Join(c.sources, ",")+" to "+c.target, func(t *testing.T) {
			r := newRig(t)
			r.write("d/f 1")
			must(t, os.Symlink("d", r.at("l")))
			var sources []string
			for _, s := range c.sources {
				sources = append(sources, strings.Replace(s, "SRC", r.src, 1))
			}
			r.put(Options{Sources: sources, Target: c.target, Delete: true})
			if got := r.names("."); got != c.want {
				t.Errorf("have %s, want %s", got, c.want)
			}
		})
	}
}

func TestBadSourceAndTarget(t *testing.T) {
	r := newRig(t)
	r.write("f 1")
	for _, s := range []string{"", r.at("no"), r.at("f") + "/", r.at("f/x")} {
		if _, err := r.try(Options{Sources: []string{r.src, s}}); !errors.Is(err, ErrSource) {
			t.Errorf("source %q: %v, want %v", s, err, ErrSource)
		}
	}
	if got := r.names("."); got != "" {
		t.Errorf("a run that can't be has made %s", got)
	}
	r.put(Options{})
	for _, target := range []string{"t/f", "t/f/x", "../x"} {
		if _, err := r.try(Options{Target: target}); !errors.Is(err, ErrTarget) {
			t.Errorf("target %s: %v, want %v", target, err, ErrTarget)
		}
	}
}

func TestDelete(t *testing.T) {
	r := newRig(t)
	r.write("keep 1", "gone 1", "dir/keep 1", "dir/gone 1", "gonedir/a/b 1", "gonedir/c 1")
	for i := range 600 {
		r.write(fmt.Sprintf("many/%d x", i))
	}
	r.put(Options{})
	must(t, os.Remove(r.at("gone")), os.Remove(r.at("dir/gone")), os.RemoveAll(r.at("gonedir")), os.RemoveAll(r.at("many")))
	before := r.names("t")
	r.put(Options{})
	if got := r.names("t"); got != before {
		t.Errorf("without Delete something went: %d names, had %d", len(got), len(before))
	}
	res := r.put(Options{Delete: true})
	if res.Removed != 2+4+601 {
		t.Errorf("removed %d names", res.Removed)
	}
	r.same("t")

	// Other sources of the same target stay, if they are told of; a source that can't be looked at is kept.
	other := t.TempDir()
	must(t, os.WriteFile(other+"/o", nil, 0o644))
	r.put(Options{Sources: []string{r.src + "/", other + "/"}, Delete: true})
	if got, want := r.names("t"), "dir dir/keep keep o"; got != want {
		t.Errorf("of two sources: %s, want %s", got, want)
	}
}

func TestReplace(t *testing.T) {
	r := newRig(t)
	r.write("file/x 1", "dir 2", "link 3", "node 4", "content first", "truncated long content")
	must(t, os.Symlink("a", r.at("sym")))
	r.put(Options{})
	must(t,
		os.RemoveAll(r.at("file")), os.Remove(r.at("dir")), os.Remove(r.at("link")), os.Remove(r.at("node")), os.Remove(r.at("sym")),
		os.Symlink("content", r.at("link")), unix.Mkfifo(r.at("node"), 0o600), os.Symlink("b", r.at("sym")),
		os.Truncate(r.at("truncated"), 4),
	)
	r.write("file 1", "dir/y 2", "content second")
	r.put(Options{})
	r.same("t")
}

// TestHardLinks has names join and leave a file between runs.
func TestHardLinks(t *testing.T) {
	r := newRig(t)
	r.write("a 1", "b 2", "c 3")
	for i, step := range []func() error{
		func() error { return os.Link(r.at("a"), r.at("a2")) },
		func() error { return os.Link(r.at("a"), r.at("a3")) },
		func() error { return errors.Join(os.Remove(r.at("a2")), os.Link(r.at("b"), r.at("a2"))) },
		func() error {
			return errors.Join(os.Remove(r.at("a3")), os.WriteFile(r.at("a3"), []byte("own"), 0o644))
		},
		func() error { return os.WriteFile(r.at("a2"), []byte("both"), 0o644) },
		func() error { return errors.Join(os.Remove(r.at("a")), os.Link(r.at("b"), r.at("a"))) },
	} {
		must(t, step())
		r.put(Options{})
		r.same("t")
		if t.Failed() {
			t.Fatalf("after step %d", i)
		}
	}
}

// TestIncremental changes one thing at a time and says which files must be read for it.
func TestIncremental(t *testing.T) {
	r := newRig(t)
	r.write("a 1", "b 2", "dir/c 3")
	r.put(Options{})
	for _, c := range []struct {
		name string
		do   func() error
		want uint64
	}{
		{"nothing", func() error { return nil }, 0},
		{"content", func() error { return os.WriteFile(r.at("a"), []byte("longer"), 0o644) }, 1},
		{"content, size and mtime as they were", func() error {
			setTimes(t, r.at("a"), 1e9, 0)
			r.put(Options{})
			if err := os.WriteFile(r.at("a"), []byte("LONGER"), 0o644); err != nil {
				return err
			}
			setTimes(t, r.at("a"), 1e9, 0)
			return nil
		}, 1},
		{"mode", func() error { return os.Chmod(r.at("b"), 0o600) }, 1},
		{"directory", func() error { return os.Chmod(r.at("dir"), 0o700) }, 0},
		{"renamed", func() error { return errors.Join(os.Rename(r.at("b"), r.at("b2")), os.Remove(r.mnt+"/t/b")) }, 1},
		{"archived content", func() error { return os.WriteFile(r.mnt+"/t/a", []byte("by hand"), 0) }, 1},
		{"archived mode", func() error { return os.Chmod(r.mnt+"/t/a", 0o777) }, 1},
		{"archived file gone", func() error { return os.Remove(r.mnt + "/t/dir/c") }, 1},
	} {
		must(t, c.do())
		if res := r.put(Options{}); res.Stored != c.want {
			t.Errorf("%s: read %d files, want %d", c.name, res.Stored, c.want)
		}
		r.same("t")
	}
}

// TestFreshChange: a file whose ctime is so young that another change might not show is read again.
func TestFreshChange(t *testing.T) {
	r := newRig(t)
	r.write("f 1")
	var st unix.Stat_t
	must(t, unix.Stat(r.at("f"), &st))
	same := func() time.Time { return time.Unix(st.Ctim.Sec, st.Ctim.Nsec) }
	for range 2 {
		if res := r.put(Options{Clock: same}); res.Stored != 1 {
			t.Errorf("read %d files", res.Stored)
		}
	}
	r.put(Options{})
	if res := r.put(Options{}); res.Stored != 0 {
		t.Errorf("later, read %d files", res.Stored)
	}
}

// TestSkip leaves the process's own mount alone: to look at it could hang.
func TestSkip(t *testing.T) {
	r := newRig(t)
	r.write("f 1", "mnt/x 2")
	r.put(Options{Skip: []string{r.at("mnt")}, Delete: true})
	if got := r.names("t"); got != "f" {
		t.Errorf("have %s", got)
	}
}

func TestProgress(t *testing.T) {
	r := newRig(t)
	r.write("a 1", "b 22", "c 333")
	var last Progress
	calls := 0
	res, err := Put(t.Context(), r.tree, Options{Sources: []string{r.src}}, func(p Progress) { last, calls = p, calls+1 })
	must(t, err)
	if calls == 0 || last.Path == "" || res.Bytes != 6 {
		t.Errorf("%d calls, the last %+v; %+v", calls, last, res.Counts)
	}
}

func TestPutRandomTwice(t *testing.T) {
	r := newRig(t)
	for i := range 2000 {
		r.write(fmt.Sprintf("d%d/e%d/f%d %s", i%7, i%31, i, strings.Repeat("c", i)))
	}
	r.put(Options{Parallel: 8})
	r.same("t")
	want, err := compare.Read(r.mnt+"/t", nil)
	must(t, err)
	r.put(Options{Delete: true})
	got, err := compare.Read(r.mnt+"/t", nil)
	must(t, err)
	if d := compare.Diff(want, got); len(d) > 0 {
		t.Error(compare.Summary(d))
	}
}
