package check_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
	"coffer/fusefs/tree"
	"coffer/fusefs/walk"
	"coffer/index"
	"coffer/media"
	"coffer/media/dir"
	"coffer/pipeline"
	"coffer/pipeline/check"
	"coffer/pipeline/mover"
)

type starter struct{}

func (starter) Initiate(ctx context.Context, spec pipeline.Spec) (*pipeline.Pipe, error) {
	return pipeline.Start(ctx, spec)
}

// rig is a volume that is written by sessions of the real thing, without a mount, and looked at with the reader that
// commands use.
type rig struct {
	t            *testing.T
	store, state string
	medium       media.Medium
	options      mover.Options
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, store: filepath.Join(t.TempDir(), "store"), state: filepath.Join(t.TempDir(), "state")}
	m, err := dir.Open(r.store, dir.Options{Create: true})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	id, err := media.CreateStore(t.Context(), m)
	must(t, err)
	r.medium = m
	r.options = mover.Options{
		Medium: m, Store: id, Master: [32]byte{7}, Volume: "main", StateDir: r.state,
		Buffers: 12, Instances: 2, CacheBytes: 4 << 20, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	r.options.CatalogPath = filepath.Join(r.store, media.CatalogName(r.keys().ID))
	return r
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rig) keys() *chunkfmt.VolumeKeys {
	k := chunkfmt.DeriveVolumeKeys(r.options.Master, r.options.Store, r.options.Volume)
	return &k
}

// session is a volume that is open for writing.
type session struct {
	*rig
	source *mover.Source
	tree   *tree.Tree
}

func (r *rig) open() *session {
	r.t.Helper()
	source, err := mover.OpenSource(r.t.Context(), starter{}, r.options)
	must(r.t, err)
	x, err := tree.New(context.WithoutCancel(r.t.Context()), tree.Config{
		Index: source.Index(), Collector: tree.FromStage(source.Collector()), Groups: source.Groups(), Flight: source.Flight(),
		Pipe: source.Pipe(), Log: r.options.Log,
	})
	must(r.t, err)
	return &session{r, source, x}
}

// put makes the volume's root what files are, of slash-separated paths.
func (s *session) put(files map[string][]byte) {
	s.t.Helper()
	src := s.t.TempDir()
	for name, data := range files {
		path := filepath.Join(src, filepath.FromSlash(name))
		must(s.t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644))
	}
	result, err := walk.Put(s.t.Context(), s.tree, walk.Options{
		Sources: []string{src + "/"}, Delete: true, Parallel: 1, // so that the same files share a group each time
	}, nil)
	must(s.t, err)
	for _, p := range result.Problems {
		s.t.Error(&p)
	}
}

func (s *session) rename(from, to string) {
	s.t.Helper()
	must(s.t, s.tree.Rename(s.t.Context(), tree.RootIno, from, tree.RootIno, to, 0))
}

func (s *session) seal(label string) {
	s.t.Helper()
	_, _, err := s.tree.Snapshot(s.t.Context(), label)
	must(s.t, err)
}

// pruneAllBut forgets all archives but one, and prunes.
func (s *session) pruneAllBut(label string) mover.Pruned {
	s.t.Helper()
	var others []chunkfmt.ArchiveRecord
	must(s.t, s.source.Index().Archives(0, func(a chunkfmt.ArchiveRecord) bool {
		if a.Label != label {
			others = append(others, a)
		}
		return true
	}))
	must(s.t, s.source.Forget(s.t.Context(), s.tree, others))
	pruned, err := s.source.Prune(s.t.Context(), s.tree)
	must(s.t, err)
	return pruned
}

func (s *session) close() {
	s.t.Helper()
	must(s.t, s.tree.Close(s.t.Context()), s.source.Close())
}

// crash ends the session as a killed process would: nothing is drained, no chunk gets a footer.
func (s *session) crash() {
	s.t.Helper()
	s.source.Pipe().Abort(errors.New("killed"))
	_ = s.tree.Close(s.t.Context()) // says that it was killed
	_ = s.source.Close()
}

// reader opens the volume as commands do that only read.
func (r *rig) reader() (*mover.Reader, check.Volume) {
	r.t.Helper()
	x, err := mover.OpenReader(r.t.Context(), r.options, "")
	must(r.t, err)
	return x, check.Volume{ID: r.keys().ID, Medium: r.medium, Index: x.Index(), Groups: x.Groups(), Newest: x.Newest}
}

