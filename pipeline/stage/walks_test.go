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

// TestWalk: who goes through groups that are near each other, in whatever order, finds the next ones read already; who jumps
// from one place to another has nothing read that he did not ask for.
func TestWalk(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, ctx, nil)
	f := &file{ino: 2}
	for len(f.data) < 48<<20 {
		r.mustWrite(f, int64(len(f.data)), random(uint64(len(f.data)), 1<<20))
	}
	if err := r.await(r.cutAll(stage.MarkEnd, f)); err != nil {
		t.Fatal(err)
	}
	r.close()
	all := slices.Sorted(maps.Keys(r.index.groups))
	if len(all) < 45 {
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
	if n := reading(5*once, all[:2]...); n <= 2*once {
		t.Errorf("two groups in order: %d reads, and none ahead", n)
	}
	if n := reading(5*once, all[22], all[21]); n <= 2*once {
		t.Errorf("two groups backwards: %d reads, and none ahead", n)
	}
	if n := reading(5*once, all[22], all[25]); n <= 2*once {
		t.Errorf("two groups near each other: %d reads, and none ahead", n)
	}
	if n := reading(0, all[0], all[22], all[44], all[0], all[22], all[44]); n != 3*once {
		t.Errorf("three groups far from each other, twice: %d reads, want %d", n, 3*once)
	}
}
