package cleaner

import (
	"slices"

	"coffer/chunkfmt"
)

// work says what is to be done with a chunk.
type work struct {
	left   []piece
	groups int   // that go
	gain   int64 // bytes
	empty  bool  // nothing is left but gone tags
}

// piece is a tag that stays, with what follows it, or a gone tag.
type piece struct {
	tag  chunkfmt.Tag // its Offset is that in the chunk as it is
	from int64        // place of a tag that stays
}

// workOn takes the removed ranges, ascending, out of the tags of a chunk of size bytes.
func workOn(tags []chunkfmt.Tag, dead []chunkfmt.Removed, size int64) work {
	w := work{empty: true}
	for i := range tags {
		t := &tags[i]
		switch {
		case t.Kind == chunkfmt.KindGone:
			w.gone(t)
		case t.Kind == chunkfmt.KindData && contains(dead, t.Seq):
			w.groups++
			w.gone(t)
		default:
			w.left = append(w.left, piece{tag: *t, from: int64(t.Offset)})
			w.empty = false
		}
	}
	w.gain = size - w.size()
	return w
}

// gone puts a gone tag in the place of t, or extends the one before.
func (w *work) gone(t *chunkfmt.Tag) {
	if n := len(w.left); n > 0 {
		last := &w.left[n-1].tag
		if last.Kind == chunkfmt.KindGone && last.Last()+1 == t.Seq {
			*last = chunkfmt.GoneTag(last.Seq, t.Last(), max(last.Watermark, t.Watermark), 0)
			return
		}
	}
	w.left = append(w.left, piece{tag: chunkfmt.GoneTag(t.Seq, t.Last(), t.Watermark, 0)})
}

// size is how long the chunk will be.
func (w *work) size() int64 {
	n := int64(chunkfmt.ChunkHeaderSize + chunkfmt.FooterSize(len(w.left)))
	for i := range w.left {
		n += int64(chunkfmt.TagSize + w.left[i].tag.StoredLen())
	}
	return n
}

// contains says whether a number lies in one of the ranges, which ascend.
func contains(ranges []chunkfmt.Removed, seq chunkfmt.Seq) bool {
	_, found := slices.BinarySearchFunc(ranges, seq, func(r chunkfmt.Removed, seq chunkfmt.Seq) int {
		switch {
		case r.Last < seq:
			return -1
		case r.First > seq:
			return 1
		}
		return 0
	})
	return found
}
