package index

const (
	arenaBlock = 1 << 20
	arenaKeep  = 16 // blocks kept for the next Apply
)

// arena hands out the memory for the values of one Apply. bbolt refers to a value
// until the commit and copies keys, so a block is used again only after that.
type arena struct {
	full [][]byte
	free [][]byte
	cur  []byte // unused rest of the last block of full
}

// take gives n bytes of any content.
func (a *arena) take(n int) []byte {
	if n > arenaBlock/4 {
		return make([]byte, n)
	}
	if n > len(a.cur) {
		var b []byte
		if k := len(a.free); k > 0 {
			b, a.free = a.free[k-1], a.free[:k-1]
		} else {
			b = make([]byte, arenaBlock)
		}
		a.full = append(a.full, b)
		a.cur = b
	}
	b := a.cur[:n:n]
	a.cur = a.cur[n:]
	return b
}

// reset takes all memory back.
func (a *arena) reset() {
	a.free = append(a.free, a.full...)
	a.full, a.cur = a.full[:0], nil
	if len(a.free) > arenaKeep {
		clear(a.free[arenaKeep:])
		a.free = a.free[:arenaKeep]
	}
}
