package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt trusts its file: a flipped bit makes it panic, in places in a goroutine of
// its own, or run in circles. So the file is checked before bbolt sees it, by
// reading and not through a map: that each page is of its kind and used once, that
// keys ascend and lie where the branches above say, that each value has its
// checksum. What follows is bbolt's file format, version 2, as far as that needs.
//
//	page     id 8 | kind 2 | count 2 | overflow 4 | elements
//	branch   position of the key from the element 4 | key length 4 | page 8
//	leaf     flags 4 | position of the key from the element 4 | key length 4 | value length 4
//	meta     magic 4 | version 4 | page size 4 | flags 4 | root page 8 | sequence 8 |
//	         freelist 8 | pages 8 | transaction 8 | FNV-1a of these 8
const (
	pageHead    = 16
	elementSize = 16
	metaSize    = 64
	bucketHead  = 16 // root page 8 | sequence 8, then a page within if the root is 0

	kindBranch   = 0x01
	kindLeaf     = 0x02
	kindMeta     = 0x04
	kindFreelist = 0x10
	bucketFlag   = 1 // of an element of the root bucket's leaves

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = ^uint64(0)
	maxLevels   = 32 // of the root bucket's tree and then a bucket's; more is a circle
	firstLevel  = 8  // of a bucket's tree
)

// native is the byte order of bbolt's own numbers.
var native = binary.NativeEndian

type checker struct {
	f     io.ReaderAt
	size  int64
	page  int
	pages uint64 // ids from here on are not in use
	seen  []uint64
	level [maxLevels][]byte // pages on the way down
}

// checkFile reads a whole index file, which nothing else writes, and fails with
// ErrRebuild if bbolt could not be trusted with it.
func checkFile(f io.ReaderAt, size int64) error {
	c := &checker{f: f, size: size}
	root, free, err := c.meta()
	if err == nil {
		err = c.tree(root, 0, nil, nil, c.roots)
	}
	if err == nil && free != noFreelist {
		err = c.freelist(free)
	}
	if err != nil {
		return damaged(err)
	}
	return nil
}

// meta finds the meta page that bbolt will use.
func (c *checker) meta() (root, free uint64, err error) {
	b := make([]byte, pageHead+metaSize)
	var found bool
	var last uint64
	for _, page := range [...]int{4096, 8192, 16384, 32768, 65536} { // the likely one first

		for i := range int64(2) {
			if _, err := c.f.ReadAt(b, i*int64(page)); err != nil {
				continue
			}
			m := b[pageHead:]
			h := fnv.New64a()
			_, _ = h.Write(m[:56])
			if native.Uint16(b[8:]) != kindMeta || native.Uint64(b) != uint64(i) ||
				native.Uint32(m) != boltMagic || native.Uint32(m[4:]) != boltVersion ||
				native.Uint64(m[56:]) != h.Sum64() || int(native.Uint32(m[8:])) != page {
				continue
			}
			if tx := native.Uint64(m[48:]); !found || tx > last {
				found, last, c.page = true, tx, page
				root, free, c.pages = native.Uint64(m[16:]), native.Uint64(m[32:]), native.Uint64(m[40:])
			}
		}
		if found {
			break
		}
	}
	if !found {
		return 0, 0, errors.New("no meta page")
	}
	if c.pages > uint64(c.size)/uint64(c.page) {
		return 0, 0, fmt.Errorf("file of %d bytes, want %d pages", c.size, c.pages)
	}
	c.seen = make([]uint64, c.pages/64+1)
	return root, free, nil
}

// claim notes that the pages are used and fails if they were.
func (c *checker) claim(id, n uint64) error {
	if id < 2 || id >= c.pages || n > c.pages-id {
		return fmt.Errorf("page %d and %d after it: there are %d", id, n-1, c.pages)
	}
	for i := id; i < id+n; i++ {
		if c.seen[i/64]&(1<<(i%64)) != 0 {
			return fmt.Errorf("page %d is used twice", i)
		}
		c.seen[i/64] |= 1 << (i % 64)
	}
	return nil
}

