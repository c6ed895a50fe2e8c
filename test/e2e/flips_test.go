package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/test/compare"
	"coffer/test/rig"
)

// flipsAtOnce is how many bits are turned in one store before it is repaired.
const flipsAtOnce = 150

// TestFlips turns single bits in all structures of a store, many at once, but never of both copies of the same metadata.
// A scrub without a key finds each; whatever is read is right or an error; and when the originals have been copied in
// again, a repair leaves all archives as they were and nothing for a scrub to find.
func TestFlips(t *testing.T) {
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	left := rig.Count(t, "COFFER_FLIPS", 2*flipsAtOnce)
	t.Logf("COFFER_SEED=%d COFFER_FLIPS=%d", seed, left)
	rng := rand.New(rand.NewPCG(seed, 5))
	f := newDamaged(t, rng)
	for round := 0; left > 0 && !t.Failed(); round++ {
		f.reset(t)
		n := f.turn(t, rng, min(left, flipsAtOnce))
		left -= n
		t.Run(fmt.Sprintf("round %d, %d flips", round, n), func(t *testing.T) { f.heal(t, round%2 == 1) })
	}
}

// TestLostEnd damages every tag of a session that was killed, but for the first one: nothing in its chunk says where what
// follows begins, or that the chunk was ended.
func TestLostEnd(t *testing.T) {
	for _, stranger := range []bool{false, true} {
		t.Run(fmt.Sprintf("stranger %v", stranger), func(t *testing.T) {
			f := newDamaged(t, rand.New(rand.NewPCG(1, 5)))
			const killed = 3
			for _, path := range rig.Chunks(t, f.store) {
				_, id, _ := media.ParseChunkName(f.object(t, path))
				if id.Ordinal() != killed || id.Mirror() {
					continue
				}
				for _, e := range tagsIn(t, path)[1:] {
					x := flipped{f.object(t, path), e.At, 3, e.Tag.Kind.String() + " tag"}
					turnBit(t, path, x.off, x.bit)
					f.turned = append(f.turned, x)
				}
			}
			if len(f.turned) < 3 {
				t.Fatalf("%d tags in the chunk of session %d", len(f.turned), killed)
			}
			f.heal(t, stranger)
		})
	}
}

// damaged is a store with a history, and what it was when it was whole.
type damaged struct {
	place
	sound, known string // copies of the store and of the state folder
	originals    string
	want         map[string]compare.Tree // by archive
	turned       []flipped
}

// flipped is a bit that was turned.
type flipped struct {
	object string
	off    int64
	bit    int
	what   string
}

func newDamaged(t *testing.T, rng *rand.Rand) *damaged {
	t.Helper()
	f := &damaged{place: newPlace(t), want: map[string]compare.Tree{}}
	f.sound, f.known = f.store+".sound", f.State()+".sound"
	f.originals = filepath.Join(filepath.Dir(f.store), "originals")
	src := filepath.Join(f.originals, "work")
	rig.Must(t, os.MkdirAll(filepath.Join(src, "d", "sub"), 0o755), os.Symlink("d/small3", filepath.Join(src, "link")))
	write := func(name string, n int) {
		rig.Must(t, os.WriteFile(filepath.Join(src, name), noise(n), 0o644))
	}
	for session, archive := range []string{"one", "two", "", "three"} {
		for i := range 24 {
			if session == 0 || rng.IntN(3) == 0 {
				write(fmt.Sprintf("d/small%d", i), 1+rng.IntN(1<<(6+i%9)))
			}
		}
		for i := range 8 {
			if session == 0 || rng.IntN(3) == 0 {
				write(fmt.Sprintf("d/sub/large%d", i), 200_000+rng.IntN(300_000))
			}
		}
		m := f.mount(t, "--archive-every", "0")
		for _, name := range []string{"d", "link"} {
			rig.Must(t, os.RemoveAll(m.Path(name)))
			rig.CopyTree(t, filepath.Join(src, name), m.Path(name))
			m.Sync(t)
		}
		if archive == "" {
			m.Kill() // its chunk stays without a footer
			continue
		}
		f.Run(t, "snapshot", f.mnt, "-m", archive)
		m.Unmount(t)
		rig.CopyTree(t, src, filepath.Join(f.originals, archive))
		f.want[archive] = contents(t, src)
	}
	rig.Must(t, os.RemoveAll(src))
	rig.CopyTree(t, f.store, f.sound)
	rig.CopyTree(t, f.State(), f.known)
	return f
}

