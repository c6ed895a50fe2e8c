package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
	"coffer/media"
	"coffer/media/scrub"
	"coffer/pipeline/mover"
)

// contents has what the writers of pruned write: few things, so that what nothing refers to any more is written
// again and again. Most are small, and share groups.
func contents(n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = make([]byte, 1000+i*97%6000)
		if i%10 == 0 {
			all[i] = make([]byte, 20_000+i*7_000%500_000)
		}
		r := rand.NewChaCha8([32]byte{byte(i)})
		_, _ = r.Read(all[i])
	}
	return all
}

// gardener changes the files of one directory, and knows what is in them.
type gardener struct {
	v    *volume
	rng  *rand.Rand
	dir  Ino
	pool [][]byte

	files map[string][]byte
}

func (g *gardener) step(ctx context.Context) error {
	name := fmt.Sprint("f", g.rng.IntN(12))
	have, there := g.files[name]
	if !there {
		return g.write(ctx, name)
	}
	switch g.rng.IntN(8) {
	case 0, 1:
		delete(g.files, name)
		return g.v.Unlink(ctx, g.dir, name)
	case 2:
		n := g.rng.IntN(len(have) + 1)
		g.files[name] = have[:n]
		return g.on(ctx, name, func(h *Handle) error {
			_, err := g.v.Setattr(ctx, h.Ino(), SetAttr{Valid: SetSize, Size: uint64(n)}, h)
			return err
		})
	case 3:
		return g.clone(ctx, name)
	case 4:
		return g.write(ctx, name)
	case 5: // what was unlinked and is open still is read
		delete(g.files, name)
		return g.on(ctx, name, func(h *Handle) error {
			if err := g.v.Unlink(ctx, g.dir, name); err != nil {
				return err
			}
			for range 3 {
				if err := g.v.Sync(ctx); err != nil {
					return err
				}
				if err := same(ctx, h, have); err != nil {
					return err
				}
			}
			return nil
		})
	default:
		return g.on(ctx, name, func(h *Handle) error { return same(ctx, h, have) })
	}
}

// write puts something of the pool into a file, over what is there.
func (g *gardener) write(ctx context.Context, name string) error {
	data := g.pool[g.rng.IntN(len(g.pool))]
	if _, there := g.files[name]; there && g.rng.IntN(2) == 0 {
		at := g.rng.IntN(100_000)
		have := append(slices.Clone(g.files[name]), make([]byte, max(0, at+len(data)-len(g.files[name])))...)
		copy(have[at:], data)
		g.files[name] = have
		return g.on(ctx, name, func(h *Handle) error {
			_, err := h.Write(ctx, data, int64(at), false)
			return err
		})
	}
	g.files[name] = data
	_, h, err := g.v.Create(ctx, someone, g.dir, name, 0o600, unix.O_RDWR|unix.O_TRUNC)
	if err != nil {
		return err
	}
	defer h.Release()
	_, err = h.Write(ctx, data, 0, false)
	return err
}

// clone makes another file refer to what one has.
func (g *gardener) clone(ctx context.Context, name string) error {
	to := name + "c"
	return g.on(ctx, name, func(h *Handle) error {
		_, c, err := g.v.Create(ctx, someone, g.dir, to, 0o600, unix.O_RDWR|unix.O_TRUNC)
		if err != nil {
			return err
		}
		defer c.Release()
		for off := int64(0); off < int64(len(g.files[name])); {
			n, err := h.CopyRange(ctx, off, c, off, int64(len(g.files[name]))-off)
			if err != nil {
				return err
			}
			off += n
		}
		g.files[to] = g.files[name]
		return nil
	})
}

func (g *gardener) on(ctx context.Context, name string, f func(h *Handle) error) error {
	e, err := g.v.Lookup(ctx, g.dir, name)
	if err != nil {
		return err
	}
	h, err := g.v.Open(ctx, e.Ino, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer h.Release()
	return f(h)
}

// reader is what contents are read from: a handle, or a file of an archive.
type reader interface {
	Read(ctx context.Context, p []byte, off int64) (int, error)
}

func same(ctx context.Context, h reader, want []byte) error {
	got := make([]byte, len(want)+1)
	n := 0
	for n < len(got) {
		k, err := h.Read(ctx, got[n:], int64(n))
		if err != nil {
			return err
		}
		if k == 0 {
			break
		}
		n += k
	}
	if !bytes.Equal(got[:n], want) {
		return fmt.Errorf("%d bytes, want %d, or others", n, len(want))
	}
	return nil
}

// garden is a volume whose writers, archives and prunes go on at the same time.
type garden struct {
	*volume
	ctx     context.Context
	rng     *rand.Rand
	workers []*gardener

	quiet    sync.RWMutex                 // held for reading by each step, for writing while an archive is sealed
	archives map[uint32]map[string][]byte // of those that are kept, what is in them
	mu       sync.Mutex                   // guards archives
}

func newGarden(t *testing.T, rng *rand.Rand, change func(*volume)) *garden {
	g := &garden{volume: newVolume(t, 0, change), ctx: watched(t, 3*time.Minute), rng: rng, archives: map[uint32]map[string][]byte{}}
	g.clock.Store(1000) // an archive has a time
	pool := contents(200)
	for i := range 3 {
		name := fmt.Sprint("d", i)
		g.mkdir(name)
		e, err := g.Lookup(g.ctx, RootIno, name)
		if err != nil {
			t.Fatal(err)
		}
		g.workers = append(g.workers, &gardener{
			v: g.volume, rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), dir: e.Ino, pool: pool, files: map[string][]byte{},
		})
	}
	return g
}

