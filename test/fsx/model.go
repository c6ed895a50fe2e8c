package fsx

import (
	"bytes"
	"fmt"
)

// block is the granularity at which holes are promised.
const block = 4096

// model is what a file must hold. Offsets count from the base of the file, below which nothing is ever written.
type model struct {
	data []byte
	// touched says of each block whether anything may have given it room. A block that nothing touched is a
	// hole and must be told as one; one that was touched and is all zeros may be either. It may reach beyond
	// the end: a fallocate that keeps the size gives room there.
	touched []bool
}

func (m *model) size() int { return len(m.data) }

func (m *model) resize(size int) {
	old := len(m.data)
	if size <= old {
		m.data = m.data[:size]
	} else {
		m.data = append(m.data, make([]byte, size-old)...)
	}
	blocks := (size + block - 1) / block
	if size < old {
		m.touched = m.touched[:blocks]
	}
	m.reach(blocks)
}

// reach has room for what is to be said of so many blocks.
func (m *model) reach(blocks int) {
	if n := blocks - len(m.touched); n > 0 {
		m.touched = append(m.touched, make([]bool, n)...)
	}
}

func (m *model) touch(from, to int) {
	m.reach((to + block - 1) / block)
	for b := from / block; b < (to+block-1)/block; b++ {
		m.touched[b] = true
	}
}

func (m *model) write(off int, p []byte) {
	if len(p) == 0 {
		return
	}
	if end := off + len(p); end > m.size() {
		m.resize(end)
	}
	copy(m.data[off:], p)
	m.touch(off, off+len(p))
}

// zero makes [from, to) zeros as far as the file reaches; whether they take room is open.
func (m *model) zero(from, to int) {
	from, to = min(from, m.size()), min(to, m.size())
	clear(m.data[from:to])
	m.touch(from, to)
}

// punch makes [from, to) zeros, and holes of the blocks that lie in it whole.
func (m *model) punch(from, to int) {
	from, to = min(from, m.size()), min(to, m.size())
	clear(m.data[from:to])
	last := to / block
	if to == m.size() {
		last = (to + block - 1) / block
	}
	for b := (from + block - 1) / block; b < last; b++ {
		m.touched[b] = false
	}
}

// collapse takes [from, to) out, insert puts a hole of n bytes in at from; whole blocks both.
func (m *model) collapse(from, to int) {
	m.data = append(m.data[:from], m.data[to:]...)
	m.touched = append(m.touched[:from/block], m.touched[to/block:]...)
}

func (m *model) insert(from, n int) {
	m.data = append(m.data[:from], append(make([]byte, n), m.data[from:]...)...)
	m.touched = append(m.touched[:from/block], append(make([]bool, n/block), m.touched[from/block:]...)...)
}

// part is what a read of n bytes from off gives.
func (m *model) part(off, n int) []byte {
	off = min(off, m.size())
	return m.data[off:min(off+n, m.size())]
}

// differ says where got, read from off, is not what was read for; nil if nowhere.
func (m *model) differ(off, n int, got []byte) error {
	want := m.part(off, n)
	if bytes.Equal(got, want) {
		return nil
	}
	if len(got) != len(want) {
		return fmt.Errorf("read %d bytes, want %d", len(got), len(want))
	}
	first, last, count := -1, 0, 0
	for k := range got {
		if got[k] != want[k] {
			if first < 0 {
				first = k
			}
			last = k
			count++
		}
	}
	k := first
	return &difference{off + first, fmt.Sprintf("%d bytes differ in [%d, %d): at first %x, want %x",
		count, off+first, off+last+1, got[k:min(k+8, len(got))], want[k:min(k+8, len(want))])}
}

// difference is a wrong byte, for the search of those who wrote it.
type difference struct {
	at   int
	text string
}

func (d *difference) Error() string { return d.text }

// checkData says what is wrong with got as the answer to SEEK_DATA from off; -1 is ENXIO. Exact wants that no
// block is told as data that nothing touched.
func (m *model) checkData(off, got int, exact bool) error {
	end := got
	if got < 0 {
		end = m.size()
	}
	if end > m.size() || got >= 0 && (got < off || got >= m.size()) {
		return fmt.Errorf("data from %d is at %d, and the file has %d bytes", off, got, m.size())
	}
	for k := off; k < end; k++ {
		if m.data[k] != 0 {
			return &difference{k, fmt.Sprintf("data from %d is at %d, but there is some at %d", off, got, k)}
		}
	}
	if exact && got >= 0 && !m.touched[got/block] {
		return &difference{got, fmt.Sprintf("data from %d is at %d, which is in a hole", off, got)}
	}
	return nil
}

// checkHole is checkData for SEEK_HOLE.
func (m *model) checkHole(off, got int, exact bool) error {
	if got < off || got > m.size() {
		return fmt.Errorf("the hole from %d is at %d, and the file has %d bytes", off, got, m.size())
	}
	if got < m.size() && m.data[got] != 0 {
		return &difference{got, fmt.Sprintf("the hole from %d is at %d, where there is data", off, got)}
	}
	for b := off / block; exact && b <= (got-1)/block && got > off; b++ {
		if !m.touched[b] {
			return &difference{b * block, fmt.Sprintf("the hole from %d is at %d, but there is one in block %d", off, got, b)}
		}
	}
	return nil
}