// contents is a tree without the directory that it stands in.
func contents(t *testing.T, dir string) compare.Tree {
	t.Helper()
	tree := rig.ReadTree(t, dir)
	delete(tree, ".")
	return tree
}

// reset makes store and machine what they were.
func (f *damaged) reset(t *testing.T) {
	t.Helper()
	for to, from := range map[string]string{f.store: f.sound, f.State(): f.known} {
		rig.Must(t, os.RemoveAll(to))
		rig.CopyTree(t, from, to)
	}
	f.turned = nil
}

// structure is a stretch of an object that may be damaged. Of two structures with the same copy only those of one side
// may be.
type structure struct {
	object string
	from   int64
	n      int64
	what   string
	copyOf string // empty: there is no other
	second bool
}

// turn turns so many bits, one in each structure that is drawn.
func (f *damaged) turn(t *testing.T, rng *rand.Rand, n int) int {
	t.Helper()
	all := f.structures(t)
	side := map[string]bool{}
	for len(f.turned) < n {
		s := all[rng.IntN(len(all))]
		second, chosen := side[s.copyOf]
		if !chosen && s.copyOf != "" {
			second = rng.IntN(2) == 0
			side[s.copyOf] = second
		}
		if s.copyOf != "" && second != s.second {
			continue
		}
		x := flipped{s.object, s.from + rng.Int64N(s.n), rng.IntN(8), s.what}
		if slices.Contains(f.turned, x) {
			continue
		}
		turnBit(t, filepath.Join(f.store, x.object), x.off, x.bit)
		f.turned = append(f.turned, x)
	}
	return len(f.turned)
}

// structures lists all of the store, but for what a crash has left that does not count.
func (f *damaged) structures(t *testing.T) (all []structure) {
	t.Helper()
	for copyOf, names := range map[string][2]string{
		"store": {media.StoreName, media.StoreCopyName}, "key": {media.KeyName, media.KeyCopyName},
	} {
		for i, name := range names {
			info, err := os.Stat(filepath.Join(f.store, name))
			rig.Must(t, err)
			all = append(all, structure{name, 0, info.Size(), copyOf, copyOf, i == 1})
		}
	}
	paths := rig.Chunks(t, f.store)
	catalog := filepath.Join(filepath.Dir(paths[0]), "catalog")
	info, err := os.Stat(catalog)
	rig.Must(t, err)
	all = append(all, structure{f.object(t, catalog), 0, info.Size(), "catalog", "", false})
	last := map[uint32]chunkfmt.Seq{}
	for _, path := range paths {
		_, id, _ := media.ParseChunkName(f.object(t, path))
		if e := tagsIn(t, path)[0]; id.Number() == 1 && e.Tag.Kind == chunkfmt.KindSessionHeader {
			options, err := chunkfmt.ParseOptions(e.Options)
			rig.Must(t, err)
			p, err := chunkfmt.ParsePredecessor(options)
			rig.Must(t, err)
			last[p.Ordinal] = p.Last
		}
	}
	for _, path := range paths {
		all = append(all, f.inChunk(t, path, last)...)
	}
	return all
}

func (f *damaged) object(t *testing.T, path string) string {
	t.Helper()
	name, err := filepath.Rel(f.store, path)
	rig.Must(t, err)
	return name
}

func (f *damaged) inChunk(t *testing.T, path string, last map[uint32]chunkfmt.Seq) (all []structure) {
	t.Helper()
	object := f.object(t, path)
	_, id, _ := media.ParseChunkName(object)
	where := "chunk "
	if id.Mirror() {
		where = "mirror "
	}
	add := func(what string, from, n int64, copyOf string) {
		all = append(all, structure{object, from, n, where + what, copyOf, id.Mirror()})
	}
	add("header", 0, chunkfmt.ChunkHeaderSize, fmt.Sprint("header ", id.Ordinal()))
	info, err := os.Stat(path)
	rig.Must(t, err)
	tags := tagsIn(t, path)
	end := tags[len(tags)-1].At + chunkfmt.TagSize + int64(tags[len(tags)-1].Tag.StoredLen())
	finished := info.Size() > end
	for i, e := range tags {
		if upTo, over := last[id.Ordinal()]; !finished && (over && e.Tag.Seq > upTo || id.Mirror() && i == len(tags)-1) {
			continue // void, or what may be torn
		}
		copyOf := ""
		if e.Tag.Kind != chunkfmt.KindData {
			copyOf = e.Tag.Seq.String()
		}
		add(e.Tag.Kind.String()+" tag", e.At, chunkfmt.TagSize, copyOf)
		add(e.Tag.Kind.String()+" payload", e.At+chunkfmt.TagSize, int64(e.Tag.StoredLen()), copyOf)
	}
	if finished {
		add("footer", end, info.Size()-end, "")
	}
	return all
}