// work has the writers go on until stop is closed.
func (g *garden) work(working *sync.WaitGroup, stop <-chan struct{}) {
	for _, w := range g.workers {
		working.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				g.quiet.RLock()
				err := w.step(g.ctx)
				g.quiet.RUnlock()
				if err == nil && n%4 == 0 {
					err = g.Sync(g.ctx)
				}
				if err != nil {
					g.t.Errorf("directory %d: %v", w.dir, err)
					return
				}
			}
		})
	}
}

// seal seals an archive and notes what is in it.
func (g *garden) seal() {
	g.quiet.Lock()
	defer g.quiet.Unlock()
	a, made, err := g.Snapshot(g.ctx, "")
	if err != nil {
		g.t.Error(err)
	}
	if made {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.archives[a.Number] = g.present()
	}
}

func (g *garden) present() map[string][]byte {
	all := map[string][]byte{}
	for i, w := range g.workers {
		for name, data := range w.files {
			all[fmt.Sprintf("d%d/%s", i, name)] = data
		}
	}
	return all
}

// forget forgets archives so that at most n are left.
func (g *garden) forget(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var gone []chunkfmt.ArchiveRecord
	for _, number := range slices.Sorted(maps.Keys(g.archives)) {
		if len(g.archives) > n && g.rng.IntN(2) == 0 {
			delete(g.archives, number)
			gone = append(gone, chunkfmt.ArchiveRecord{Number: number})
		}
	}
	if err := g.source.Forget(g.ctx, g.Tree, gone); err != nil {
		g.t.Error(err)
	}
}

// check compares the tree and all archives with what is known of them.
func (g *garden) check(when string) {
	g.t.Helper()
	for i, w := range g.workers {
		for name, data := range w.files {
			if err := w.on(g.ctx, name, func(h *Handle) error { return same(g.ctx, h, data) }); err != nil {
				g.t.Errorf("%s, d%d/%s: %v", when, i, name, err)
			}
		}
	}
	if n := len(g.volume.archives()); n != len(g.archives) {
		g.t.Errorf("%s: %d archives, want %d", when, n, len(g.archives))
	}
	for number, files := range g.archives {
		s := past.At(g.source.Index(), g.source.Groups(), number)
		for path, data := range files {
			e, err := s.Resolve(path)
			if err == nil {
				var f *past.File
				if f, err = s.Open(e.Ino); err == nil {
					err = same(g.ctx, f, data)
				}
			}
			if err != nil {
				g.t.Errorf("%s, archive %d, %s: %v", when, number, path, err)
			}
		}
	}
	if found := g.scrub(); len(found) > 0 {
		g.t.Errorf("%s, scrub: %v", when, found)
	}
}

func (g *garden) scrub() (all []string) {
	g.t.Helper()
	id := chunkfmt.DeriveVolumeKeys(g.o.Master, g.o.Store, g.o.Volume).ID
	_, err := scrub.Run(g.ctx, g.medium, scrub.Options{Volume: &id}, func(f scrub.Finding) { all = append(all, f.String()) })
	if err != nil {
		g.t.Fatal(err)
	}
	return all
}

func (g *garden) prune() mover.Pruned {
	g.t.Helper()
	p, err := g.source.Prune(g.ctx, g.Tree)
	if err != nil {
		g.t.Error(err)
	}
	return p
}

// size is how many bytes the chunks take, without their mirrors.
func (g *garden) size() (n int64) {
	g.t.Helper()
	list, err := g.medium.List(g.ctx, "volumes/")
	if err != nil {
		g.t.Fatal(err)
	}
	for _, info := range list {
		if _, id, ok := media.ParseChunkName(info.Name); ok && !id.Mirror() {
			n += info.Size
		}
	}
	return n
}

// data is how many bytes of data the chunks hold.
func (g *garden) data() (n int64) {
	g.t.Helper()
	list, err := g.medium.List(g.ctx, "volumes/")
	if err != nil {
		g.t.Fatal(err)
	}
	for _, info := range list {
		if _, id, ok := media.ParseChunkName(info.Name); !ok || id.Mirror() {
			continue
		}
		for sc := chunkfmt.NewScanner(media.Reader(g.ctx, g.medium, info.Name), info.Size); ; {
			e, err := sc.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				g.t.Fatal(err)
			}
			if e.Tag.Kind == chunkfmt.KindData {
				n += int64(e.Tag.StoredLen())
			}
		}
	}
	return n
}