func (r *rig) check(o check.Options) ([]check.Finding, check.Result) {
	r.t.Helper()
	x, v := r.reader()
	defer x.Close()
	return r.checkOf(v, o)
}

func (r *rig) checkOf(v check.Volume, o check.Options) (all []check.Finding, result check.Result) {
	r.t.Helper()
	result, err := check.Run(r.t.Context(), v, o, func(f check.Finding) { all = append(all, f) })
	must(r.t, err)
	if result.Findings != len(all)+result.Untold {
		r.t.Errorf("%d findings are counted, %d told", result.Findings, len(all))
	}
	return all, result
}

func everything(chunkfmt.Seq) bool { return true }

// flip turns a bit of a file of the store.
func (r *rig) flip(name string, at int64, bit int) {
	r.t.Helper()
	path := filepath.Join(r.store, name)
	b, err := os.ReadFile(path)
	must(r.t, err)
	b[at] ^= 1 << bit
	must(r.t, os.WriteFile(path, b, 0o600))
}

// stored is a tag as it lies in a chunk.
type stored struct {
	chunkfmt.Entry
	name string
}

// tags lists the tags of the volume's chunks or of its mirrors, by name and place.
func (r *rig) tags(mirror bool) (all []stored) {
	r.t.Helper()
	list, err := r.medium.List(r.t.Context(), media.VolumePrefix(r.keys().ID))
	must(r.t, err)
	for _, info := range list {
		_, id, ok := media.ParseChunkName(info.Name)
		if !ok || id.Mirror() != mirror {
			continue
		}
		sc := chunkfmt.NewScanner(media.Reader(r.t.Context(), r.medium, info.Name), info.Size)
		for {
			e, err := sc.Next()
			var damage *chunkfmt.DamageError
			if errors.As(err, &damage) {
				continue
			}
			if errors.Is(err, io.EOF) {
				break
			}
			must(r.t, err)
			all = append(all, stored{e, info.Name})
		}
	}
	return all
}

// tagOf finds the tag of the group that holds the beginning of a file as it is now.
func (r *rig) tagOf(path string) stored {
	r.t.Helper()
	x, _ := r.reader()
	defer x.Close()
	e, err := past.At(x.Index(), x.Groups(), index.Present).Resolve(path)
	must(r.t, err)
	group := chunkfmt.Seq(0)
	must(r.t, x.Index().Extents(e.Ino, 0, 1, func(e chunkfmt.Extent) bool { group = e.Group; return false }))
	tags := r.tags(false)
	i := slices.IndexFunc(tags, func(s stored) bool { return s.Tag.Seq == group && s.Tag.Kind == chunkfmt.KindData })
	if i < 0 {
		r.t.Fatalf("no tag of group %v", group)
	}
	return tags[i]
}

func (s stored) payload() int64 { return s.At + chunkfmt.TagSize }

// wantFiles compares the volume at an archive, by label, or now, with files; those in lost must not be readable.
func (r *rig) wantFiles(label string, files map[string][]byte, lost ...string) {
	r.t.Helper()
	x, _ := r.reader()
	defer x.Close()
	at := index.Present
	if label != "" {
		a, ok, err := x.Index().ArchiveLabelled(label)
		must(r.t, err)
		if !ok {
			r.t.Fatalf("no archive %q", label)
		}
		at = a.Number
	}
	state := past.At(x.Index(), x.Groups(), at)
	for name, want := range files {
		e, err := state.Resolve(name)
		must(r.t, err)
		f, err := state.Open(e.Ino)
		must(r.t, err)
		got := make([]byte, f.Size())
		_, err = f.Read(r.t.Context(), got, 0)
		switch {
		case slices.Contains(lost, name) && err == nil:
			r.t.Errorf("archive %q: %s reads", label, name)
		case !slices.Contains(lost, name) && (err != nil || !bytes.Equal(got, want)):
			r.t.Errorf("archive %q: %s: wrong bytes, or %v", label, name, err)
		}
	}
}

// told writes the files of findings down, one a line.
func told(all []check.Finding) string {
	var lines []string
	for _, f := range all {
		for _, file := range f.Files {
			line := file.Path + ":"
			for _, a := range file.Archives {
				line += " " + a.Label
			}
			if file.Now {
				line += " now"
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

// openCopy opens the volume beside its writer, with a copy of the writer's index.
func openCopy(r *rig, path string) (*mover.Reader, error) {
	return mover.OpenReader(r.t.Context(), r.options, path)
}
