package crash

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds that keep a tree small enough to be compared many times a minute.
const (
	mostNames  = 90
	mostOpen   = 9
	largest    = 3 << 20
	mostXattrs = 4

	// A larger write would be more than one request and so more than one operation.
	largestWrite = 500 << 10
)

// program chooses operations that are possible in the model's present state.
type program struct {
	rng    *rand.Rand
	m      *model
	handle int // the last number given
	name   int
}

type choice struct {
	weight int
	make   func(p *program) (op, bool)
}

var choices = []choice{
	{300, (*program).write},
	{70, (*program).create},
	{40, (*program).reopen},
	{60, (*program).close},
	{25, (*program).truncate},
	{15, (*program).punch},
	{45, (*program).rename},
	{10, (*program).exchange},
	{20, (*program).link},
	{12, (*program).symlink},
	{40, (*program).unlink},
	{20, (*program).mkdir},
	{10, (*program).rmdir},
	{20, (*program).chmod},
	{20, (*program).utimes},
	{25, (*program).setXattr},
	{8, (*program).delXattr},
	{14, (*program).fsync},
	{14, (*program).fsyncBackground},
	{4, (*program).fsyncDir},
	{2, (*program).sync},
}

// next is an operation that is possible now. The caller applies it to the model.
func (p *program) next() op {
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	for {
		at := p.rng.IntN(total)
		for _, c := range choices {
			if at -= c.weight; at < 0 {
				if o, ok := c.make(p); ok {
					return o
				}
				break
			}
		}
	}
}

func (p *program) write() (op, bool) {
	h, n, ok := p.openFile()
	if !ok {
		return op{}, false
	}
	length := 1 + p.rng.IntN(1<<(4+p.rng.IntN(15))) // most are small
	length = min(length, largestWrite)
	off := len(n.data)
	switch p.rng.IntN(10) {
	case 0, 1:
		off = p.rng.IntN(len(n.data) + 1)
	case 2:
		off += p.rng.IntN(200 << 10) // a hole
	}
	if off+length > largest {
		off = p.rng.IntN(largest - length)
	}
	seed := p.rng.Uint64()
	if p.rng.IntN(4) == 0 {
		seed %= 16 // bytes that were written before
	}
	return op{Kind: opWrite, Handle: h, Off: off, Len: length, Seed: seed}, true
}

func (p *program) create() (op, bool) {
	name, ok := p.newName()
	if !ok || len(p.m.open) >= mostOpen {
		return op{}, false
	}
	p.handle++
	mode := []uint32{0o600, 0o644, 0o640, 0o755}[p.rng.IntN(4)]
	return op{Kind: opCreate, Name: name, Handle: p.handle, Flags: os.O_CREATE | os.O_EXCL | p.access(), Mode: mode}, true
}

func (p *program) reopen() (op, bool) {
	name, ok := p.pick(func(_ string, n *node) bool { return n.isFile() && n.mode&0o600 == 0o600 })
	if !ok || len(p.m.open) >= mostOpen {
		return op{}, false
	}
	flags := p.access()
	if p.rng.IntN(4) == 0 {
		flags |= os.O_TRUNC
	}
	p.handle++
	return op{Kind: opOpen, Name: name, Handle: p.handle, Flags: flags}, true
}

func (p *program) access() int {
	if p.rng.IntN(3) == 0 {
		return os.O_RDWR
	}
	return os.O_WRONLY
}

func (p *program) close() (op, bool) {
	h, _, ok := p.openFile()
	return op{Kind: opClose, Handle: h}, ok
}

func (p *program) truncate() (op, bool) {
	h, n, ok := p.openFile()
	if !ok {
		return op{}, false
	}
	return op{Kind: opTruncate, Handle: h, Len: min(p.rng.IntN(len(n.data)*5/4+100), largest)}, true
}

func (p *program) punch() (op, bool) {
	h, n, ok := p.openFile()
	if !ok || len(n.data) == 0 {
		return op{}, false
	}
	return op{Kind: opPunch, Handle: h, Off: p.rng.IntN(len(n.data)), Len: 1 + p.rng.IntN(100<<10)}, true
}

func (p *program) mkdir() (op, bool) {
	name, ok := p.newName()
	return op{Kind: opMkdir, Name: name, Mode: 0o755}, ok && strings.Count(name, "/") < 5
}

func (p *program) rmdir() (op, bool) {
	name, ok := p.pick(func(_ string, n *node) bool { return n.isDir() && len(n.children) == 0 })
	return op{Kind: opRmdir, Name: name}, ok
}

