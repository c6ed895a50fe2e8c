package crash

import (
	"fmt"
	"maps"

	"golang.org/x/sys/unix"

	"coffer/test/compare"
)

// history is what was done since a known state: from base on, the first durable operations have to
// be there, each one after may be, in order.
type history struct {
	base    *model
	ops     []op // the last may have been under way
	durable int  // how many were done before an fsync was called that returned
}

// recovered finds the prefix of the operations whose state the tree is in, and returns that state.
func (h history) recovered(tree compare.Tree) (*model, error) {
	m := h.base.clone()
	for _, o := range h.ops[:h.durable] {
		m.apply(o)
	}
	best, bestAt := diff(m, tree, 0), h.durable
	for k := h.durable; ; k++ {
		d := diff(m, tree, 1)
		if len(d) == 0 {
			return m.clone(), nil
		}
		if full := diff(m, tree, len(best)); len(full) < len(best) {
			best, bestAt = full, k
		}
		if k == len(h.ops) {
			break
		}
		if half := firstPage(h.ops[k]); half != nil && len(diff(m, tree, 20)) < 20 { // one file, by any of its names
			m.apply(*half) // the whole write covers it again
			if len(diff(m, tree, 1)) == 0 {
				return m.clone(), nil
			}
		}
		m.apply(h.ops[k])
	}
	return nil, fmt.Errorf("the tree is not the state after any of the operations %d to %d; the nearest is %d, with these differences:\n%s%s",
		h.durable, len(h.ops), bestAt, compare.Summary(best), h.earlier(tree))
}

// firstPage is the part of a write up to the end of the page that it begins in; nil: it ends there, or o is
// no write. Of a write through the page cache the kernel makes two requests if it begins within a page that
// is not in the cache, so a crash may come between them, as on any file system.
func firstPage(o op) *op {
	const page = 4096
	if n := page - o.Off%page; o.Kind == opWrite && n < page && n < o.Len {
		o.Len = n
		return &o
	}
	return nil
}

// earlier says whether the state is one that an fsync had left behind: acknowledged, and lost.
func (h history) earlier(tree compare.Tree) string {
	m := h.base.clone()
	for k := range h.durable {
		if len(diff(m, tree, 1)) == 0 {
			return fmt.Sprintf("\nbut it is the state after %d: what fsync acknowledged was lost", k)
		}
		m.apply(h.ops[k])
	}
	return ""
}

// diff compares the model with a real tree and stops after most differences; 0 means all.
func diff(m *model, tree compare.Tree, most int) []string {
	var lines []string
	full := func() bool { return most > 0 && len(lines) >= most }
	want := map[string]*node{}
	first := map[*node]string{}
	links := map[*node]uint64{}
	m.walk(func(name string, n *node) {
		want[name] = n
		links[n]++
		if first[n] == "" || name < first[n] {
			first[n] = name
		}
	})
	for name := range tree {
		if name != "." && want[name] == nil && !full() {
			lines = append(lines, name+": should not be there")
		}
	}
	for name, n := range want {
		got, ok := tree[name]
		switch {
		case full():
		case !ok:
			lines = append(lines, name+": missing")
		default:
			if d := differ(n, got, links[n], first[n]); d != "" {
				lines = append(lines, name+": "+d)
			}
		}
	}
	// Hashes last: nearly all states that are not the one differ in something cheaper.
	for name, n := range want {
		got, ok := tree[name]
		if ok && !full() && n.isFile() && int64(len(n.data)) == got.Size && n.contentSum() != got.Sum {
			lines = append(lines, name+": content")
		}
	}
	return lines
}

func differ(n *node, got compare.Entry, links uint64, first string) string {
	switch {
	case n.mode != got.Mode && n.mode&unix.S_IFMT != unix.S_IFLNK:
		return fmt.Sprintf("mode %o, want %o", got.Mode, n.mode)
	case n.mode&unix.S_IFMT != got.Mode&unix.S_IFMT:
		return "of another kind"
	case n.isFile() && int64(len(n.data)) != got.Size:
		return fmt.Sprintf("size %d, want %d", got.Size, len(n.data))
	case n.target != got.Target:
		return "target"
	case !n.isDir() && links != got.Nlink:
		return fmt.Sprintf("%d links, want %d", got.Nlink, links)
	case links > 1 && first != got.First:
		return fmt.Sprintf("linked with %s, want %s", got.First, first)
	case n.mtime != nil && *n.mtime != got.Mtime:
		return fmt.Sprintf("mtime %v, want %v", got.Mtime, *n.mtime)
	case !maps.Equal(n.xattrs, got.Xattrs):
		return "xattrs"
	}
	return ""
}
