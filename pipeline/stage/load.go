package stage

import (
	"coffer/chunkfmt"
	"coffer/pipeline"
)

// What travels in Buffer.Payload: a *load from collect to pack, or a *waiter,
// which is a marker, or a *piece of a checkpoint; a *packed from pack to compress; a *sealed from there on.

// load says which blocks lie in a buffer, in the order of their bytes.
type load struct{ blocks []*Block }

// packed says which groups lie in a buffer, and the marker that comes true
// when they are stable.
type packed struct {
	groups []group
	mark   *waiter
	head   Head // the log is stable up to there with the mark; zero: that is not told
}

// group is one group on its way to the medium.
type group struct {
	kind    chunkfmt.Kind
	flags   chunkfmt.Flags
	seq     chunkfmt.Seq
	plain   []byte // in the input buffer
	content []byte // block fingerprints; nil: a hash of plain stands in
	options []byte
	entry   *entry // data only
	private chunkfmt.Private

	// Filled in by compress and seal.
	at     int    // of the tag in the output buffer
	body   []byte // compressed, at its final place; nil: plain is stored
	tag    chunkfmt.Tag
	length int // of tag, options and sealed bytes
}

// sealed is a packed whose bytes lie, or will, in the output buffer that it
// belongs to.
type sealed struct {
	packed
	in     *pipeline.Buffer // given back by seal
	length int              // bytes used of the output buffer
}
