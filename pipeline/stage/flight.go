package stage

import (
	"slices"
	"sync"

	"coffer/chunkfmt"
)

// Flight knows the groups that have a sequence number but are not in the index
// yet, and their present form: plain in the pipe, sealed and held, or stored.
// Methods are safe for concurrent use.
type Flight struct {
	mu      sync.RWMutex // guards what follows; nothing is locked after it
	entries map[chunkfmt.Seq]*entry
	order   []chunkfmt.Seq // of entries, ascending
}

// NewFlight makes an empty table. One serves one volume, over any number of
// sessions.
func NewFlight() *Flight { return &Flight{entries: make(map[chunkfmt.Seq]*entry)} }

// Record gives the group record of seq. Its blocks are not to be changed.
func (f *Flight) Record(seq chunkfmt.Seq) (chunkfmt.GroupRecord, bool) {
	e := f.entry(seq)
	if e == nil {
		return chunkfmt.GroupRecord{}, false
	}
	return e.record(), true
}

// Location says where group seq is stored; false if it is not yet, or is not
// known.
func (f *Flight) Location(seq chunkfmt.Seq) (chunkfmt.Location, bool) {
	e := f.entry(seq)
	if e == nil {
		return chunkfmt.Location{}, false
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.location, e.form == formStored
}

// Forget drops all groups up to and including upTo, which the index has
// applied.
func (f *Flight) Forget(upTo chunkfmt.Seq) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(f.order) && f.order[n] <= upTo {
		delete(f.entries, f.order[n])
		n++
	}
	f.order = slices.Delete(f.order, 0, n)
}

// Len is the number of groups that are held.
func (f *Flight) Len() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.order)
}

func (f *Flight) entry(seq chunkfmt.Seq) *entry {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.entries[seq]
}

// add makes an entry for a group that blocks will be added to. Sequence numbers
// only grow.
func (f *Flight) add(seq chunkfmt.Seq, mem *memory) *entry {
	e := &entry{seq: seq, mem: mem, form: formPlain}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries[seq] = e
	f.order = append(f.order, seq)
	return e
}

// behind lists all groups behind last.
func (f *Flight) behind(last chunkfmt.Seq) []chunkfmt.Seq {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, found := slices.BinarySearch(f.order, last)
	if found {
		n++
	}
	return slices.Clone(f.order[n:])
}

// void drops all groups behind last: a session that has failed leaves them void
// for ever.
func (f *Flight) void(last chunkfmt.Seq) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.order)
	for n > 0 && f.order[n-1] > last {
		n--
		delete(f.entries, f.order[n])
	}
	f.order = f.order[:n]
}