func tagsIn(t *testing.T, path string) (all []chunkfmt.Entry) {
	t.Helper()
	file, err := os.Open(path)
	rig.Must(t, err)
	defer file.Close()
	info, err := file.Stat()
	rig.Must(t, err)
	sc := chunkfmt.NewScanner(file, info.Size())
	for {
		e, err := sc.Next()
		if err == io.EOF {
			return all
		}
		rig.Must(t, err)
		all = append(all, e)
	}
}

// heal goes from the damage to a store that is whole again, on the machine that has its index or on one that has not.
func (f *damaged) heal(t *testing.T, stranger bool) {
	f.wantFound(t)
	u := f.User
	if stranger {
		u = rig.NewUser(t, t.TempDir())
		rig.Must(t, os.MkdirAll(filepath.Dir(u.Identity()), 0o700))
		rig.CopyTree(t, f.Identity(), u.Identity())
	}
	m := u.Mount(t, f.store, f.mnt, "--archive-every", "0")
	f.wantRightOrError(t, m)
	m.Unmount(t)
	if code, stdout, stderr := u.Try(t, "check", "--read-data", f.store); code != 30 {
		t.Fatalf("check: exit code %d\n%s%s", code, stdout, stderr)
	}
	m = u.Mount(t, f.store, f.mnt, "--archive-every", "0")
	rig.CopyTree(t, f.originals, m.Path("again"))
	m.Unmount(t)
	code, stdout, stderr := u.Try(t, "check", "--repair", f.store)
	if code != 0 {
		t.Fatalf("check --repair: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, found, stderr := u.Try(t, "scrub", f.store); code != 0 {
		t.Errorf("scrub after the repair: exit code %d\n%s%s\nthe repair said\n%s", code, found, stderr, stdout)
	}
	u.Run(t, "check", "--read-data", f.store)
	m = u.Mount(t, f.store, f.mnt, "--archive-every", "0")
	for archive, want := range f.want {
		rig.Same(t, "archive "+archive, want, contents(t, m.Path(".snapshots", archive)+"/."))
	}
	m.Unmount(t)
}

// wantFound scrubs, without a key, and wants each flip to be told.
func (f *damaged) wantFound(t *testing.T) {
	t.Helper()
	nobody := rig.NewUser(t, t.TempDir())
	code, stdout, stderr := nobody.Try(t, "scrub", "--json", f.store)
	if code != 30 {
		t.Fatalf("scrub: exit code %d\n%s", code, stderr)
	}
	type finding struct {
		Object         string
		Offset, Length int64
	}
	var found []finding
	for line := range strings.Lines(stdout) {
		var x struct{ Finding *finding }
		rig.Must(t, json.Unmarshal([]byte(line), &x))
		if x.Finding != nil {
			found = append(found, *x.Finding)
		}
	}
	for _, x := range f.turned {
		if !slices.ContainsFunc(found, func(f finding) bool {
			return f.Object == x.object && f.Offset <= x.off && x.off < f.Offset+f.Length
		}) {
			t.Errorf("scrub does not find bit %d of byte %d of %s, %s", x.bit, x.off, x.object, x.what)
		}
	}
}

// wantRightOrError reads all archives: each name and attribute is right, each file's bytes are, or their reading fails.
func (f *damaged) wantRightOrError(t *testing.T, m *rig.Mount) {
	t.Helper()
	lost := 0
	for archive := range f.want {
		dir, root := m.Path(".snapshots", archive), filepath.Join(f.originals, archive)
		rig.Must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(root, path)
			rig.Must(t, err)
			want, err := os.ReadFile(path)
			rig.Must(t, err)
			got, err := os.ReadFile(filepath.Join(dir, rel))
			switch {
			case errors.Is(err, unix.EIO):
				lost++
			case err != nil:
				t.Errorf("archive %s: read %s: %v", archive, rel, err)
			case string(got) != string(want):
				t.Errorf("archive %s: %s has wrong bytes", archive, rel)
			}
			return nil
		}))
	}
	if lost == 0 {
		t.Errorf("%d bits were turned and everything reads: what is read is not checked", len(f.turned))
	}
}
