package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/tree"
	"coffer/index/dedup"
	"coffer/test/rig"
)

// TestHeapHasRoom holds all that a process may hold for good: the inodes of many files, the encoder of batches, and
// a table of known blocks, small and as large as it gets. Unless the limit of the heap leaves room beside it, the
// collector begins again as soon as it has ended.
func TestHeapHasRoom(t *testing.T) {
	const room = 32 << 20
	t.Setenv("GOMEMLIMIT", "")
	limit := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(limit) })
	v := testVolume(t)
	const files, perDir = 110_000, 1000 // more than the tree keeps
	var dir tree.Entry
	for k := range files {
		var err error
		if k%perDir == 0 {
			dir, err = v.tree.Mkdir(t.Context(), tree.Caller{}, tree.RootIno, fmt.Sprint(k), 0o700)
			rig.Must(t, err)
		}
		_, h, err := v.tree.Create(t.Context(), tree.Caller{}, dir.Ino, fmt.Sprint(k), 0o600, unix.O_WRONLY)
		rig.Must(t, err)
		h.Release()
	}
	rig.Must(t, v.tree.Sync(t.Context()))
	for v.tree.Status().Dirty > 0 { // what is stable goes into the index soon
		time.Sleep(10 * time.Millisecond)
	}

	check := func(when string) {
		t.Helper()
		live, limit := liveHeap(), uint64(debug.SetMemoryLimit(-1))
		t.Logf("%s: live %d MiB of %d MiB", when, live>>20, limit>>20)
		if live+room > limit {
			t.Errorf("%s: of a heap of %d MiB, %d MiB are live", when, limit>>20, live>>20)
		}
	}
	check("a small table")
	table := dedup.New(dedupBytes, nil)
	table.Watch(limitHeap)
	for n := uint64(1); table.Stats().SampleBits == 0; n++ {
		table.Add(blocks(n))
	}
	check("a full table")
	runtime.KeepAlive(table)
}

// testVolume is a volume of a new store, open until the test ends.
func testVolume(t *testing.T) *volume {
	t.Helper()
	home := t.TempDir()
	for _, env := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"} {
		t.Setenv(env, home)
	}
	store := filepath.Join(home, "store")
	rig.Must(t, runInit(t.Context(), initOptions{store: store, out: io.Discard, notes: io.Discard}))
	o := &volumeOptions{store: store, name: "main", buffers: 64, cache: 64 << 20}
	s, err := openStore(t.Context(), o, o.unlocked)
	rig.Must(t, err)
	v, err := openVolume(context.Background(), s, o, "test")
	rig.Must(t, err)
	t.Cleanup(func() { rig.Must(t, v.close(context.Background())) })
	return v
}

// blocks is the record of the n-th group, of blocks that are nowhere else.
func blocks(n uint64) chunkfmt.GroupRecord {
	r := rand.NewPCG(n, 1)
	g := chunkfmt.GroupRecord{Seq: chunkfmt.MakeSeq(1, n), Blocks: make([]chunkfmt.BlockRecord, 1000)}
	for k := range g.Blocks {
		binary.BigEndian.PutUint64(g.Blocks[k].Fingerprint[:], r.Uint64())
	}
	return g
}

// liveHeap is what the collector does not find to be garbage, in bytes.
func liveHeap() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
