package crowd

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// node is what a file must be.
type node struct {
	mode   uint32 // type and permissions
	nlink  int    // names that lead to it; not of directories
	data   []byte
	target string
	xattrs map[string]string
	names  map[string]*node // directories

	// What is to be the same after the file system was mounted again.
	ino          uint64
	mtime, ctime unix.Timespec
}

func (n *node) kind() uint32 { return n.mode & unix.S_IFMT }

func (n *node) isDir() bool { return n.names != nil }

func newDir() *node {
	return &node{mode: unix.S_IFDIR | 0o755, names: map[string]*node{}, xattrs: map[string]string{}}
}

// model is a subtree.
type model struct{ root *node }

// parent finds the directory that a path's last name is in.
func (m *model) parent(path string) (dir *node, name string, err error) {
	dir = m.root
	parts := strings.Split(path, "/")
	for _, p := range parts[:len(parts)-1] {
		next, ok := dir.names[p]
		switch {
		case !ok:
			return nil, "", unix.ENOENT
		case next.kind() == unix.S_IFLNK:
			// All links point to nowhere.
			return nil, "", unix.ENOENT
		case !next.isDir():
			return nil, "", unix.ENOTDIR
		}
		dir = next
	}
	return dir, parts[len(parts)-1], nil
}

// find is parent and the node itself, which may not be there.
func (m *model) find(path string) (dir *node, name string, n *node, err error) {
	if dir, name, err = m.parent(path); err == nil {
		n = dir.names[name]
	}
	return dir, name, n, err
}

// enter adds a new node.
func (m *model) enter(path string, n *node) error {
	dir, name, old, err := m.find(path)
	if err == nil && old != nil {
		err = unix.EEXIST
	}
	if err != nil {
		return err
	}
	if !n.isDir() {
		n.nlink++
	}
	dir.names[name] = n
	return nil
}

// open is open(2) with O_CREAT, O_NOFOLLOW and maybe O_EXCL or O_TRUNC.
func (m *model) open(path string, flags int, mode uint32) (*node, error) {
	_, _, n, err := m.find(path)
	switch {
	case err != nil:
		return nil, err
	case n == nil:
		n = &node{mode: unix.S_IFREG | mode, xattrs: map[string]string{}}
		return n, m.enter(path, n)
	case flags&unix.O_EXCL != 0:
		return nil, unix.EEXIST
	case n.kind() == unix.S_IFLNK:
		return nil, unix.ELOOP
	case n.isDir():
		return nil, unix.EISDIR
	case n.kind() == unix.S_IFIFO:
		return nil, unix.ENXIO // for it is opened without waiting, to write
	}
	if flags&unix.O_TRUNC != 0 {
		n.data = n.data[:0]
	}
	return n, nil
}

func (m *model) link(from, to string) error {
	_, _, n, err := m.find(from)
	if err == nil && n == nil {
		err = unix.ENOENT
	}
	if err != nil {
		return err
	}
	_, _, there, err := m.find(to)
	switch {
	case err != nil:
		return err
	case there != nil:
		return unix.EEXIST
	case n.isDir():
		return unix.EPERM
	}
	return m.enter(to, n)
}

func (m *model) unlink(path string) error {
	dir, name, n, err := m.find(path)
	switch {
	case err != nil:
		return err
	case n == nil:
		return unix.ENOENT
	case n.isDir():
		return unix.EISDIR
	}
	n.nlink--
	delete(dir.names, name)
	return nil
}

func (m *model) rmdir(path string) error {
	dir, name, n, err := m.find(path)
	switch {
	case err != nil:
		return err
	case n == nil:
		return unix.ENOENT
	case !n.isDir():
		return unix.ENOTDIR
	case len(n.names) > 0:
		return unix.ENOTEMPTY
	}
	delete(dir.names, name)
	return nil
}

// above says whether dir lies below n, or is it.
func above(n, dir *node) bool {
	if n == dir {
		return true
	}
	for _, kid := range n.names {
		if kid.isDir() && above(kid, dir) {
			return true
		}
	}
	return false
}

// rename is renameat2(2); the order of the checks is that of Linux.
func (m *model) rename(from, to string, flags uint) error {
	oldDir, oldName, err := m.parent(from)
	if err != nil {
		return err
	}
	newDir, newName, err := m.parent(to)
	if err != nil {
		return err
	}
	n, there := oldDir.names[oldName], newDir.names[newName]
	exchange := flags&unix.RENAME_EXCHANGE != 0
	switch {
	case n == nil:
		return unix.ENOENT
	case flags&unix.RENAME_NOREPLACE != 0 && there != nil:
		return unix.EEXIST
	case exchange && there == nil:
		return unix.ENOENT
	case oldDir != newDir && n.isDir() && above(n, newDir):
		return unix.EINVAL
	case oldDir != newDir && there != nil && there.isDir() && above(there, oldDir):
		if exchange {
			return unix.EINVAL
		}
		return unix.ENOTEMPTY
	case n == there:
		return nil
	case exchange:
		oldDir.names[oldName], newDir.names[newName] = there, n
		return nil
	}
	if there != nil {
		switch {
		case n.isDir() && !there.isDir():
			return unix.ENOTDIR
		case !n.isDir() && there.isDir():
			return unix.EISDIR
		case len(there.names) > 0:
			return unix.ENOTEMPTY
		}
		there.nlink--
	}
	delete(oldDir.names, oldName)
	newDir.names[newName] = n
	return nil
}

// write, truncate and zero are what changes of contents come to.
func (n *node) write(off int, p []byte) {
	n.truncate(max(len(n.data), off+len(p)))
	copy(n.data[off:], p)
}

func (n *node) truncate(size int) {
	if size <= len(n.data) {
		clear(n.data[size:])
		n.data = n.data[:size]
		return
	}
	n.data = append(n.data, make([]byte, size-len(n.data))...)
}

func (n *node) zero(from, to int) {
	clear(n.data[min(from, len(n.data)):min(to, len(n.data))])
}

// walk calls f for each node that has a name, in order, with the directories before what is in them.
func (n *node) walk(path string, f func(path string, n *node) error) error {
	if err := f(path, n); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		if err := n.names[name].walk(path+"/"+name, f); err != nil {
			return err
		}
	}
	return nil
}
