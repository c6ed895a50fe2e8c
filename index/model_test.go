package index

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"coffer/chunkfmt"
)

// cell is one unit of a file in the model: which byte of which group it begins with.
type cell struct {
	group  chunkfmt.Seq
	offset uint32
}

// model is the plainest thing that behaves like one state of an index.
type model struct {
	inodes  map[chunkfmt.Ino]chunkfmt.Inode
	dirents map[string]chunkfmt.Dirent // by key
	xattrs  map[string]string          // by key
	cells   map[chunkfmt.Ino]map[uint64]cell
	orphans map[chunkfmt.Ino]bool
	groups  map[chunkfmt.Seq]int // blocks
	sealed  []uint32
	changed bool // since the last of them
	next    chunkfmt.Ino
}

func newModel() *model {
	return &model{
		inodes: map[chunkfmt.Ino]chunkfmt.Inode{}, dirents: map[string]chunkfmt.Dirent{},
		xattrs: map[string]string{}, cells: map[chunkfmt.Ino]map[uint64]cell{},
		orphans: map[chunkfmt.Ino]bool{}, groups: map[chunkfmt.Seq]int{}, next: 1,
	}
}

// write puts an extent over the cells of a file.
func (m *model) write(ino chunkfmt.Ino, e chunkfmt.Extent, unit uint64) {
	if m.cells[ino] == nil {
		m.cells[ino] = map[uint64]cell{}
	}
	for at := range m.cells[ino] {
		if at >= e.Offset && at < e.Offset+e.Length {
			delete(m.cells[ino], at)
		}
	}
	if e.Group != 0 {
		for n := uint64(0); n < e.Length; n += unit {
			m.cells[ino][e.Offset+n] = cell{e.Group, e.GroupOffset + uint32(n)}
		}
	}
}

// remove deletes an inode and what is its own.
func (m *model) remove(ino chunkfmt.Ino) {
	delete(m.inodes, ino)
	delete(m.cells, ino)
	delete(m.orphans, ino)
	maps.DeleteFunc(m.xattrs, func(k, _ string) bool { return k[:8] == string(chunkfmt.InodeKey(ino)) })
}

const (
	modelInos = 9
	modelUnit = 256 << 10
)

// dump writes down everything a state says, as the index's readers tell it.
func (m *model) dump() string {
	var b strings.Builder
	for ino := chunkfmt.Ino(1); ino <= modelInos; ino++ {
		i, ok := m.inodes[ino]
		fmt.Fprintln(&b, "inode", ino, ok, i)
		prefix := string(chunkfmt.InodeKey(ino))
		type entry struct {
			name string
			d    chunkfmt.Dirent
		}
		var es []entry
		for k, d := range m.dirents {
			if k[:8] == prefix {
				es = append(es, entry{k[8:], d})
			}
		}
		slices.SortFunc(es, func(a, b entry) int { return int(a.d.Cookie) - int(b.d.Cookie) })
		for _, e := range es {
			fmt.Fprintln(&b, " entry", e.name, e.d)
		}
		for _, k := range slices.Sorted(maps.Keys(m.xattrs)) {
			if k[:8] == prefix {
				fmt.Fprintf(&b, " xattr %s=%s\n", k[8:], m.xattrs[k])
			}
		}
		for _, at := range slices.Sorted(maps.Keys(m.cells[ino])) {
			fmt.Fprintln(&b, " cell", at, m.cells[ino][at])
		}
		for _, k := range slices.Sorted(maps.Keys(m.dirents)) {
			if m.dirents[k].Ino == ino {
				fmt.Fprintf(&b, " parent %x\n", k)
			}
		}
	}
	return b.String()
}

// whole writes down what only the present has.
func (m *model) whole() string {
	var b strings.Builder
	fmt.Fprintln(&b, "orphans", slices.Sorted(maps.Keys(m.orphans)))
	for _, s := range slices.Sorted(maps.Keys(m.groups)) {
		fmt.Fprintln(&b, "group", s, m.groups[s])
	}
	var bytes uint64
	for _, i := range m.inodes {
		if isRegular(i.Mode) {
			bytes += i.Size
		}
	}
	fmt.Fprintln(&b, "archives", m.sealed, "inodes", len(m.inodes), "bytes", bytes, "next", m.next, "changed", m.changed)
	return b.String()
}

