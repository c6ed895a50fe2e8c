package walk

import (
	"context"
	"os"
	"testing"

	"coffer/fusefs/tree"
	"coffer/media"
	"coffer/media/mem"
	"coffer/pipeline"
	"coffer/pipeline/mover"
)

type starter struct{}

func (starter) Initiate(ctx context.Context, spec pipeline.Spec) (*pipeline.Pipe, error) {
	return pipeline.Start(ctx, spec)
}

// newTree makes the tree of a new volume in memory, all of the pipe below it.
func newTree(t testing.TB) *tree.Tree {
	t.Helper()
	return newTreeOn(t, mem.New(1<<30))
}

func newTreeOn(t testing.TB, m media.Medium) *tree.Tree {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	store, err := media.CreateStore(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	s, err := mover.OpenSource(ctx, starter{}, mover.Options{
		Medium: m, Store: store, Volume: "test", StateDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := tree.New(ctx, tree.Config{
		Index:     s.Index(),
		Collector: tree.FromStage(s.Collector()),
		Groups:    s.Groups(),
		Flight:    s.Flight(),
		Pipe:      s.Pipe(),
		Full:      media.ErrFull,
		Uid:       uint32(os.Getuid()),
		Gid:       uint32(os.Getgid()),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}
