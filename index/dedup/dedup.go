// Package dedup knows which blocks a volume holds already, in little memory.
//
// A Table keeps 12 bytes for a block: 40 bits of its fingerprint and the number of
// its group. That says only where a block may be; each hit is confirmed against the
// group's full record, fingerprint and length, so a wrong place is never returned.
// A table may forget: then a block is stored once more, which costs space and
// nothing else. It is built from the group records and never written down.
//
// Past its memory limit a table keeps a sample of the fingerprints. A hit on one of
// them brings in the records of the groups around it, and since data that was
// written together tends to come back together, its neighbours are found as well.
//
// It is not the place to ask what a group contains: that is the index.
//
// Start reading at Table; segment.go has the hash table, recent.go the neighbours.
package dedup

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"coffer/chunkfmt"
)

// Source gives the full record of a group; the index does, and so does whatever
// knows the groups that are not in the index yet. The table keeps no reference to
// the record.
type Source interface {
	Group(chunkfmt.Seq) (chunkfmt.GroupRecord, chunkfmt.Location, bool, error)
}

// Place says where a known block is.
type Place struct {
	Seq    chunkfmt.Seq // group
	Offset uint32       // of the block in the group's raw bytes
	Length uint32       // of the block, bytes
}

// Stats are the numbers of a table at an instant.
type Stats struct {
	Entries    uint64 // blocks that can be found
	Bytes      uint64 // memory of the table, without the bounded set of recent groups
	Limit      uint64 // memory that it may take
	SampleBits uint   // 0: every block is kept; n: in the fullest part one of 2^n
	Lookups    uint64
	Hits       uint64 // confirmed
}

// Table is a set of known blocks. Add, Drop, Exclude, Lookup, Load and Watch are for one
// goroutine at a time; Stats is for any.
type Table struct {
	src    Source
	dir    []*segment // by the high bits of the tag; a segment may stand in several places
	depth  uint       // len(dir) == 1<<depth
	recent recent
	// dropped groups whose records the source may still have: a neighbour's hit must
	// not bring them back.
	dropped map[chunkfmt.Seq]struct{}
	// excluded groups likewise; nil: none are.
	excluded func(chunkfmt.Seq) bool

	limit              uint64
	resized            func(bytes uint64)
	entries, bytes     atomic.Uint64
	sample             atomic.Uint32
	lookups, confirmed atomic.Uint64
}

const (
	tagBits     = 40
	ordinalBits = 20 // of a group's session ordinal that an entry can hold
	numberBits  = 36 // of its number in the session
	entryBytes  = 12
	maxDepth    = 20
)

// New makes an empty table of at most limit bytes, or of one smallest segment
// (6 KiB) if that is more. Hits are confirmed by src.
func New(limit int64, src Source) *Table {
	first := newSegment(0, minSegment)
	t := &Table{
		src: src, dir: []*segment{first}, dropped: map[chunkfmt.Seq]struct{}{}, limit: uint64(max(limit, 0)),
		resized: func(uint64) {},
	}
	t.recent.init()
	t.bytes.Store(first.bytes())
	return t
}

// Watch has f told how much memory the table takes, in bytes, now and whenever that changes.
func (t *Table) Watch(f func(bytes uint64)) {
	t.resized = f
	f(t.bytes.Load())
}

// take counts n more bytes of memory.
func (t *Table) take(n uint64) { t.resized(t.bytes.Add(n)) }

// tagOf is the part of a fingerprint that an entry keeps. Fingerprints are keyed
// hashes, so any bits of them are as good as random.
func tagOf(fp *chunkfmt.Fingerprint) uint64 {
	return binary.BigEndian.Uint64(fp[:8]) >> (64 - tagBits)
}

// pack squeezes a sequence number into an entry; false if it does not fit.
func pack(seq chunkfmt.Seq) (uint64, bool) {
	o, n := uint64(seq.Ordinal()), seq.Number()
	if seq == 0 || o>>ordinalBits != 0 || n>>numberBits != 0 {
		return 0, false
	}
	return o<<numberBits | n, true
}

func unpack(v uint64) chunkfmt.Seq {
	return chunkfmt.MakeSeq(uint32(v>>numberBits), v&(1<<numberBits-1))
}

// Add makes the blocks of a group known. A block known before is from now on found
// in this group.
func (t *Table) Add(g chunkfmt.GroupRecord) {
	v, ok := pack(g.Seq)
	if !ok {
		return
	}
	delete(t.dropped, g.Seq)
	for i := range g.Blocks {
		t.insert(tagOf(&g.Blocks[i].Fingerprint), v)
	}
}

func (t *Table) insert(tag, v uint64) {
	s := t.dir[t.slot(tag)]
	for s.full() {
		if !t.widen(s, tag) {
			before := s.n
			s.thin()
			t.entries.Add(-uint64(before - s.n))
			t.sample.Store(max(t.sample.Load(), uint32(s.sample)))
		}
		s = t.dir[t.slot(tag)]
	}
	if s.put(tag, v) {
		t.entries.Add(1)
	}
}

func (t *Table) slot(tag uint64) uint64 { return tag >> (tagBits - t.depth) }

// widen gives the segment more room, or splits it in two; false if the limit does
// not allow that. Either moves a few thousand entries, so that no Add is slow.
func (t *Table) widen(s *segment, tag uint64) bool {
	size := nextSize(s.size())
	if size <= maxSegment {
		return t.replace(s, tag, s.bytes(), s.resized(size))
	}
	if s.depth == maxDepth {
		return false
	}
	if s.depth == t.depth {
		if t.bytes.Load()+uint64(len(t.dir))*8 > t.limit {
			return false
		}
		t.take(uint64(len(t.dir)) * 8)
		wide := make([]*segment, 2*len(t.dir))
		for i, p := range t.dir {
			wide[2*i], wide[2*i+1] = p, p
		}
		t.dir, t.depth = wide, t.depth+1
	}
	lo, hi := s.split()
	return t.replace(s, tag, s.bytes(), lo, hi)
}