// dumpReader tells of a reader what model.dump tells of a model.
func dumpReader(t require, r *Reader, unit uint64) string {
	var b strings.Builder
	for ino := chunkfmt.Ino(1); ino <= modelInos; ino++ {
		i, ok, err := r.Inode(ino)
		noError(t, err)
		fmt.Fprintln(&b, "inode", ino, ok, i)
		n := 0
		noError(t, r.ReadDir(ino, 0, 0, func(name string, d chunkfmt.Dirent) bool {
			n++
			got, ok, err := r.Dirent(ino, name)
			if err != nil || !ok || got != d {
				t.Fatalf("dirent %d %q: %v %v %v, want %v", ino, name, got, ok, err, d)
			}
			fmt.Fprintln(&b, " entry", name, d)
			return true
		}))
		if empty, err := r.IsEmptyDir(ino); err != nil || empty != (n == 0) {
			t.Fatalf("directory %d with %d entries: empty %v, %v", ino, n, empty, err)
		}
		noError(t, r.Xattrs(ino, func(name string, value []byte) bool {
			if got, ok, err := r.Xattr(ino, name); err != nil || !ok || string(got) != string(value) {
				t.Fatalf("xattr %d %q: %q %v %v, want %q", ino, name, got, ok, err, value)
			}
			fmt.Fprintf(&b, " xattr %s=%s\n", name, value)
			return true
		}))
		noError(t, r.Extents(ino, 0, endOfFile, func(e chunkfmt.Extent) bool {
			for n := uint64(0); n < e.Length; n += unit {
				fmt.Fprintln(&b, " cell", e.Offset+n, cell{e.Group, e.GroupOffset + uint32(n)})
			}
			return true
		}))
		noError(t, r.Parents(ino, func(parent chunkfmt.Ino, name string) bool {
			fmt.Fprintf(&b, " parent %x\n", chunkfmt.DirentKey(parent, name))
			return true
		}))
	}
	return b.String()
}

// wholeIndex tells of an index what model.whole tells of a model.
func wholeIndex(t require, x *Index) string {
	var b strings.Builder
	o, err := x.Orphans()
	noError(t, err)
	fmt.Fprintln(&b, "orphans", o)
	noError(t, x.Groups(func(g chunkfmt.GroupRecord, at chunkfmt.Location) bool {
		got, at2, ok, err := x.Group(g.Seq)
		if err != nil || !ok || at2 != at || len(got.Blocks) != len(g.Blocks) {
			t.Fatalf("group %v: %v %v %v", g.Seq, got, ok, err)
		}
		fmt.Fprintln(&b, "group", g.Seq, len(g.Blocks))
		return true
	}))
	var sealed []uint32
	noError(t, x.Archives(0, func(a chunkfmt.ArchiveRecord) bool {
		sealed = append(sealed, a.Number)
		return true
	}))
	n, bytes := x.Counts()
	fmt.Fprintln(&b, "archives", sealed, "inodes", n, "bytes", bytes, "next", x.NextIno(), "changed", x.Changed())
	return b.String()
}

type require interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func noError(t require, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t require, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < len(g)-1 && i < len(w)-1 && g[i] == w[i] {
		i++
	}
	t.Fatalf("%s, line %d:\n got %s\nwant %s", what, i, g[i], w[i])
}

// drawRecord makes a random record that makes sense, and does it to the model.
func drawRecord(t *rapid.T, m *model, seq *chunkfmt.Seq) chunkfmt.Record {
	ino := chunkfmt.Ino(rapid.IntRange(1, modelInos).Draw(t, "ino"))
	touch := func(i chunkfmt.Ino) { m.next = max(m.next, i+1) }
	name := rapid.SampledFrom([]string{"a", "ab", "abc", "b", "b.", "long name"}).Draw(t, "name")
	switch rapid.IntRange(0, 12).Draw(t, "kind") {
	case 0, 1:
		i := file(rapid.Uint64Range(0, 1<<40).Draw(t, "size"))
		if rapid.Bool().Draw(t, "link") {
			i.Mode, i.Target = unix.S_IFLNK|0o777, name
		}
		m.inodes[ino] = i
		touch(ino)
		return recInode(ino, i)
	case 2:
		m.remove(ino)
		touch(ino)
		return del(chunkfmt.RecInode, chunkfmt.InodeKey(ino))
	case 3, 4, 5:
		key := string(chunkfmt.DirentKey(ino, name))
		d := chunkfmt.Dirent{
			Ino: chunkfmt.Ino(rapid.IntRange(1, modelInos).Draw(t, "child")), Type: unix.DT_REG,
			Cookie: uint64(rapid.IntRange(3, 12).Draw(t, "cookie")),
		}
		touch(ino)
		for k, o := range m.dirents {
			if k[:8] == key[:8] && k != key && o.Cookie == d.Cookie {
				// The cookie is another name's: take that name away instead.
				delete(m.dirents, k)
				return del(chunkfmt.RecDirent, []byte(k))
			}
		}
		touch(d.Ino)
		m.dirents[key] = d
		return recDirent(ino, name, d)
	case 6:
		delete(m.dirents, string(chunkfmt.DirentKey(ino, name)))
		touch(ino)
		return del(chunkfmt.RecDirent, chunkfmt.DirentKey(ino, name))
	case 7:
		v := rapid.StringN(0, 4, 8).Draw(t, "value")
		m.xattrs[string(chunkfmt.XattrKey(ino, name))] = v
		touch(ino)
		return rec(chunkfmt.RecXattr, chunkfmt.XattrKey(ino, name), []byte(v))
	case 8:
		delete(m.xattrs, string(chunkfmt.XattrKey(ino, name)))
		touch(ino)
		return del(chunkfmt.RecXattr, chunkfmt.XattrKey(ino, name))
	case 9, 10:
		e := drawExtent(t, seq, modelUnit, 0, 600)
		m.write(ino, e, modelUnit)
		touch(ino)
		return recExtent(ino, e)
	case 11:
		m.orphans[ino] = true
		return rec(chunkfmt.RecOrphan, chunkfmt.OrphanKey(ino), nil)
	default:
		*seq++
		m.groups[*seq] = 1
		return recGroup(chunkfmt.GroupRecord{Seq: *seq, RawLen: 5, Blocks: []chunkfmt.BlockRecord{{Length: 5}}})
	}
}

