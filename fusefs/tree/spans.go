package tree

import (
	"slices"
	"sort"

	"coffer/chunkfmt"
)

// span is a range of a file and where its bytes are: in a run, in a group of the
// log, or (neither) nowhere, because they are zeros.
type span struct {
	off, n int64
	run    Run
	group  chunkfmt.Seq
	at     int64 // offset in the run or group
}

func (s *span) end() int64 { return s.off + s.n }

func (s *span) hole() bool { return s.run == nil && s.group == 0 }

// clip returns the part of s inside [from, to), which must touch it.
func (s span) clip(from, to int64) span {
	if d := from - s.off; d > 0 {
		s.off, s.n = from, s.n-d
		if !s.hole() {
			s.at += d
		}
	}
	if s.end() > to {
		s.n = to - s.off
	}
	return s
}

// follows says whether s and its right neighbour r are one range.
func (s *span) follows(r *span) bool {
	if s.end() != r.off || s.run != r.run || s.group != r.group {
		return false
	}
	return s.hole() || s.at+s.n == r.at
}

// leafMax bounds what an insertion in the middle has to move.
const leafMax = 128

// spans is a set of disjoint ranges of a file, ascending. The zero value is
// empty. Ranges stand in leaves so that a file written at random stays cheap.
type spans struct {
	leaves [][]span // none is empty
	count  int
}

// find returns the place of the first range that ends beyond off.
func (m *spans) find(off int64) (leaf, i int) {
	leaf = sort.Search(len(m.leaves), func(k int) bool {
		l := m.leaves[k]
		return l[len(l)-1].end() > off
	})
	if leaf == len(m.leaves) {
		return leaf, 0
	}
	l := m.leaves[leaf]
	return leaf, sort.Search(len(l), func(k int) bool { return l[k].end() > off })
}

// each calls f for each range that touches [from, to), whole, until it returns
// false. The set must not be changed meanwhile.
func (m *spans) each(from, to int64, f func(*span) bool) {
	leaf, i := m.find(from)
	for ; leaf < len(m.leaves); leaf, i = leaf+1, 0 {
		l := m.leaves[leaf]
		for ; i < len(l); i++ {
			if l[i].off >= to || !f(&l[i]) {
				return
			}
		}
	}
}

// put makes s what stands in its range.
func (m *spans) put(s span) {
	if s.n <= 0 {
		return
	}
	if k := len(m.leaves); k > 0 { // appending is the common case
		l := m.leaves[k-1]
		last := &l[len(l)-1]
		switch {
		case last.follows(&s):
			last.n += s.n
			return
		case last.end() <= s.off:
			m.insert(k, 0, s)
			return
		case last.run != nil && last.run == s.run && last.off <= s.off && last.at+(s.off-last.off) == s.at:
			last.n = max(last.end(), s.end()) - last.off // an unfinished block again
			return
		}
	}
	m.clear(s.off, s.end())
	leaf, i := m.find(s.off)
	if i > 0 || leaf > 0 {
		pl, pi := leaf, i-1
		if i == 0 {
			pl = leaf - 1
			pi = len(m.leaves[pl]) - 1
		}
		if p := &m.leaves[pl][pi]; p.follows(&s) {
			p.n += s.n
			return
		}
	}
	m.insert(leaf, i, s)
}

// insert puts s before place (leaf, i).
func (m *spans) insert(leaf, i int, s span) {
	m.count++
	if leaf == len(m.leaves) {
		if leaf == 0 || len(m.leaves[leaf-1]) >= leafMax {
			m.leaves = append(m.leaves, append(make([]span, 0, 1), s))
			return
		}
		leaf--
		i = len(m.leaves[leaf])
	}
	l := slices.Insert(m.leaves[leaf], i, s)
	m.leaves[leaf] = l
	if len(l) > leafMax {
		half := len(l) / 2
		right := slices.Clone(l[half:])
		clear(l[half:])
		m.leaves[leaf] = l[:half]
		m.leaves = slices.Insert(m.leaves, leaf+1, right)
	}
}

// clear removes [from, to), cutting the ranges that reach into it.
func (m *spans) clear(from, to int64) {
	leaf, i := m.find(from)
	if leaf == len(m.leaves) || m.leaves[leaf][i].off >= to {
		return
	}
	if s := m.leaves[leaf][i]; s.off < from {
		m.leaves[leaf][i] = s.clip(s.off, from)
		if s.end() > to {
			m.insert(leaf, i+1, s.clip(to, s.end()))
			return
		}
		i++
	}
	for leaf < len(m.leaves) {
		l := m.leaves[leaf]
		j := i
		for j < len(l) && l[j].end() <= to {
			j++
		}
		more := j == len(l)
		if !more && l[j].off < to {
			l[j] = l[j].clip(to, l[j].end())
		}
		m.count -= j - i
		l = slices.Delete(l, i, j)
		i = 0
		if len(l) == 0 {
			m.leaves = slices.Delete(m.leaves, leaf, leaf+1)
		} else {
			m.leaves[leaf] = l
			leaf++
		}
		if !more {
			return
		}
	}
}

// replace makes what stands in [from, to) as bytes of the run old the same bytes
// of the run tail, whose offset 0 is from.
func (m *spans) replace(from, to int64, old, tail Run) {
	var found []span
	m.each(from, to, func(s *span) bool {
		if s.run == old {
			c := s.clip(from, to)
			found = append(found, span{off: c.off, n: c.n, run: tail, at: c.off - from})
		}
		return true
	})
	for _, s := range found {
		m.clear(s.off, s.end())
		leaf, i := m.find(s.off)
		m.insert(leaf, i, s)
	}
}
