package media

import (
	"cmp"
	"iter"
	"slices"

	"coffer/chunkfmt"
)

// maxRanges bounds the ranges kept of one chunk. A chunk as it is first written
// has one, or a few where a session changes; a chunk of moved groups has many,
// and the narrowest gaps are then taken in.
const maxRanges = 32

// seqRange is a stretch of numbers, both ends included, of which a chunk holds
// the ends and perhaps what is between.
type seqRange struct{ first, last chunkfmt.Seq }

// makeRanges covers ascending numbers with at most maxRanges ranges.
func makeRanges(seqs iter.Seq[chunkfmt.Seq]) []seqRange {
	var all []seqRange
	for seq := range seqs {
		if n := len(all); n > 0 && seq <= all[n-1].last+1 {
			all[n-1].last = seq
		} else {
			all = append(all, seqRange{seq, seq})
		}
	}
	if len(all) <= maxRanges {
		return all
	}
	gaps := make([]chunkfmt.Seq, 0, len(all)-1)
	for i := range len(all) - 1 {
		gaps = append(gaps, all[i+1].first-all[i].last)
	}
	slices.SortFunc(gaps, func(a, b chunkfmt.Seq) int { return cmp.Compare(b, a) })
	kept := gaps[:maxRanges-1] // the widest
	narrowest := kept[len(kept)-1]
	equal := 0 // how many gaps of that width are kept
	for _, g := range kept {
		if g == narrowest {
			equal++
		}
	}
	merged := all[:1]
	for _, r := range all[1:] {
		gap := r.first - merged[len(merged)-1].last
		if gap == narrowest && equal > 0 {
			equal--
			merged = append(merged, r)
		} else if gap > narrowest {
			merged = append(merged, r)
		} else {
			merged[len(merged)-1].last = r.last
		}
	}
	return slices.Clip(merged)
}

// span is a range of one chunk among those of all.
type span struct {
	seqRange
	reach chunkfmt.Seq // highest last of this span and all before it
	chunk *chunk
}

// spans are ordered by first, so that those holding a number are found by going
// back from the last one that begins below it until none reaches up to it.
type spans []span

func (s spans) append(k *chunk) spans {
	for _, r := range k.ranges {
		s = append(s, span{seqRange: r, chunk: k})
	}
	return s
}

func (s spans) sort() {
	slices.SortFunc(s, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.chunk.ID, b.chunk.ID))
	})
	s.reachFrom(0)
}

// insert adds the ranges of one chunk, which as a rule come last.
func (s spans) insert(k *chunk) spans {
	for _, r := range k.ranges {
		i := s.after(r.first)
		s = slices.Insert(s, i, span{seqRange: r, chunk: k})
		s.reachFrom(i)
	}
	return s
}

// remove takes the ranges of one chunk out.
func (s spans) remove(k *chunk) spans {
	s = slices.DeleteFunc(s, func(x span) bool { return x.chunk == k })
	s.reachFrom(0)
	return s
}

// after returns the index of the first span that begins above seq.
func (s spans) after(seq chunkfmt.Seq) int {
	i, _ := slices.BinarySearchFunc(s, seq, func(x span, seq chunkfmt.Seq) int {
		if x.first <= seq {
			return -1
		}
		return 1
	})
	return i
}

func (s spans) reachFrom(i int) {
	for ; i < len(s); i++ {
		s[i].reach = s[i].last
		if i > 0 {
			s[i].reach = max(s[i].reach, s[i-1].reach)
		}
	}
}

// holding appends to list the chunks with a range that holds seq, the one that
// begins closest to it first.
func (s spans) holding(list []*chunk, seq chunkfmt.Seq) []*chunk {
	for i := s.after(seq) - 1; i >= 0 && s[i].reach >= seq; i-- {
		if s[i].last >= seq {
			list = append(list, s[i].chunk)
		}
	}
	return list
}
