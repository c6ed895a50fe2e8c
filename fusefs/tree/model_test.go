package tree

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// model is a file tree done in the plainest way: nodes in memory, one lock of the
// test's around everything. It is what the tree is compared with.
type model struct {
	root *node
	now  int64
	open map[int]*openNode
}

type openNode struct {
	n     *node
	flags int
}

type node struct {
	mode, nlink, uid, gid      uint32
	data                       []byte
	target                     string
	entries                    map[string]*node
	parent                     *node
	xattrs                     map[string]string
	atime, mtime, ctime, btime int64
}

func newModel() *model {
	m := &model{open: make(map[int]*openNode)}
	m.root = m.node(unix.S_IFDIR|0o755, Caller{})
	m.root.parent = m.root
	return m
}

func (m *model) node(mode uint32, who Caller) *node {
	n := &node{mode: mode, nlink: 1, uid: who.Uid, gid: who.Gid, xattrs: make(map[string]string)}
	n.atime, n.mtime, n.ctime, n.btime = m.now, m.now, m.now, m.now
	if n.isDir() {
		n.nlink = 2
		n.entries = make(map[string]*node)
	}
	return n
}

func (n *node) typ() uint32 { return n.mode & unix.S_IFMT }
func (n *node) isDir() bool { return n.typ() == unix.S_IFDIR }

func (m *model) changed(n *node) { n.mtime, n.ctime = m.now, m.now }

// walk finds the node of a path ("" is the root).
func (m *model) walk(path string) (*node, error) {
	n := m.root
	for _, name := range split(path) {
		if !n.isDir() {
			return nil, unix.ENOTDIR
		}
		if len(name) > NameMax {
			return nil, unix.ENAMETOOLONG
		}
		if n = n.entries[name]; n == nil {
			return nil, unix.ENOENT
		}
	}
	return n, nil
}

