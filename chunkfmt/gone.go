package chunkfmt

// GoneTag makes the tag that stands in a cleaned chunk where the groups with the numbers
// first to last stood, which were removed: so the numbers of a session stay without a gap,
// and whoever reads them, with the key or without, tells what was removed from what was lost.
// Nothing follows it. watermark is the highest that their tags had, at the place of the
// tag in the chunk, in bytes.
//
// It is not authenticated: the removal is, by a batch of the log.
func GoneTag(first, last, watermark Seq, at uint64) Tag {
	return Tag{
		Version: TagVersion, Kind: KindGone, Seq: first, Restart: last + 1,
		Watermark: watermark, Offset: at, CRC: Checksum(),
	}
}

// Last returns the last number that the tag stands for: its own, unless it is a gone tag.
func (t *Tag) Last() Seq {
	if t.Kind == KindGone {
		return t.Restart - 1
	}
	return t.Seq
}