// replace puts the new segments at the places of s in the directory.
func (t *Table) replace(s *segment, tag uint64, old uint64, with ...*segment) bool {
	var bytes uint64
	for _, w := range with {
		bytes += w.bytes()
	}
	if t.bytes.Load()-old+bytes > t.limit {
		return false
	}
	t.take(bytes - old)
	span := uint64(1) << (t.depth - s.depth)
	from := t.slot(tag) &^ (span - 1)
	each := span / uint64(len(with))
	for i := range span {
		t.dir[from+i] = with[i/each]
	}
	return true
}

// Lookup says where the block with the fingerprint and length (bytes) is, if it is
// known. A block that the source cannot confirm is not known. The error is the
// source's.
func (t *Table) Lookup(fp chunkfmt.Fingerprint, length uint32) (Place, bool, error) {
	t.lookups.Add(1)
	p, ok, err := t.find(fp, length)
	if err != nil {
		return Place{}, false, fmt.Errorf("confirming a known block: %w", err)
	}
	if ok {
		t.confirmed.Add(1)
	}
	return p, ok, nil
}

func (t *Table) find(fp chunkfmt.Fingerprint, length uint32) (Place, bool, error) {
	if p, ok := t.recent.get(fp); ok && p.Length == length {
		t.follow(p.Seq)
		return p, true, nil
	}
	tag := tagOf(&fp)
	v, ok := t.dir[t.slot(tag)].get(tag)
	if !ok {
		return Place{}, false, nil
	}
	seq := unpack(v)
	if err := t.bring(seq, 1); err != nil {
		return Place{}, false, err
	}
	if p, ok := t.recent.get(fp); ok && p.Length == length {
		t.follow(seq)
		return p, true, nil
	}
	return Place{}, false, nil
}

// follow brings in the groups after a hit when a sample is all that is kept. What
// cannot be read of them is not worth failing the hit for.
func (t *Table) follow(seq chunkfmt.Seq) {
	if t.sample.Load() != 0 && !t.recent.has(seq+neighbours/2) {
		_ = t.bring(seq, neighbours)
	}
}

// bring puts the records of n groups from seq on into the recent set.
func (t *Table) bring(seq chunkfmt.Seq, n int) error {
	for i := range n {
		at := seq + chunkfmt.Seq(i)
		if t.recent.has(at) {
			continue
		}
		g, _, ok, err := t.src.Group(at)
		if err != nil {
			return err
		}
		if !ok {
			delete(t.dropped, at)
			return nil
		}
		if _, gone := t.dropped[at]; gone || t.excluded != nil && t.excluded(at) {
			continue
		}
		t.recent.add(at, g.Blocks)
	}
	return nil
}

// Drop makes the group unknown: none of its blocks is found in it again, unless it is
// added again. It takes a few words for each group dropped, until the source is seen
// to have it no longer. While the source still has the group's record that is quick, otherwise the whole table is
// searched.
func (t *Table) Drop(seq chunkfmt.Seq) error {
	t.recent.drop(seq)
	t.dropped[seq] = struct{}{}
	v, ok := pack(seq)
	if !ok {
		return nil
	}
	g, _, ok, err := t.src.Group(seq)
	if err == nil && ok {
		for i := range g.Blocks {
			tag := tagOf(&g.Blocks[i].Fingerprint)
			if t.dir[t.slot(tag)].remove(tag, v) {
				t.entries.Add(^uint64(0))
			}
		}
		return nil
	}
	// A record that cannot be read is the likely reason for dropping the group.
	var last *segment
	for _, s := range t.dir {
		if s != last {
			t.entries.Add(-uint64(s.removeWhere(func(place uint64) bool { return place == v })))
		}
		last = s
	}
	return nil
}

// Exclude makes all groups unknown that dead says so of, at once: the whole table is searched,
// which takes milliseconds for a million blocks. The source may still have their records; they
// stay unknown until Exclude is called anew, with nil for none. Then those that the source still
// has may be known again, and surely are once they are added.
func (t *Table) Exclude(dead func(chunkfmt.Seq) bool) {
	t.excluded = dead
	if dead == nil {
		return
	}
	for seq := range t.recent.groups {
		if dead(seq) {
			t.recent.drop(seq)
		}
	}
	var last *segment
	for _, s := range t.dir {
		if s != last {
			t.entries.Add(-uint64(s.removeWhere(func(v uint64) bool { return dead(unpack(v)) })))
		}
		last = s
	}
}

// Load adds all groups that each goes through; index.Index.Groups is meant.
func (t *Table) Load(each func(func(chunkfmt.GroupRecord, chunkfmt.Location) bool) error) error {
	err := each(func(g chunkfmt.GroupRecord, _ chunkfmt.Location) bool {
		t.Add(g)
		return true
	})
	if err != nil {
		return fmt.Errorf("loading known blocks: %w", err)
	}
	return nil
}

// Stats gives the numbers of the table. It may be called from any goroutine.
func (t *Table) Stats() Stats {
	hits := t.confirmed.Load() // before the lookups, to be no more than they
	return Stats{
		Entries:    t.entries.Load(),
		Bytes:      t.bytes.Load(),
		Limit:      t.limit,
		SampleBits: uint(t.sample.Load()),
		Lookups:    t.lookups.Load(),
		Hits:       hits,
	}
}