func split(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

func parentOf(path string) (dir, name string) {
	k := strings.LastIndexByte(path, '/')
	if k < 0 {
		return "", path
	}
	return path[:k], path[k+1:]
}

// in finds the directory that holds (or is to hold) path.
func (m *model) in(path string) (*node, string, error) {
	dir, name := parentOf(path)
	p, err := m.walk(dir)
	if err != nil {
		return nil, "", err
	}
	if len(name) > NameMax {
		return nil, "", unix.ENAMETOOLONG
	}
	if !p.isDir() {
		return nil, "", unix.ENOTDIR
	}
	return p, name, nil
}

func (m *model) make(path string, mode uint32, target string, who Caller) (*node, error) {
	p, name, err := m.in(path)
	if err != nil {
		return nil, err
	}
	if p.entries[name] != nil {
		return nil, unix.EEXIST
	}
	n := m.node(mode, who)
	n.target = target
	if p.mode&unix.S_ISGID != 0 {
		n.gid = p.gid
		if n.isDir() {
			n.mode |= unix.S_ISGID
		}
	}
	p.entries[name] = n
	if n.isDir() {
		n.parent = p
		p.nlink++
	}
	m.changed(p)
	return n, nil
}

func (m *model) link(from, to string) error {
	n, err := m.walk(from)
	if err != nil {
		return err
	}
	if n.isDir() {
		return unix.EPERM
	}
	p, name, err := m.in(to)
	if err != nil {
		return err
	}
	if p.entries[name] != nil {
		return unix.EEXIST
	}
	p.entries[name] = n
	n.nlink++
	n.ctime = m.now
	m.changed(p)
	return nil
}

func (m *model) remove(path string, dir bool) error {
	p, name, err := m.in(path)
	if err != nil {
		return err
	}
	n := p.entries[name]
	switch {
	case n == nil:
		return unix.ENOENT
	case dir && !n.isDir():
		return unix.ENOTDIR
	case !dir && n.isDir():
		return unix.EISDIR
	case dir && len(n.entries) > 0:
		return unix.ENOTEMPTY
	}
	delete(p.entries, name)
	m.changed(p)
	m.drop(p, n)
	return nil
}

func (m *model) drop(p, n *node) {
	n.ctime = m.now
	n.nlink--
	if n.isDir() {
		n.nlink = 0
		p.nlink--
	}
}

func below(n, top *node) bool {
	for ; ; n = n.parent {
		if n == top {
			return true
		}
		if n.parent == n {
			return false
		}
	}
}

func (m *model) rename(from, to string, flags uint32) error {
	p, name, err := m.in(from)
	if err != nil {
		return err
	}
	q, nname, err := m.in(to)
	if err != nil {
		return err
	}
	s, d := p.entries[name], q.entries[nname]
	exchange := flags == unix.RENAME_EXCHANGE
	switch {
	case s == nil:
		return unix.ENOENT
	case d != nil && flags == unix.RENAME_NOREPLACE:
		return unix.EEXIST
	case d == nil && exchange:
		return unix.ENOENT
	case s.isDir() && p != q && below(q, s):
		return unix.EINVAL
	case exchange && d.isDir() && p != q && below(p, d):
		return unix.EINVAL
	case d == s:
		return nil
	}
	if exchange {
		p.entries[name], q.entries[nname] = d, s
		m.moved(d, q, p)
	} else {
		if d != nil {
			switch {
			case s.isDir() && !d.isDir():
				return unix.ENOTDIR
			case !s.isDir() && d.isDir():
				return unix.EISDIR
			case d.isDir() && len(d.entries) > 0:
				return unix.ENOTEMPTY
			}
			m.drop(q, d)
		}
		delete(p.entries, name)
		q.entries[nname] = s
	}
	m.moved(s, p, q)
	m.changed(p)
	m.changed(q)
	return nil
}

func (m *model) moved(n, from, to *node) {
	n.ctime = m.now
	if n.isDir() {
		from.nlink--
		to.nlink++
		n.parent = to
	}
}

func (m *model) resize(n *node, size int) {
	if size <= len(n.data) {
		n.data = n.data[:size:size]
	} else {
		n.data = append(slices.Clip(n.data), make([]byte, size-len(n.data))...)
	}
}

func (m *model) write(h *openNode, p []byte, off int) {
	n := h.n
	if len(p) == 0 {
		return
	}
	if h.flags&unix.O_APPEND != 0 {
		off = len(n.data)
	}
	data := slices.Clone(n.data)
	if end := off + len(p); end > len(data) {
		data = append(data, make([]byte, end-len(data))...)
	}
	copy(data[off:], p)
	n.data = data
	m.changed(n)
}

func (m *model) zero(n *node, from, to int) {
	data := slices.Clone(n.data)
	to = min(to, len(data))
	if from < to {
		clear(data[from:to])
	}
	n.data = data
}

// count is the number of nodes that have a name.
func (m *model) count() int {
	all := make(map[*node]bool)
	var walk func(n *node)
	walk = func(n *node) {
		all[n] = true
		for _, c := range n.entries {
			walk(c)
		}
	}
	walk(m.root)
	return len(all)
}

// dump lists everything that can be seen, one line a name.
func (m *model) dump(times bool) string { return m.dumpAt("", times) }

func (m *model) dumpAt(path string, times bool) string {
	var lines []string
	n, err := m.walk(path)
	if err != nil {
		return err.Error()
	}
	var walk func(path string, n *node)
	walk = func(path string, n *node) {
		lines = append(lines, n.line(path, times))
		for _, name := range slices.Sorted(maps.Keys(n.entries)) {
			walk(path+"/"+name, n.entries[name])
		}
	}
	walk(path, n)
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func (n *node) line(path string, times bool) string {
	var b strings.Builder
	size := len(n.data) + len(n.target)
	if n.isDir() {
		size = len(n.entries)
	}
	fmt.Fprintf(&b, "%s %o nlink %d of %d:%d size %d %q ", path, n.mode, n.nlink, n.uid, n.gid, size, n.target)
	if len(n.data) < 200 {
		fmt.Fprintf(&b, "%x", n.data)
	} else {
		fmt.Fprintf(&b, "sum %x", sha256.Sum256(n.data))
	}
	for _, k := range slices.Sorted(maps.Keys(n.xattrs)) {
		fmt.Fprintf(&b, " %s=%q", k, n.xattrs[k])
	}
	if times {
		fmt.Fprintf(&b, " m%d c%d b%d", n.mtime, n.ctime, n.btime)
	}
	return b.String()
}