func (p *program) symlink() (op, bool) {
	name, ok := p.newName()
	return op{Kind: opSymlink, Name: name, To: fmt.Sprintf("../somewhere/%d", p.rng.IntN(1000))}, ok
}

func (p *program) link() (op, bool) {
	name, ok := p.pick(func(_ string, n *node) bool { return n.isFile() })
	to, free := p.newName()
	return op{Kind: opLink, Name: name, To: to}, ok && free
}

func (p *program) unlink() (op, bool) {
	name, ok := p.pick(func(_ string, n *node) bool { return !n.isDir() })
	return op{Kind: opUnlink, Name: name}, ok
}

func (p *program) rename() (op, bool) {
	from, ok := p.pick(func(string, *node) bool { return true })
	if !ok {
		return op{}, false
	}
	_, n := p.m.lookup(from)
	to, free := p.newName()
	if p.rng.IntN(3) == 0 { // over something
		to, free = p.pick(func(name string, t *node) bool {
			if n.isDir() {
				return t.isDir() && len(t.children) == 0
			}
			return !t.isDir()
		})
	}
	return op{Kind: opRename, Name: from, To: to}, free && from != to && !within(to, from)
}

func (p *program) exchange() (op, bool) {
	all := func(string, *node) bool { return true }
	a, _ := p.pick(all)
	b, ok := p.pick(all)
	return op{Kind: opExchange, Name: a, To: b}, ok && a != b && !within(a, b) && !within(b, a)
}

// within says whether name is dir or below it: a directory can't be moved there.
func within(name, dir string) bool { return strings.HasPrefix(name+"/", dir+"/") }

func (p *program) chmod() (op, bool) {
	name, ok := p.pick(func(_ string, n *node) bool { return !isSymlink(n) })
	return op{Kind: opChmod, Name: name, Mode: 0o700 | uint32(p.rng.IntN(0o100))}, ok
}

func (p *program) utimes() (op, bool) {
	name, ok := p.pick(func(string, *node) bool { return true })
	return op{Kind: opUtimes, Name: name, Seed: p.rng.Uint64()}, ok
}

func (p *program) setXattr() (op, bool) {
	name, ok := p.pick(func(_ string, n *node) bool { return !isSymlink(n) })
	key := fmt.Sprintf("user.k%d", p.rng.IntN(mostXattrs))
	return op{Kind: opSetXattr, Name: name, To: key, Len: 1 + p.rng.IntN(800), Seed: p.rng.Uint64()}, ok
}

func (p *program) delXattr() (op, bool) {
	name, ok := p.pick(func(_ string, n *node) bool { return len(n.xattrs) > 0 })
	if !ok {
		return op{}, false
	}
	_, n := p.m.lookup(name)
	keys := slices.Sorted(maps.Keys(n.xattrs))
	return op{Kind: opDelXattr, Name: name, To: keys[p.rng.IntN(len(keys))]}, true
}

func (p *program) fsync() (op, bool) {
	h, _, ok := p.openFile()
	return op{Kind: opFsync, Handle: h}, ok
}

func (p *program) fsyncBackground() (op, bool) {
	h, _, ok := p.openFile()
	return op{Kind: opFsyncBg, Handle: h}, ok
}

func (p *program) fsyncDir() (op, bool) {
	name, ok := p.pick(func(string, *node) bool { return true })
	return op{Kind: opFsyncDir, Name: name}, ok
}

func (p *program) sync() (op, bool) { return op{Kind: opSync}, true }

func isSymlink(n *node) bool { return n.mode&unix.S_IFMT == unix.S_IFLNK }

func (p *program) openFile() (handle int, n *node, ok bool) {
	handles := slices.Sorted(maps.Keys(p.m.open))
	if len(handles) == 0 {
		return 0, nil, false
	}
	handle = handles[p.rng.IntN(len(handles))]
	return handle, p.m.open[handle], true
}

func (p *program) pick(suits func(string, *node) bool) (string, bool) {
	var names []string
	p.m.walk(func(name string, n *node) {
		if suits(name, n) {
			names = append(names, name)
		}
	})
	if len(names) == 0 {
		return "", false
	}
	return names[p.rng.IntN(len(names))], true
}

// newName is one that is not there yet, in some directory.
func (p *program) newName() (string, bool) {
	dirs, names := []string{""}, 0
	p.m.walk(func(name string, n *node) {
		names++
		if n.isDir() {
			dirs = append(dirs, name)
		}
	})
	p.name++
	return path.Join(dirs[p.rng.IntN(len(dirs))], fmt.Sprintf("n%d", p.name)), names < mostNames
}
