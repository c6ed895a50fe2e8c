package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/test/compare"
	"coffer/test/rig"
)

// TestLabelMoves gives a label to one archive after the other: it leads to the newest at once, whatever was looked at
// before.
func TestLabelMoves(t *testing.T) {
	p := newPlace(t)
	m := p.mount(t)
	for _, want := range []string{"one", "two", "three"} {
		rig.Must(t, os.WriteFile(m.Path("file"), []byte(want), 0o644))
		p.Run(t, "snapshot", p.mnt, "-m", "newest")
		for range 2 {
			got, err := os.ReadFile(m.Path(".snapshots", "newest", "file"))
			if err != nil || string(got) != want {
				t.Errorf("the newest has %q, %v; want %q", got, err, want)
			}
		}
	}
}

// TestArchives changes a tree at random over a number of archives (COFFER_ARCHIVES) and wants each one back as it was:
// at once, after a new mount, and after the index was made anew from the store.
func TestArchives(t *testing.T) {
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	p := newPlace(t)
	m := p.mount(t)
	archives := rig.Count(t, "COFFER_ARCHIVES", 5)
	m.Watch(t, 15*time.Minute+time.Duration(archives)*15*time.Second)
	g := &gardener{t: t, rng: rng, dir: m.Path("tree")}
	rig.Must(t, os.Mkdir(g.dir, 0o755))
	saved := map[string]compare.Tree{}
	for i := range archives {
		for range 30 {
			g.change()
		}
		label := fmt.Sprintf("state-%d", i)
		saved[label] = rig.ReadTree(t, g.dir)
		p.Run(t, "snapshot", p.mnt, "-m", label)
	}
	check := func(when string) {
		t.Helper()
		for label, want := range saved {
			rig.Same(t, when+", "+label, want, rig.ReadTree(t, m.Path(".snapshots", label, "tree")))
		}
	}
	check("at once")
	m.Unmount(t)
	m = p.mount(t)
	check("mounted again")
	m.Unmount(t)
	p.DropIndex(t)
	p.Run(t, "rebuild", p.store)
	m = p.mount(t)
	check("index rebuilt")
	m.Unmount(t)
	for label, want := range saved {
		to := filepath.Join(t.TempDir(), label)
		p.Run(t, "restore", p.store+":/tree", "--at", label, "--to", to)
		rig.Same(t, "restored, "+label, want, rig.ReadTree(t, to))
		dumped, _ := p.dumped(t, 0, p.store+":/tree", "--at", label)
		rig.Same(t, "dumped, "+label, want, dumped)
	}
}

// gardener changes a tree at random.
type gardener struct {
	t   *testing.T
	rng *rand.Rand
	dir string
	n   int
}

// pick gives something in the tree, or the tree.
func (g *gardener) pick(suits func(fs.FileMode) bool) string {
	var all []string
	rig.Must(g.t, filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && suits(d.Type()) {
			all = append(all, path)
		}
		return err
	}))
	if len(all) == 0 {
		return ""
	}
	return all[g.rng.IntN(len(all))]
}

func (g *gardener) fresh() string {
	g.n++
	return filepath.Join(g.pick(fs.FileMode.IsDir), fmt.Sprintf("n%d", g.n))
}

func (g *gardener) bytes() []byte {
	b := make([]byte, g.rng.IntN(40_000))
	for i := range b {
		b[i] = byte(g.rng.Uint32() >> 5)
	}
	return b
}

func (g *gardener) change() {
	file := g.pick(fs.FileMode.IsRegular)
	kind := g.rng.IntN(11)
	if file == "" {
		kind = 0
	}
	var err error
	switch kind {
	case 0, 1:
		err = os.WriteFile(g.fresh(), g.bytes(), 0o644)
	case 2:
		err = os.Mkdir(g.fresh(), 0o755)
	case 3:
		err = os.Symlink("to/"+filepath.Base(file), g.fresh())
	case 4:
		err = os.Link(file, g.fresh())
	case 5:
		err = os.Rename(file, g.fresh())
	case 6:
		err = os.Truncate(file, int64(g.rng.IntN(50_000)))
	case 7:
		err = os.Chmod(file, fs.FileMode(0o400+g.rng.IntN(0o377)))
	case 8:
		err = unix.Setxattr(file, "user.x", g.bytes()[:0:0], 0)
	case 9:
		err = g.overwrite(file)
	case 10:
		if victim := g.pick(func(fs.FileMode) bool { return true }); victim != g.dir && g.rng.IntN(3) > 0 {
			err = os.RemoveAll(victim)
		}
	}
	rig.Must(g.t, err)
}

func (g *gardener) overwrite(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(g.bytes(), int64(g.rng.IntN(60_000)))
	return errors.Join(err, f.Close())
}

// TestSnapshotsDirectory: what is below .snapshots can't be changed, is not found by who walks the mount, and what
// programs that copy, compare and search do there works.
func TestSnapshotsDirectory(t *testing.T) {
	p := newPlace(t)
	m := p.mount(t)
	rig.CopyTree(t, filepath.Join(goRoot(t), "src", "net", "http"), m.Path("tree"))
	p.Run(t, "snapshot", p.mnt, "-m", "one")
	rig.Must(t, os.RemoveAll(m.Path("tree", "internal")), os.Rename(m.Path("tree", "client.go"), m.Path("tree", "moved.go")))
	past := m.Path(".snapshots", "one")
	for what, err := range map[string]error{
		"create":      os.WriteFile(filepath.Join(past, "x"), nil, 0o644),
		"mkdir":       os.Mkdir(m.Path(".snapshots", "x"), 0o755),
		"remove":      os.Remove(filepath.Join(past, "tree", "client.go")),
		"truncate":    os.Truncate(filepath.Join(past, "tree", "client.go"), 0),
		"chmod":       os.Chmod(filepath.Join(past, "tree"), 0o700),
		"rename":      os.Rename(filepath.Join(past, "tree"), filepath.Join(past, "other")),
		"setxattr":    unix.Setxattr(filepath.Join(past, "tree"), "user.x", nil, 0),
		"remove root": os.Remove(m.Path(".snapshots")),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Link(m.Path("tree", "moved.go"), filepath.Join(past, "l")); !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EXDEV) {
		t.Errorf("link: %v", err)
	}
	if out := rig.Output(t, "find", p.mnt, "-name", ".snapshots"); out != "" {
		t.Errorf("find sees %s", out)
	}
	source := filepath.Join(goRoot(t), "src", "net", "http")
	rig.Output(t, "diff", "-r", "--no-dereference", source, filepath.Join(past, "tree"))
	if out := rig.Output(t, "rsync", "-aHAXnic", source+"/", filepath.Join(past, "tree")+"/"); out != "" {
		t.Errorf("rsync would change\n%s", out)
	}
	rig.CopyTree(t, filepath.Join(past, "tree"), m.Path("back"))
	rig.Same(t, "copied back", rig.ReadTree(t, source), rig.ReadTree(t, m.Path("back")))
	list := p.Run(t, "snapshots", p.mnt)
	if !strings.Contains(list, "one") {
		t.Errorf("snapshots lists\n%s", list)
	}
	m.Unmount(t)
	if list := p.Run(t, "snapshots", p.store); !strings.Contains(list, "one") {
		t.Errorf("snapshots of the store lists\n%s", list)
	}
}
