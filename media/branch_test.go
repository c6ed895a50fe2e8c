package media_test

import (
	"slices"
	"testing"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/conformance"
	"coffer/media/mem"
)

func TestPlacedConformance(t *testing.T) {
	conformance.Run(t, func(*testing.T) media.Medium {
		return media.At(mem.New(0), chunkfmt.VolumeID{1}, chunkfmt.VolumeID{2})
	})
}

// TestBranch: a branch's objects lie in its own place and show under the volume's names, and it says whose it is.
func TestBranch(t *testing.T) {
	origin, branch := chunkfmt.VolumeID{1}, chunkfmt.VolumeID{2}
	m := mem.New(0)
	ctx := t.Context()
	if of, err := media.Origin(ctx, m, branch); err != nil || of != branch {
		t.Errorf("a volume that is no branch is one of %v, %v", of, err)
	}
	if err := media.PutOrigin(ctx, m, branch, origin); err != nil {
		t.Fatal(err)
	}
	if of, err := media.Origin(ctx, m, branch); err != nil || of != origin {
		t.Errorf("the branch is one of %v, %v", of, err)
	}
	if place, ok := media.ParseBranchName(media.BranchName(branch)); !ok || place != branch {
		t.Errorf("the name parses as %v, %v", place, ok)
	}
	for _, name := range []string{"", "branch", "volumes/branch", media.VolumePrefix(branch), media.CatalogName(branch)} {
		if _, ok := media.ParseBranchName(name); ok {
			t.Errorf("%q parses", name)
		}
	}
	chunk := media.ChunkName(origin, chunkfmt.MakeChunkID(1, 1, false))
	for place, content := range map[chunkfmt.VolumeID]string{origin: "the volume's", branch: "the branch's"} {
		if err := media.At(m, origin, place).Put(ctx, chunk, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for place, want := range map[chunkfmt.VolumeID]string{origin: "the volume's", branch: "the branch's"} {
		at := media.At(m, origin, place)
		if b, err := media.ReadAll(ctx, at, chunk, 100); err != nil || string(b) != want {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
		infos, err := at.List(ctx, media.VolumePrefix(origin))
		if err != nil || !slices.ContainsFunc(infos, func(i media.Info) bool { return i.Name == chunk }) {
			t.Errorf("%v, %v", infos, err)
		}
	}
	if err := m.Put(ctx, media.BranchName(branch), []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	if of, err := media.Origin(ctx, m, branch); err == nil {
		t.Errorf("nonsense says %v", of)
	}
}
