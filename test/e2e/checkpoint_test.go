package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/test/rig"
)

// TestCheckpoints: an index is made of the newest good checkpoint and the log behind it, and shows the same tree and
// the same archives as the one that was there: by a rebuild, by a mount without one, and on another machine.
func TestCheckpoints(t *testing.T) {
	p := newPlace(t)
	m := p.mount(t, "--checkpoint-after", "8KiB")
	rig.CopyTree(t, filepath.Join(goRoot(t), "src", "net"), m.Path("tree"))
	before := rig.ReadTree(t, m.Path("tree"))
	p.Run(t, "snapshot", p.mnt, "-m", "before")
	m.Unmount(t)
	m = p.mount(t, "--checkpoint-after", "8KiB")
	rig.Must(t, os.RemoveAll(m.Path("tree", "http")), os.Rename(m.Path("tree", "url"), m.Path("tree", "moved")))
	for k := range 4 { // more log than the first checkpoint is long
		rig.Output(t, "chmod", "-R", fmt.Sprintf("u=rwX,go=%s", []string{"r", "rX", "w", ""}[k]), m.Path("tree"))
		p.Run(t, "snapshot", p.mnt)
	}
	after := rig.ReadTree(t, m.Path("tree"))
	m.Unmount(t)

	check := func(when string, u *rig.User) {
		t.Helper()
		m := u.Mount(t, p.store, p.mnt)
		rig.Same(t, when, after, rig.ReadTree(t, m.Path("tree")))
		rig.Same(t, when+", an archive", before, rig.ReadTree(t, m.Path(".snapshots", "before", "tree")))
		m.Unmount(t)
	}
	rebuild := func(want string, flags ...string) {
		t.Helper()
		if out := p.Run(t, append([]string{"rebuild", p.store}, flags...)...); !strings.HasPrefix(out, want) {
			t.Errorf("rebuild %v says %q, want %q", flags, out, want)
		}
		check("after a rebuild "+want, p.User)
	}
	rebuild("from a checkpoint")
	rebuild("from the log alone", "--from-log")
	p.DropIndex(t)
	check("without an index", p.User)
	other := rig.NewUser(t, t.TempDir())
	rig.Must(t, os.MkdirAll(filepath.Dir(other.Identity()), 0o700))
	rig.CopyTree(t, p.Identity(), other.Identity())
	check("on another machine", other)

	all := lastPieces(t, p.store)
	if len(all) < 4 {
		t.Fatalf("%d last pieces of checkpoints and their copies", len(all))
	}
	newest := all[len(all)-1].seq
	for _, f := range all {
		if f.seq == newest {
			turnBit(t, f.file, f.off+chunkfmt.TagSize+40, 3)
		}
	}
	out := p.Run(t, "rebuild", p.store)
	if !strings.HasPrefix(out, "from a checkpoint") || !strings.Contains(out, "(1 newer ") {
		t.Errorf("with the newest checkpoint damaged in both places: %q", out)
	}
	check("from an older checkpoint", p.User)
}

type lastPiece struct {
	file string
	off  int64
	seq  chunkfmt.Seq
}

// lastPieces finds the last pieces of the checkpoints in a store and their copies, by number.
func lastPieces(t *testing.T, store string) (all []lastPiece) {
	t.Helper()
	for _, path := range rig.Chunks(t, store) {
		b, err := os.ReadFile(path)
		rig.Must(t, err)
		sc := chunkfmt.NewScanner(bytes.NewReader(b), int64(len(b)))
		for {
			e, err := sc.Next()
			if err == io.EOF {
				break
			}
			rig.Must(t, err)
			if e.Tag.Kind == chunkfmt.KindCheckpoint && e.Tag.Flags&chunkfmt.FlagMore == 0 {
				all = append(all, lastPiece{path, e.At, e.Tag.Seq})
			}
		}
	}
	slices.SortFunc(all, func(a, b lastPiece) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// TestCheckpointKills kills the process of a mount at random instants while it writes checkpoints, one after the other.
// What it left is the same with the index that it had, without one, and by the log alone.
func TestCheckpointKills(t *testing.T) {
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	p := newPlace(t)
	for k := range rig.Count(t, "COFFER_CHECKPOINT_KILLS", 2) {
		m := p.mount(t, "--checkpoint-after", "1B")
		dir := m.Path(fmt.Sprintf("round-%d", k))
		rig.Must(t, os.Mkdir(dir, 0o755))
		for n := range 200 {
			rig.Must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d", n)), []byte(strings.Repeat("x", n)), 0o644))
		}
		m.Sync(t)
		// Each archive has half the log of a checkpoint before it, so that every second one begins another.
		sealed := make(chan struct{})
		go func() { // until the mount is gone
			defer close(sealed)
			for n := 0; ; n++ {
				for _, others := range []string{"r", "w"} {
					mode := fmt.Sprintf("g=%s,o=%s", []string{"r", "rX", "w", ""}[n%4], others)
					if exec.Command("chmod", "-R", mode, m.Dir).Run() != nil {
						return
					}
				}
				if code, _, _ := p.Try(t, "snapshot", p.mnt); code != 0 {
					return
				}
				sealed <- struct{}{}
			}
		}()
		for range 2 + rng.IntN(3) {
			if _, ok := <-sealed; !ok {
				t.Fatal("no archive could be sealed")
			}
		}
		for end := time.Now().Add(time.Duration(rng.IntN(15_000)) * time.Microsecond); time.Now().Before(end); {
			runtime.Gosched() // any instant will do
		}
		m.Kill()
		for range sealed {
		}

		look := func(when string) string {
			m := p.mount(t)
			defer m.Kill()
			out := rig.Output(t, "find", m.Dir, "-printf", "%P %y %m %s %T@ %i\n")
			return out + rig.Output(t, "ls", m.Path(".snapshots"))
		}
		want := look("with the index")
		p.DropIndex(t)
		if got := look("without an index"); got != want {
			t.Fatalf("without an index there is\n%s\nwant\n%s", got, want)
		}
		p.Run(t, "rebuild", p.store, "--from-log")
		if got := look("from the log"); got != want {
			t.Fatalf("from the log there is\n%s\nwant\n%s", got, want)
		}
	}
	if len(lastPieces(t, p.store)) == 0 {
		t.Error("no checkpoint was written")
	}
}
