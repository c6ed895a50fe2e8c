package index

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"coffer/chunkfmt"
)

// span is a stretch of a file: bytes of a group, or a hole when group is 0.
type span struct {
	start, end uint64
	group      chunkfmt.Seq
	offset     uint32 // in the group
}

func (s span) hole() bool { return s.group == 0 }

// clip is the part of s within [start, end), which must not be empty.
func (s span) clip(start, end uint64) span {
	if start > s.start {
		if !s.hole() {
			s.offset += uint32(start - s.start)
		}
		s.start = start
	}
	s.end = min(s.end, end)
	return s
}

// joins says whether t goes on where s ends, in the file and in the group.
func (s span) joins(t span) bool {
	return s.end == t.start && s.group == t.group &&
		(s.hole() || uint64(s.offset)+(s.end-s.start) == uint64(t.offset))
}

// overlay puts s over the spans, which are sorted and do not overlap.
func overlay(spans []span, s span) []span {
	n := len(spans)
	if n == 0 || spans[n-1].end <= s.start {
		return append(spans, s)
	}
	i, _ := slices.BinarySearchFunc(spans, s.start, func(e span, at uint64) int {
		if e.end <= at {
			return -1
		}
		return 1
	})
	j := i
	for j < n && spans[j].start < s.end {
		j++
	}
	var with [3]span
	k := 0
	if i < j && spans[i].start < s.start {
		with[k] = spans[i].clip(spans[i].start, s.start)
		k++
	}
	with[k] = s
	k++
	if i < j && spans[j-1].end > s.end {
		with[k] = spans[j-1].clip(s.end, spans[j-1].end)
		k++
	}
	return slices.Replace(spans, i, j, with[:k]...)
}

// merge appends to dst the data of old with that of over put on top, joined where
// it can be. Both are sorted and without overlaps; holes of over cut and vanish.
func merge(dst, old, over []span) []span {
	emit := func(s span) {
		if n := len(dst); n > 0 && dst[n-1].joins(s) {
			dst[n-1].end = s.end
			return
		}
		dst = append(dst, s)
	}
	j := 0
	upTo := func(at uint64) { // everything of over that begins before at
		for ; j < len(over) && over[j].start < at; j++ {
			if !over[j].hole() {
				emit(over[j])
			}
		}
	}
	for _, o := range old {
		at := o.start
		upTo(at)
		if j > 0 {
			at = max(at, over[j-1].end)
		}
		for at < o.end {
			if j == len(over) || over[j].start >= o.end {
				emit(o.clip(at, o.end))
				break
			}
			if over[j].start > at {
				emit(o.clip(at, over[j].start))
			}
			at = over[j].end
			upTo(over[j].start + 1)
		}
	}
	for ; j < len(over); j++ {
		if !over[j].hole() {
			emit(over[j])
		}
	}
	return dst
}

// A part is the payload of the extent bucket: up to partSpans spans of one segment
// of a file. Each is
//
//	at  size
//	 0     4  offset in the segment
//	 4     4  length
//	 8     8  group
//	16     4  offset in the group
//
// The key of a part is the file offset from which on the spans of the segment stand
// in it, up to the next part; no span crosses that.
const (
	segmentSize = 64 << 20
	partSpans   = 256
	spanSize    = 20
)

// segmentOf is the offset where the segment of a file offset begins.
func segmentOf(off uint64) uint64 { return off &^ (segmentSize - 1) }

func putSpans(b []byte, spans []span) {
	for _, s := range spans {
		binary.BigEndian.PutUint32(b, uint32(s.start&(segmentSize-1)))
		binary.BigEndian.PutUint32(b[4:], uint32(s.end-s.start))
		binary.BigEndian.PutUint64(b[8:], uint64(s.group))
		binary.BigEndian.PutUint32(b[16:], s.offset)
		b = b[spanSize:]
	}
}

func parseSpans(dst []span, segment uint64, b []byte) ([]span, error) {
	p, err := parsePacked(segment, b)
	if err != nil {
		return nil, err
	}
	for i := range p.len() {
		dst = append(dst, p.at(i))
	}
	return dst, nil
}

// packed are the spans of a part as they lie in its value.
type packed struct {
	segment uint64
	b       []byte
}

func parsePacked(segment uint64, b []byte) (packed, error) {
	if len(b)%spanSize != 0 {
		return packed{}, fmt.Errorf("%w: %d bytes of extents", ErrRebuild, len(b))
	}
	return packed{segment, b}, nil
}

func (p packed) len() int { return len(p.b) / spanSize }

func (p packed) at(i int) span {
	b := p.b[i*spanSize:]
	start := p.segment + uint64(binary.BigEndian.Uint32(b))
	return span{
		start:  start,
		end:    start + uint64(binary.BigEndian.Uint32(b[4:])),
		group:  chunkfmt.Seq(binary.BigEndian.Uint64(b[8:])),
		offset: binary.BigEndian.Uint32(b[16:]),
	}
}

// find gives the first span that ends behind off.
func (p packed) find(off uint64) int {
	return sort.Search(p.len(), func(i int) bool { return p.at(i).end > off })
}
