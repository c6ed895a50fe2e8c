package dedup

import "coffer/chunkfmt"

const (
	neighbours   = 32   // groups brought in after a hit on a sample
	recentGroups = 1024 // at most
	recentBlocks = 8192 // at most, in all of them, and one group more
)

// recent holds the full fingerprints of the groups looked at last, oldest out first.
type recent struct {
	places map[chunkfmt.Fingerprint]Place
	groups map[chunkfmt.Seq][]chunkfmt.Fingerprint
	order  []chunkfmt.Seq // oldest first; may name groups dropped since
	blocks int
}

func (r *recent) init() {
	r.places = make(map[chunkfmt.Fingerprint]Place)
	r.groups = make(map[chunkfmt.Seq][]chunkfmt.Fingerprint)
}

func (r *recent) has(seq chunkfmt.Seq) bool {
	_, ok := r.groups[seq]
	return ok
}

func (r *recent) get(fp chunkfmt.Fingerprint) (Place, bool) {
	p, ok := r.places[fp]
	return p, ok
}

func (r *recent) add(seq chunkfmt.Seq, blocks []chunkfmt.BlockRecord) {
	for len(r.order) > 0 && (len(r.groups) >= recentGroups || r.blocks+len(blocks) > recentBlocks) {
		oldest := r.order[0]
		r.order = r.order[1:]
		r.drop(oldest)
	}
	fps := make([]chunkfmt.Fingerprint, len(blocks))
	var off uint32
	for i, b := range blocks {
		fps[i] = b.Fingerprint
		r.places[b.Fingerprint] = Place{Seq: seq, Offset: off, Length: b.Length}
		off += b.Length
	}
	r.groups[seq] = fps
	r.order = append(r.order, seq)
	r.blocks += len(blocks)
}

func (r *recent) drop(seq chunkfmt.Seq) {
	fps, ok := r.groups[seq]
	if !ok {
		return
	}
	for _, fp := range fps {
		if r.places[fp].Seq == seq {
			delete(r.places, fp)
		}
	}
	delete(r.groups, seq)
	r.blocks -= len(fps)
}
