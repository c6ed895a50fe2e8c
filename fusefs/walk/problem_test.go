package walk

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// hooked is a tree that calls a function when a file is about to be made, which is after its source was opened.
type hooked struct {
	Tree
	hook func(name string) error
}

func (h hooked) Create(ctx context.Context, who tree.Caller, parent tree.Ino, name string, mode uint32, flags int) (tree.Entry, *tree.Handle, error) {
	if err := h.hook(name); err != nil {
		return tree.Entry{}, nil, err
	}
	return h.Tree.Create(ctx, who, parent, name, mode, flags)
}

func TestChangesWhileRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(path string) error
		want   string // what is stored
	}{
		{"grows", func(p string) error { return appendTo(p, "more") }, "content"},
		{"shrinks", func(p string) error { return os.Truncate(p, 3) }, "con"},
		{"is rewritten", func(p string) error { return os.WriteFile(p, []byte("CONTENT"), 0o644) }, "CONTENT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.write("f content", "other 1")
			h := hooked{r.tree, func(name string) error {
				if name == "f" {
					return c.change(r.at("f"))
				}
				return nil
			}}
			res, err := Put(t.Context(), h, Options{Sources: []string{r.src + "/"}, Kernel: r.kernel}, nil)
			must(t, err)
			if len(res.Problems) != 1 || !errors.Is(res.Err(), ErrChanged) || !strings.Contains(res.Err().Error(), r.at("f")) {
				t.Errorf("problems: %v", res.Err())
			}
			if got, err := os.ReadFile(filepath.Join(r.mnt, "f")); err != nil || string(got) != c.want {
				t.Errorf("stored %q, %v; want %q", got, err, c.want)
			}
			if res := r.put(Options{Target: "/"}); res.Stored == 0 {
				t.Error("it is not read again")
			}
			r.same(".")
		})
	}
}

func appendTo(path, s string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s)
	return errors.Join(err, f.Close())
}

// TestReadError: the kernel answers EIO to whoever reads this file from its start, as a failing disk does.
func TestReadError(t *testing.T) {
	const source = "/proc/self/mem"
	r := newRig(t)
	res, err := r.try(Options{Sources: []string{source}})
	must(t, err)
	if !errors.Is(res.Err(), unix.EIO) {
		t.Errorf("problems: %v", res.Err())
	}
	if got := r.names("t"); got != "" {
		t.Errorf("of a file that can't be read there is %s", got)
	}
	r.write("mem an earlier version")
	r.put(Options{})
	res, err = r.try(Options{Sources: []string{source}})
	must(t, err)
	if !errors.Is(res.Err(), unix.EIO) {
		t.Errorf("problems: %v", res.Err())
	}
	r.same("t")
}

// TestUnreadable is run again as an ordinary user when it is root that runs it.
func TestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^TestUnreadable$")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "TMPDIR=/tmp")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	r := &rig{t: t, src: t.TempDir(), tree: newTree(t)}
	r.write("a 1", "secret 2", "closed/in 3", "open/b 4")
	put := func() Result {
		t.Helper()
		res, err := Put(t.Context(), r.tree, Options{Sources: []string{r.src + "/"}, Delete: true}, nil)
		must(t, err)
		return res
	}
	if err := ptr(put()).Err(); err != nil {
		t.Fatal(err)
	}
	must(t, os.WriteFile(r.at("secret"), []byte("changed"), 0), os.Chmod(r.at("secret"), 0), os.Chmod(r.at("closed"), 0))
	t.Cleanup(func() { os.Chmod(r.at("closed"), 0o700) })
	res := put()
	if res.Counts.Problems != 2 || !errors.Is(res.Err(), unix.EACCES) {
		t.Errorf("%d problems: %v", res.Counts.Problems, res.Problems)
	}
	// What can't be read is kept, with Delete too.
	for _, name := range []string{"secret", "closed", "a", "open"} {
		if _, err := r.tree.Lookup(t.Context(), tree.RootIno, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := r.tree.Lookup(t.Context(), tree.RootIno, "closed")
	must(t, err)
	if _, err := r.tree.Lookup(t.Context(), e.Ino, "in"); err != nil {
		t.Errorf("what a closed directory held: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

// TestTreeFails: an error of the tree ends the run, and lets go of every directory.
func TestTreeFails(t *testing.T) {
	r := newRig(t)
	for _, d := range strings.Fields("a b c d e f g h") {
		for _, f := range strings.Fields("1 2 3 4 5 6 7 8") {
			r.write(d + "/x/" + f + " x")
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	for _, c := range []struct {
		name string
		hook func(string) error
		want error
	}{
		{"full", func(string) error { return unix.ENOSPC }, unix.ENOSPC},
		{"broken", func(string) error { return unix.EIO }, unix.EIO},
		{"called off", func(string) error { stop(); return nil }, context.Canceled},
	} {
		before := openFiles(t)
		_, err := Put(ctx, hooked{r.tree, c.hook}, Options{Sources: []string{r.src}, Target: c.name}, nil)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if after := openFiles(t); after != before {
			t.Errorf("%s: %d files are open, before there were %d", c.name, after, before)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(all)
}
