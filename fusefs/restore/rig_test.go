package restore

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
	"coffer/fusefs/tree"
	"coffer/fusefs/walk"
	"coffer/index"
	"coffer/media"
	"coffer/media/mem"
	"coffer/pipeline"
	"coffer/pipeline/mover"
	"coffer/test/compare"
)

type starter struct{}

func (starter) Initiate(ctx context.Context, spec pipeline.Spec) (*pipeline.Pipe, error) {
	return pipeline.Start(ctx, spec)
}

// rig is a source, and a volume in memory that it is put into.
type rig struct {
	t      testing.TB
	src    string
	to     string
	tree   *tree.Tree
	source *mover.Source
	groups groups
	told   []Problem
}

// groups are those of the volume, with a test in between.
type groups struct {
	past.Groups
	before func(chunkfmt.Seq) error // called before each read; nil: nothing
}

func (g *groups) ReadAt(ctx context.Context, seq chunkfmt.Seq, p []byte, off uint32) error {
	if g.before != nil {
		if err := g.before(seq); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return g.Groups.ReadAt(ctx, seq, p, off)
}

func newRig(t testing.TB) *rig {
	t.Helper()
	unix.Umask(0o022)
	ctx := context.WithoutCancel(t.Context())
	dir := t.TempDir()
	r := &rig{t: t, src: filepath.Join(dir, "src"), to: filepath.Join(dir, "to")}
	must(t, os.Mkdir(r.src, 0o755))
	m := mem.New(1 << 30)
	store, err := media.CreateStore(ctx, m)
	must(t, err)
	r.source, err = mover.OpenSource(ctx, starter{}, mover.Options{
		Medium: m, Store: store, Volume: "test", StateDir: t.TempDir(), Buffers: 24,
	})
	must(t, err)
	r.tree, err = tree.New(ctx, tree.Config{
		Index: r.source.Index(), Collector: tree.FromStage(r.source.Collector()),
		Groups: r.source.Groups(), Flight: r.source.Flight(), Pipe: r.source.Pipe(), Full: media.ErrFull,
	})
	must(t, err)
	r.groups.Groups = r.source.Groups()
	t.Cleanup(func() { must(t, r.tree.Close(ctx), r.source.Close()) })
	return r
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// put stores the source, and gives what is there then.
func (r *rig) put() *past.State {
	r.t.Helper()
	res, err := walk.Put(r.t.Context(), r.tree, walk.Options{Sources: []string{r.src + "/"}, Delete: true}, nil)
	must(r.t, err, res.Err(), r.tree.Settle(r.t.Context()))
	return past.At(r.source.Index(), &r.groups, index.Present)
}

func (r *rig) part(s *past.State, only ...string) *past.Part {
	r.t.Helper()
	p, err := s.Part("", only...)
	must(r.t, err)
	return p
}

// options restore into to.
func (r *rig) options() Options {
	return Options{To: r.to, Owner: os.Geteuid() == 0, Tell: func(p Problem) { r.told = append(r.told, p) }}
}

// restore runs to its end and wants no problems.
func (r *rig) restore(p *past.Part, o Options) Counts {
	r.t.Helper()
	c := r.run(p, o)
	for _, p := range r.told {
		r.t.Error(&p)
	}
	return c
}

// run runs to its end.
func (r *rig) run(p *past.Part, o Options) Counts {
	r.t.Helper()
	r.told = nil
	run := r.new(p, o)
	must(r.t, run.Do(r.t.Context()))
	return run.Counts()
}

// new makes pieces of files that are not large.
func (r *rig) new(p *past.Part, o Options) *Run {
	run := New(p, o)
	run.piece = 300 << 10
	return run
}

// problems wants problems with exactly these paths.
func (r *rig) problems(paths ...string) {
	r.t.Helper()
	told := map[string]bool{}
	for _, p := range r.told {
		told[p.Path] = true
	}
	for _, path := range paths {
		if !told[path] {
			r.t.Errorf("there is no problem with %s", path)
		}
		delete(told, path)
	}
	for _, p := range r.told {
		if told[p.Path] {
			r.t.Errorf("a problem that should not be: %v", &p)
		}
	}
}

func read(t testing.TB, dir string, skip func(string) bool) compare.Tree {
	t.Helper()
	tree, err := compare.Read(dir, skip)
	must(t, err)
	return tree
}

// same wants the destination to be the source, but for what is skipped.
func (r *rig) same(skip ...string) {
	r.t.Helper()
	leave := func(path string) bool {
		for _, s := range skip {
			if path == s {
				return true
			}
		}
		return false
	}
	if d := compare.Diff(read(r.t, r.src, leave), read(r.t, r.to, leave)); len(d) > 0 {
		r.t.Errorf("the destination differs from the source:\n%s", compare.Summary(d))
	}
}

// write makes files of a directory from lines of "path content"; a path that ends in a slash is a directory.
func (r *rig) write(dir string, lines ...string) {
	r.t.Helper()
	for _, line := range lines {
		name, content, _ := strings.Cut(line, " ")
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			must(r.t, os.MkdirAll(path, 0o755))
			continue
		}
		must(r.t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644))
	}
	r.age(dir)
}

// age gives everything below a directory a time of its own.
func (r *rig) age(dir string) {
	r.t.Helper()
	n := int64(0)
	must(r.t, filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		n++
		at := unix.NsecToTimespec(time.Date(2001, 1, 1, 0, 0, int(n), int(n*1_234_567), time.UTC).UnixNano())
		must(r.t, err, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
		return nil
	}))
}