// read reads a page with what overflows from it into b, which grows if need be.
func (c *checker) read(id uint64, b []byte) ([]byte, error) {
	if id < 2 || id >= c.pages {
		return nil, fmt.Errorf("page %d: there are %d", id, c.pages)
	}
	if len(b) < c.page {
		b = make([]byte, c.page)
	}
	b = b[:c.page]
	if _, err := c.f.ReadAt(b, int64(id)*int64(c.page)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if got := native.Uint64(b); got != id {
		return nil, fmt.Errorf("page %d says it is page %d", id, got)
	}
	n := uint64(native.Uint32(b[12:])) + 1
	if err := c.claim(id, n); err != nil {
		return nil, err
	}
	if n > 1 {
		b = append(b, make([]byte, int(n-1)*c.page)...)
		if _, err := c.f.ReadAt(b[c.page:], int64(id+1)*int64(c.page)); err != nil {
			return nil, fmt.Errorf("page %d: %w", id, err)
		}
	}
	return b, nil
}

// leafFunc checks one element of a leaf.
type leafFunc func(flags uint32, key, value []byte) error

// tree checks the pages from one on downwards; its keys must be least ≤ key < most,
// where nil is no bound.
func (c *checker) tree(id uint64, level int, least, most []byte, leaf leafFunc) error {
	if level == firstLevel || level == maxLevels {
		return fmt.Errorf("page %d: too many levels", id)
	}
	b, err := c.read(id, c.level[level])
	if err != nil {
		return err
	}
	c.level[level] = b
	if err := c.elements(b, level, least, most, leaf); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// elements checks what is in a page.
func (c *checker) elements(b []byte, level int, least, most []byte, leaf leafFunc) error {
	kind, n := native.Uint16(b[8:]), int(native.Uint16(b[10:]))
	if kind != kindBranch && kind != kindLeaf || pageHead+n*elementSize > len(b) || kind == kindBranch && n == 0 {
		return fmt.Errorf("kind %#x with %d elements", kind, n)
	}
	// The keys and values follow the elements without a gap. That shows a wrong count.
	end := uint64(pageHead + n*elementSize)
	if n == 0 && !bytes.Equal(b[pageHead:], make([]byte, len(b)-pageHead)) {
		return errors.New("elements that are not counted")
	}
	key := func(i int) (k, v []byte, err error) {
		at := pageHead + i*elementSize
		e := b[at:]
		pos, klen, vlen := native.Uint32(e), native.Uint32(e[4:]), uint32(0)
		if kind == kindLeaf {
			pos, klen, vlen = native.Uint32(e[4:]), native.Uint32(e[8:]), native.Uint32(e[12:])
		}
		from := uint64(at) + uint64(pos)
		value := from + uint64(klen)
		if from != end || klen == 0 || value+uint64(vlen) > uint64(len(b)) {
			return nil, nil, fmt.Errorf("element %d lies in the wrong place", i)
		}
		end = value + uint64(vlen)
		return b[from:value], b[value:end], nil
	}
	k, v, err := []byte(nil), []byte(nil), error(nil)
	if n > 0 {
		k, v, err = key(0)
	}
	for i := range n {
		if err != nil {
			return err
		}
		if least != nil && bytes.Compare(k, least) < 0 || most != nil && bytes.Compare(k, most) >= 0 {
			return fmt.Errorf("key %x of element %d is out of order", k, i)
		}
		value, next := v, most
		this := k
		if i+1 < n {
			if k, v, err = key(i + 1); err != nil {
				return err
			}
			if next = k; bytes.Compare(this, next) >= 0 {
				return fmt.Errorf("key %x of element %d is out of order", next, i+1)
			}
		}
		e := b[pageHead+i*elementSize:]
		if kind == kindBranch {
			err = c.tree(native.Uint64(e[8:]), level+1, this, next, leaf)
		} else {
			err = leaf(native.Uint32(e), this, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// roots checks an element of the root bucket: one of this format's buckets.
func (c *checker) roots(flags uint32, key, value []byte) error {
	if flags != bucketFlag || len(value) < bucketHead {
		return fmt.Errorf("%q is no bucket", key)
	}
	root := native.Uint64(value)
	var err error
	if root != 0 {
		err = c.tree(root, firstLevel+1, nil, nil, c.entry)
	} else if inline := value[bucketHead:]; len(inline) < pageHead || native.Uint16(inline[8:]) != kindLeaf {
		err = errors.New("no page")
	} else {
		err = c.elements(inline, 0, nil, nil, c.entry)
	}
	if err != nil {
		return fmt.Errorf("bucket %q: %w", key, err)
	}
	return nil
}

// entry checks an element of a bucket.
func (c *checker) entry(flags uint32, key, value []byte) error {
	if flags != 0 {
		return fmt.Errorf("key %x has flags %#x", key, flags)
	}
	_, _, err := unseal(key, value)
	return err
}

// freelist checks the list of free pages: ascending, in the file, and not in use.
func (c *checker) freelist(id uint64) error {
	b, err := c.read(id, nil)
	if err != nil {
		return fmt.Errorf("free list: %w", err)
	}
	n, ids := uint64(native.Uint16(b[10:])), b[pageHead:]
	if n == 0xffff {
		n, ids = native.Uint64(ids), ids[8:]
	}
	if native.Uint16(b[8:]) != kindFreelist || n > uint64(len(ids)/8) {
		return fmt.Errorf("free list: kind %#x with %d pages", native.Uint16(b[8:]), n)
	}
	last := uint64(0)
	for i := range n {
		free := native.Uint64(ids[8*i:])
		if free <= last {
			return fmt.Errorf("free list: page %d after %d", free, last)
		}
		if err := c.claim(free, 1); err != nil {
			return fmt.Errorf("free list: %w", err)
		}
		last = free
	}
	return nil
}
