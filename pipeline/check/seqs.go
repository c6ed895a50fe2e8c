package check

import (
	"cmp"
	"maps"
	"slices"

	"coffer/chunkfmt"
	"coffer/media/scrub"
)

// seqSet is a set of numbers that come mostly in order, so that few ranges hold them.
type seqSet struct{ ranges []scrub.Range }

// add adds the numbers from first to last.
func (s *seqSet) add(first, last chunkfmt.Seq) {
	if n := len(s.ranges); n > 0 && s.ranges[n-1].Last+1 == first {
		s.ranges[n-1].Last = last
		return
	}
	s.ranges = append(s.ranges, scrub.Range{First: first, Last: last})
}

// settle is to be called between the last add and the first has.
func (s *seqSet) settle() {
	slices.SortFunc(s.ranges, func(a, b scrub.Range) int { return cmp.Compare(a.First, b.First) })
	var merged []scrub.Range
	for _, r := range s.ranges {
		if n := len(merged); n > 0 && r.First <= merged[n-1].Last+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	s.ranges = merged
}

func (s *seqSet) has(seq chunkfmt.Seq) bool {
	i, found := slices.BinarySearchFunc(s.ranges, seq, func(r scrub.Range, seq chunkfmt.Seq) int { return cmp.Compare(r.First, seq) })
	return found || i > 0 && s.ranges[i-1].Last >= seq
}

func sorted[V any](m map[chunkfmt.Seq]V) []chunkfmt.Seq { return slices.Sorted(maps.Keys(m)) }
