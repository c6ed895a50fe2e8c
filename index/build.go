package index

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"
)

// builder writes a bbolt file of keys that come in their order, bucket after bucket. Each page is
// written once, one behind the other, which no series of transactions does; check.go says what a
// page looks like.
type builder struct {
	f      *os.File
	w      *bufio.Writer // of pages from 2 on
	page   int           // bytes
	next   uint64        // number of the next page
	levels []*level      // of the bucket at hand; the first are its leaves
	last   []byte        // key of the bucket at hand
	roots  []root        // of the buckets that are complete
}

type root struct {
	name []byte
	page uint64
}

// level is a level of a bucket's tree. The page before the one at hand is held back: a branch must
// have two elements, and the last one of a level may have to take one from it.
type level struct{ before, now node }

// node is a page in the making.
type node struct {
	elements []element
	data     []byte // keys and values
}

// element is a key with its value, or with the page below: in a leaf that is a bucket's.
type element struct {
	key, value int // bytes
	below      uint64
}

func (n *node) size() int { return pageHead + len(n.elements)*elementSize + len(n.data) }

func (n *node) first() []byte { return n.data[:n.elements[0].key] }

func newBuilder(f *os.File) *builder {
	b := &builder{f: f, page: os.Getpagesize(), next: 2}
	b.w = bufio.NewWriterSize(io.NewOffsetWriter(f, 2*int64(b.page)), 1<<20)
	return b
}

// put adds a key to the bucket at hand. They must ascend.
func (b *builder) put(key, value []byte) error {
	if len(key) == 0 || bytes.Compare(key, b.last) <= 0 {
		return fmt.Errorf("key %x behind key %x", key, b.last)
	}
	b.last = append(b.last[:0], key...)
	return b.add(0, key, value, 0)
}

// add adds an element to a level.
func (b *builder) add(at int, key, value []byte, below uint64) error {
	if at == len(b.levels) {
		b.levels = append(b.levels, &level{})
	}
	n := &b.levels[at].now
	if len(n.elements) > 1 && float64(n.size()+elementSize+len(key)+len(value)) > float64(b.page)*fillAscending {
		if err := b.turn(at); err != nil {
			return err
		}
	}
	n.elements = append(n.elements, element{len(key), len(value), below})
	n.data = append(append(n.data, key...), value...)
	return nil
}

// turn begins another page of a level.
func (b *builder) turn(at int) error {
	l := b.levels[at]
	if len(l.before.elements) > 0 {
		if err := b.spill(at, &l.before); err != nil {
			return err
		}
	}
	l.before, l.now = l.now, node{l.before.elements[:0], l.before.data[:0]}
	return nil
}

// spill writes a page of a level and tells the level above.
func (b *builder) spill(at int, n *node) error {
	kind := uint16(kindBranch)
	if at == 0 {
		kind = kindLeaf
	}
	id, err := b.write(kind, n)
	if err != nil {
		return err
	}
	return b.add(at+1, n.first(), nil, id)
}

// write writes a page.
func (b *builder) write(kind uint16, n *node) (id uint64, err error) {
	id = b.next
	pages := (n.size() + b.page - 1) / b.page
	b.next += uint64(pages)
	var head [elementSize]byte
	native.PutUint64(head[:], id)
	native.PutUint16(head[8:], kind)
	native.PutUint16(head[10:], uint16(len(n.elements)))
	native.PutUint32(head[12:], uint32(pages-1))
	_, _ = b.w.Write(head[:])           // the writer keeps the first error
	to := len(n.elements) * elementSize // the next key, counted from the next element
	for _, e := range n.elements {
		clear(head[:])
		if kind == kindBranch {
			native.PutUint32(head[:], uint32(to))
			native.PutUint32(head[4:], uint32(e.key))
			native.PutUint64(head[8:], e.below)
		} else {
			if e.below != 0 {
				native.PutUint32(head[:], bucketFlag)
			}
			native.PutUint32(head[4:], uint32(to))
			native.PutUint32(head[8:], uint32(e.key))
			native.PutUint32(head[12:], uint32(e.value))
		}
		_, _ = b.w.Write(head[:])
		to += e.key + e.value - elementSize
	}
	_, _ = b.w.Write(n.data)
	_, err = b.w.Write(make([]byte, pages*b.page-n.size()))
	return id, err
}

// end completes the bucket at hand, which may be empty, and begins another.
func (b *builder) end(name []byte) error {
	if len(b.levels) == 0 {
		b.levels = append(b.levels, &level{})
	}
	var top uint64
	for at := 0; at < len(b.levels); at++ { // writing the last pages of a level may add one
		l := b.levels[at]
		if at > 0 && len(l.before.elements) > 0 && len(l.now.elements) == 1 {
			l.before.giveTo(&l.now)
		}
		if at == len(b.levels)-1 && len(l.before.elements) == 0 {
			kind := uint16(kindBranch)
			if at == 0 {
				kind = kindLeaf
			}
			var err error
			if top, err = b.write(kind, &l.now); err != nil {
				return err
			}
			break
		}
		for _, n := range []*node{&l.before, &l.now} {
			if len(n.elements) == 0 {
				continue
			}
			if err := b.spill(at, n); err != nil {
				return err
			}
		}
	}
	b.roots = append(b.roots, root{name, top})
	b.levels, b.last = nil, b.last[:0]
	return nil
}

// giveTo moves the last element of n to the front of another page.
func (n *node) giveTo(to *node) {
	k := len(n.elements) - 1
	e := n.elements[k]
	cut := len(n.data) - e.key - e.value
	to.elements = slices.Insert(to.elements, 0, e)
	to.data = slices.Insert(to.data, 0, n.data[cut:]...)
	n.elements, n.data = n.elements[:k], n.data[:cut]
}

// finish completes the file; it is not synced.
func (b *builder) finish() error {
	slices.SortFunc(b.roots, func(x, y root) int { return bytes.Compare(x.name, y.name) })
	var n node
	for _, r := range b.roots {
		value := make([]byte, bucketHead)
		native.PutUint64(value, r.page)
		n.elements = append(n.elements, element{len(r.name), len(value), r.page})
		n.data = append(append(n.data, r.name...), value...)
	}
	top, err := b.write(kindLeaf, &n)
	if err != nil {
		return err
	}
	free, err := b.write(kindFreelist, &node{})
	if err != nil {
		return err
	}
	metas := make([]byte, 2*b.page)
	for tx := range uint64(2) {
		p := metas[int(tx)*b.page:]
		native.PutUint64(p, tx)
		native.PutUint16(p[8:], kindMeta)
		m := p[pageHead:]
		native.PutUint32(m, boltMagic)
		native.PutUint32(m[4:], boltVersion)
		native.PutUint32(m[8:], uint32(b.page))
		native.PutUint64(m[16:], top)
		native.PutUint64(m[32:], free)
		native.PutUint64(m[40:], b.next)
		native.PutUint64(m[48:], tx)
		h := fnv.New64a()
		_, _ = h.Write(m[:56]) // cannot fail
		native.PutUint64(m[56:], h.Sum64())
	}
	_, err = b.f.WriteAt(metas, 0)
	return errors.Join(b.w.Flush(), err)
}
