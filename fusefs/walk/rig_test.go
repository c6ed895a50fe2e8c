package walk

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/fusefs"
	"coffer/fusefs/tree"
	"coffer/test/compare"
	"coffer/test/inprocess"
)

// rig is a source, and a tree that is mounted, to look at it as an application does.
type rig struct {
	t      *testing.T
	src    string
	mnt    string
	tree   *tree.Tree
	kernel *fusefs.Server
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, src: filepath.Join(t.TempDir(), "src"), mnt: t.TempDir(), tree: newTree(t)}
	must(t, os.Mkdir(r.src, 0o755))
	var err error
	if r.kernel, err = fusefs.Mount(t.Context(), r.mnt, r.tree, fusefs.Options{}); err != nil {
		t.Fatal(err)
	}
	must(t, inprocess.Unpolled(r.mnt))
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer stop()
		if err := r.kernel.Unmount(ctx); err != nil {
			t.Error(err)
			r.kernel.Detach()
		}
	})
	return r
}

// put runs Put as of an hour later, when what was written is settled. Sources default to the contents of src.
func (r *rig) put(o Options) Result {
	r.t.Helper()
	res, err := r.try(o)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range res.Problems {
		r.t.Error(&p)
	}
	return res
}

func (r *rig) try(o Options) (Result, error) {
	if o.Sources == nil {
		o.Sources = []string{r.src + "/"}
	}
	if o.Target == "" {
		o.Target = "/t"
	}
	if o.Clock == nil {
		o.Clock = func() time.Time { return time.Now().Add(time.Hour) }
	}
	o.Kernel = r.kernel
	return Put(r.t.Context(), r.tree, o, nil)
}

// same wants the directory at under the mount to be the source.
func (r *rig) same(at string) {
	r.t.Helper()
	r.sameAs(r.src, at, nil)
}

func (r *rig) sameAs(src, at string, skip func(string) bool) {
	r.t.Helper()
	want, err := compare.Read(src, skip)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := compare.Read(filepath.Join(r.mnt, at), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if d := compare.Diff(want, got); len(d) > 0 {
		r.t.Errorf("%s differs from its source:\n%s", at, compare.Summary(d))
	}
}

// must is for the steps that make a source.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// write makes files from lines of "path content"; a path that ends in a slash is a directory.
func (r *rig) write(lines ...string) {
	r.t.Helper()
	for _, line := range lines {
		name, content, _ := strings.Cut(line, " ")
		path := filepath.Join(r.src, name)
		if strings.HasSuffix(name, "/") {
			must(r.t, os.MkdirAll(path, 0o755))
			continue
		}
		must(r.t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644))
	}
}

func (r *rig) at(name string) string { return filepath.Join(r.src, name) }

// names are the paths below a directory of the mount.
func (r *rig) names(at string) string {
	r.t.Helper()
	got, err := compare.Read(filepath.Join(r.mnt, at), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Join(sortedKeys(got), " ")
}

func sortedKeys(tree compare.Tree) []string {
	var names []string
	for name := range tree {
		if name != "." {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func setTimes(t *testing.T, path string, sec, nsec int64) {
	t.Helper()
	ts := []unix.Timespec{{Sec: sec, Nsec: nsec}, {Sec: sec, Nsec: nsec}}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW))
}