// drawBatch makes a batch of random records, perhaps with an archive at its end.
func drawBatch(t *rapid.T, m *model, seq *chunkfmt.Seq) (b Batch) {
	for range rapid.IntRange(0, 12).Draw(t, "records") {
		r := drawRecord(t, m, seq)
		m.changed = m.changed || r.Kind <= chunkfmt.RecExtent
		b.Records = append(b.Records, r)
	}
	if rapid.IntRange(0, 2).Draw(t, "seal") == 0 {
		n := uint32(len(m.sealed) + 1)
		b.Records = append(b.Records, recArchive(n))
		m.sealed, m.changed = append(m.sealed, n), false
	}
	return b
}

// drawExtent makes data or a hole of whole units, within n units from base on.
func drawExtent(t *rapid.T, seq *chunkfmt.Seq, unit, base uint64, n int) chunkfmt.Extent {
	at := base + unit*uint64(rapid.IntRange(0, n).Draw(t, "at"))
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0:
		return chunkfmt.Extent{Offset: at, Length: endOfFile}
	case 1, 2:
		return chunkfmt.Extent{Offset: at, Length: unit * uint64(rapid.IntRange(1, n).Draw(t, "hole"))}
	}
	length := unit * uint64(rapid.IntRange(1, 4).Draw(t, "length"))
	if rapid.Bool().Draw(t, "new group") {
		*seq++
	}
	most := int(chunkfmt.MaxRaw-length) / int(unit)
	offset := uint32(unit) * uint32(rapid.IntRange(0, most).Draw(t, "in group"))
	return chunkfmt.Extent{Offset: at, Length: length, Group: *seq, GroupOffset: offset}
}

// TestModel applies random batches in random groups, and all of them at once to a
// second index, and compares both with the model in every archive.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, done := openRapid(t)
		defer done()
		m, seq := newModel(), chunkfmt.MakeSeq(1, 1)
		var all, pending []Batch
		states := map[uint32]string{}
		apply := func(x *Index, b []Batch) {
			noError(t, x.Apply(b, Head{Ordinal: 1, Seq: seq}, locateAll))
		}
		for range rapid.IntRange(1, 12).Draw(t, "batches") {
			b := drawBatch(t, m, &seq)
			if n := len(m.sealed); n > len(states) {
				states[uint32(n)] = m.dump()
			}
			all, pending = append(all, b), append(pending, b)
			if rapid.Bool().Draw(t, "apply") {
				apply(x, pending)
				pending = nil
				same(t, "present", dumpReader(t, &x.Reader, modelUnit), m.dump())
			}
		}
		apply(x, pending)
		y, done := openRapid(t)
		defer done()
		apply(y, all)
		for what, x := range map[string]*Index{"step by step": x, "rebuilt": y} {
			same(t, what, dumpReader(t, &x.Reader, modelUnit), m.dump())
			same(t, what, wholeIndex(t, x), m.whole())
			for n, want := range states {
				same(t, fmt.Sprint(what, ", archive ", n), dumpReader(t, x.At(n), modelUnit), want)
			}
		}
	})
}
