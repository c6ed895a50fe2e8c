package tree

import (
	"sync"
	"testing"

	"coffer/chunkfmt"
)

// TestAmend puts records into the log that are not of the tree: with nothing to cut, and beside changes; and no archive
// is made for them.
func TestAmend(t *testing.T) {
	v := newVolume(t, 64<<20, nil)
	v.clock.Store(1000)
	v.mkdir("first")
	v.snapshot("", true)
	wantBad := func(seq chunkfmt.Seq) {
		t.Helper()
		if why, is, err := v.source.Index().Bad(seq); err != nil || !is || why != "rot" {
			t.Errorf("group %v in the index: %q %v, %v", seq, why, is, err)
		}
	}
	bad := func(seq chunkfmt.Seq) chunkfmt.Record {
		return chunkfmt.Record{Op: chunkfmt.OpPut, Kind: chunkfmt.RecBad, Key: chunkfmt.BadKey(seq), Value: []byte("rot")}
	}
	if err := v.Amend(t.Context(), []chunkfmt.Record{bad(1), bad(2)}); err != nil {
		t.Fatal(err)
	}
	wantBad(1)
	wantBad(2)
	v.snapshot("", false)
	var wg sync.WaitGroup
	for seq := chunkfmt.Seq(10); seq < 30; seq++ {
		wg.Go(func() {
			v.mkdir(seq.String()[3:])
			if err := v.Amend(t.Context(), []chunkfmt.Record{bad(seq)}); err != nil {
				t.Error(err)
			}
			wantBad(seq)
		})
	}
	wg.Wait()
	v.end()
	v.below()
	v.start()
	wantBad(29)
	v.end()
}