// TestPruneRaces prunes again and again while files are written, with contents that were removed before, cloned,
// overwritten, deleted and read, and archives are sealed and forgotten. Nothing that anything refers to may be
// missing, also after a crash and in an index that is made anew.
func TestPruneRaces(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := newGarden(t, rand.New(rand.NewPCG(seed, 0)), func(v *volume) { v.o.ChunkBytes = 1 << 20 })
	total := mover.Pruned{}
	for round := range 3 {
		var working sync.WaitGroup
		stop := make(chan struct{})
		g.work(&working, stop)
		for range 6 {
			g.seal()
			g.forget(2)
			p := g.prune()
			total.Removed += p.Removed
			total.Moved += p.Moved
			total.Bytes += p.Bytes
			if t.Failed() {
				break
			}
		}
		close(stop)
		working.Wait()
		if err := g.Settle(g.ctx); err != nil {
			t.Fatal(err)
		}
		g.check(fmt.Sprint("round ", round))
		g.die(g.ctx)
		if round == 1 {
			if err := os.Remove(filepath.Join(g.o.StateDir, "index.db")); err != nil {
				t.Fatal(err)
			}
		}
		g.revive()
		g.check(fmt.Sprint("again, round ", round))
		if t.Failed() {
			return
		}
	}
	t.Logf("%+v", total)
	if total.Removed == 0 || total.Moved == 0 || total.Bytes == 0 {
		t.Errorf("nothing was pruned: %+v", total)
	}
	g.emptied()
}

// emptied removes all that there is, and wants the room back.
func (g *garden) emptied() {
	g.t.Helper()
	for _, w := range g.workers {
		for name := range w.files {
			if err := g.Unlink(g.ctx, w.dir, name); err != nil {
				g.t.Fatal(err)
			}
		}
		clear(w.files)
	}
	g.forget(0)
	for len(g.archives) > 0 {
		g.forget(0)
	}
	if err := g.Settle(g.ctx); err != nil {
		g.t.Fatal(err)
	}
	g.end()
	g.below()
	g.start()
	plan, err := g.source.PlanPrune(g.ctx)
	if err != nil {
		g.t.Fatal(err)
	}
	before := g.size()
	p := g.prune()
	returned := before - g.size()
	if p.Removed != plan.Removed || abs(returned-plan.Bytes) > plan.Bytes/10 {
		g.t.Errorf("planned %+v, did %+v, and %d bytes came back", plan, p, returned)
	}
	groups := 0
	if err := g.source.Index().Groups(func(chunkfmt.GroupRecord, chunkfmt.Location) bool { groups++; return true }); err != nil {
		g.t.Fatal(err)
	}
	if left, data := g.size(), g.data(); groups != 0 || data > left/10 {
		g.t.Errorf("of nothing %d groups are left, and %d bytes with %d of data", groups, left, data)
	}
	g.check("emptied")
	g.end()
}

func abs(n int64) int64 { return max(n, -n) }

// TestPruneWithout: what a plan says of archives as if they were forgotten comes true.
func TestPruneWithout(t *testing.T) {
	g := newGarden(t, rand.New(rand.NewPCG(1, 0)), func(v *volume) { v.o.ChunkBytes = 256 << 10 })
	w := g.workers[0]
	w.pool = slices.DeleteFunc(w.pool, func(b []byte) bool { return len(b) < 100_000 })
	for range 5 {
		if err := w.write(g.ctx, "f"); err != nil {
			t.Fatal(err)
		}
		g.seal()
	}
	all := slices.Sorted(maps.Keys(g.archives))
	none, err := g.source.PlanPrune(g.ctx)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := g.source.PlanPrune(g.ctx, all[:3]...)
	if err != nil {
		t.Fatal(err)
	}
	if none.Removed != 0 || plan.Removed == 0 || plan.Bytes == 0 {
		t.Errorf("with all archives %+v, without three %+v", none, plan)
	}
	before := g.size()
	var gone []chunkfmt.ArchiveRecord
	for _, n := range all[:3] {
		delete(g.archives, n)
		gone = append(gone, chunkfmt.ArchiveRecord{Number: n})
	}
	if err := g.source.Forget(g.ctx, g.Tree, gone); err != nil {
		t.Fatal(err)
	}
	p := g.prune()
	if p.Removed != plan.Removed || abs(before-g.size()-plan.Bytes) > plan.Bytes/10 {
		t.Errorf("planned %+v, did %+v, and %d bytes came back", plan, p, before-g.size())
	}
	g.check("after")
	g.end()
}
