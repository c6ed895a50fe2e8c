// Package crash checks that a mount keeps its promise when its process is killed or the power of its
// disk is cut: the tree is then exactly the state after one prefix of the operations in their order,
// none earlier than the last fsync or coffer sync that returned.
//
// Operations are issued one after the other, so their order is known; each is applied to a model in
// memory too. It does not test what a mount does while nothing fails; test/e2e does.
//
// Start at crash_test.go. model.go is the tree in memory, op.go what is done to it and to the mount,
// program.go chooses at random, check.go finds the prefix.
package crash

import (
	"maps"
	"math/rand/v2"
	"path"
	"slices"

	"golang.org/x/sys/unix"
	"lukechampine.com/blake3"
)

// node is a file, directory or symlink of the model.
type node struct {
	mode     uint32 // S_IFMT and permissions
	data     []byte
	sum      *[32]byte      // of data, when it has been computed since the last change
	mtime    *unix.Timespec // nil: some time that the model does not know
	xattrs   map[string]string
	target   string
	children map[string]*node // directories
}

// model is a tree and the files that are open in it.
type model struct {
	root *node
	open map[int]*node
}

func newModel() *model {
	return &model{root: newDir(0o755), open: map[int]*node{}}
}

func newDir(perm uint32) *node {
	return &node{mode: unix.S_IFDIR | perm, xattrs: map[string]string{}, children: map[string]*node{}}
}

func (n *node) isDir() bool  { return n.mode&unix.S_IFMT == unix.S_IFDIR }
func (n *node) isFile() bool { return n.mode&unix.S_IFMT == unix.S_IFREG }

// changed notes that content or entries have changed now.
func (n *node) changed() { n.sum, n.mtime = nil, nil }

func (n *node) contentSum() [32]byte {
	if n.sum == nil {
		sum := blake3.Sum256(n.data)
		n.sum = &sum
	}
	return *n.sum
}

func (n *node) write(off int, p []byte) {
	n.resize(max(len(n.data), off+len(p)))
	copy(n.data[off:], p)
	n.changed()
}

func (n *node) resize(size int) {
	if size > len(n.data) {
		n.data = append(n.data, make([]byte, size-len(n.data))...)
	}
	n.data = n.data[:size:size]
	n.changed()
}

// lookup finds a name, which has to be there, and its directory. The root has no directory.
func (m *model) lookup(name string) (dir, n *node) {
	n = m.root
	for _, part := range split(name) {
		dir, n = n, n.children[part]
	}
	return dir, n
}

// parent finds the directory that name is or is to be in.
func (m *model) parent(name string) *node {
	_, dir := m.lookup(path.Dir(name))
	return dir
}

func (m *model) enter(name string, n *node) {
	dir := m.parent(name)
	dir.children[path.Base(name)] = n
	dir.changed()
}

func (m *model) remove(name string) {
	dir := m.parent(name)
	delete(dir.children, path.Base(name))
	dir.changed()
}

func split(name string) []string {
	var parts []string
	for name != "." && name != "" {
		parts = append(parts, path.Base(name))
		name = path.Dir(name)
	}
	slices.Reverse(parts)
	return parts
}

// walk calls f for each name but the root.
func (m *model) walk(f func(name string, n *node)) {
	var below func(prefix string, dir *node)
	below = func(prefix string, dir *node) {
		for _, base := range slices.Sorted(maps.Keys(dir.children)) {
			child, name := dir.children[base], path.Join(prefix, base)
			f(name, child)
			if child.isDir() {
				below(name, child)
			}
		}
	}
	below("", m.root)
}

// clone copies the tree; what was open is not open in the copy, as after a crash.
func (m *model) clone() *model {
	copies := map[*node]*node{}
	var dup func(n *node) *node
	dup = func(n *node) *node {
		if c := copies[n]; c != nil {
			return c
		}
		c := *n
		copies[n] = &c
		c.data = slices.Clone(n.data)
		c.xattrs = maps.Clone(n.xattrs)
		if n.isDir() {
			c.children = make(map[string]*node, len(n.children))
			for base, child := range n.children {
				c.children[base] = dup(child)
			}
		}
		return &c
	}
	return &model{root: dup(m.root), open: map[int]*node{}}
}

// content makes the bytes of a write from its seed: noise, text that compresses, or zeros. Writes
// of the same seed have the same bytes, so that there is something to deduplicate.
func content(seed uint64, n int) []byte {
	p := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 0))
	switch seed % 8 {
	case 0:
		return p
	case 1, 2, 3:
		const words = "of all that was written before it not one byte may be lost nor wrong "
		for i := range p {
			p[i] = words[(i+int(seed%64))%len(words)]
			if i%97 == 0 {
				p[i] = byte(rng.Uint32())
			}
		}
	default:
		for i := 0; i < n; i += 8 {
			v := rng.Uint64()
			for j := i; j < min(i+8, n); j++ {
				p[j] = byte(v)
				v >>= 8
			}
		}
	}
	return p
}
