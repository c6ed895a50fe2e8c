package stage

import (
	"fmt"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	"github.com/PlakarKorp/go-cdc-chunkers/chunkers/jc"
)

// Sizes of blocks, bytes.
const (
	minBlock    = 64 << 10
	normalBlock = 256 << 10
	maxBlock    = BufferSize

	// SmallBlock: shorter blocks are packed together, and unfinished ones are
	// stored provisionally at a cut.
	SmallBlock = 128 << 10
)

// cutter finds content-defined boundaries ("jc-v1.0.0": the zero value of its
// type; the kind named just "jc" has masks for blocks of 8 KiB). Where it cuts
// depends on nothing but the bytes from the last cut on. Concurrent use.
type cutter struct {
	jc   jc.JC
	opts chunkers.ChunkerOpts
}

func newCutter(key []byte) (*cutter, error) {
	c := &cutter{opts: chunkers.ChunkerOpts{
		MinSize: minBlock, NormalSize: normalBlock, MaxSize: maxBlock, Key: key,
	}}
	if err := c.jc.Setup(&c.opts); err != nil {
		return nil, fmt.Errorf("setting up the block cutter: %w", err)
	}
	return c, nil
}

// next gives the length of the first block of data. It is finished if it does
// not reach the end of data, which would let it go on, or is of full length.
func (c *cutter) next(data []byte) (n int, finished bool) {
	n = c.jc.Algorithm(&c.opts, data, len(data))
	return n, n < len(data) || n == maxBlock
}
