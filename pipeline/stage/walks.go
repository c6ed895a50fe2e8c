package stage

import (
	"sync"
	"sync/atomic"

	"coffer/chunkfmt"
)

// walks notices who goes through groups that lie near each other in the log. That is what reading a tree comes to, file
// after file, as it was written file after file, if seldom in the same order: reading ahead in one file is no help where
// files are small. Methods are safe for concurrent use.
type walks struct {
	last atomic.Uint64 // the group that was read last: most reads are of the same one

	mu  sync.Mutex // guards all; nothing is locked after it
	all [walksKept]walk
}

// walk is a reader going through the log; at the zero value there is none.
type walk struct{ at, from chunkfmt.Seq } // where it is, and where it was before

const (
	walksKept = 4 // that moved last: so many read at the same time
	// walkStep is how far the next group of a walk is at most: between two groups are the numbers of batches, and of
	// groups that were found to be known.
	walkStep = 16
)

// read notes that group seq is read, and says whether it is a step of a walk.
func (w *walks) read(seq chunkfmt.Seq) bool {
	if w.last.Swap(uint64(seq)) == uint64(seq) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	k := 0 // its place, or that of the walk that moved longest ago
	for ; k < walksKept-1 && !w.all[k].near(seq); k++ {
	}
	was, now := w.all[k], walk{at: seq}
	near := was.near(seq)
	if near {
		now.from = was.at
	}
	copy(w.all[1:k+1], w.all[:k])
	w.all[0] = now
	return near && seq != was.at && seq != was.from // to and fro is no step
}

// near says whether a reader that is at w.at may come to seq.
func (w *walk) near(seq chunkfmt.Seq) bool {
	return w.at != 0 && seq <= w.at+walkStep && seq+walkStep >= w.at
}
