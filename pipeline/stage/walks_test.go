package stage_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// heard is a medium that tells of each read.
type heard struct {
	stage.Reader
	reads chan struct{}
}

func (h *heard) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	h.reads <- struct{}{}
	return h.Reader.ReadAt(ctx, name, p, off)
}

// TestWalk: who goes through the groups in their order finds the next ones read already; who goes any other way has
// nothing read that he did not ask for.
func TestWalk(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, ctx, nil)
	f := &file{ino: 2}
	for len(f.data) < 24<<20 {
		r.mustWrite(f, int64(len(f.data)), random(uint64(len(f.data)), 1<<20))
	}
	if err := r.await(r.cutAll(stage.MarkEnd, f)); err != nil {
		t.Fatal(err)
	}
	r.close()
	all := slices.Sorted(maps.Keys(r.index.groups))
	if len(all) < 10 {
		t.Fatalf("%d groups are too few", len(all))
	}
	// reading gives how many reads the medium had of who reads groups so: at least so many, if he is to be waited for.
	reading := func(least int, seqs ...chunkfmt.Seq) (reads int) {
		h := &heard{r.medium, make(chan struct{}, 100)}
		g, err := stage.NewGroups(ctx, stage.GroupsConfig{
			Keys: &testKeys, Flight: stage.NewFlight(), Records: r.index, Locator: r.catalog, Medium: h, Sealer: sealerOf,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, seq := range seqs {
			if err := g.ReadAt(ctx, seq, make([]byte, 1), 0); err != nil {
				t.Error(err)
			}
		}
		for ; reads < least; reads++ {
			<-h.reads
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		return reads + len(h.reads)
	}
	once := reading(0, all[0])
	if n := reading(5*once, all[:3]...); n <= 3*once {
		t.Errorf("three groups in order: %d reads, and none ahead", n)
	}
	if n := reading(0, all[:2]...); n != 2*once {
		t.Errorf("two groups in order: %d reads, want %d", n, 2*once)
	}
	backwards := slices.Clone(all)
	slices.Reverse(backwards)
	if n := reading(0, backwards...); n != len(all)*once {
		t.Errorf("%d groups backwards: %d reads, want %d", len(all), n, len(all)*once)
	}
	if n := reading(0, slices.Concat(all[:2], all[:2], all[:2])...); n != 2*once {
		t.Errorf("two groups, again and again: %d reads, want %d", n, 2*once)
	}
}
