package stage

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ring is the memory of a cache. A hand goes round in it and places one item
// behind the other where older ones lay, and passes over those that are pinned
// or were used again since it was there last (CLOCK, Corbató 1968, with items of
// any size).
type ring struct {
	memory []byte
	hand   int   // where the next item may begin
	next   *item // the first one at or behind the hand; nil: there is none
	first  *item
	last   *item
}

// slot is an item's place in a ring, which lists its items by their places.
type slot struct {
	at, end     int // in memory; the end is 0 where there is no place
	left, right *item
}

func (s *slot) placed() bool { return s.end > 0 }

// slotAlign is what places begin at, bytes: a cache line.
const slotAlign = 64

func newRing(limit int64) (*ring, error) {
	limit = max(limit, 1)
	memory, err := unix.Mmap(-1, 0, int(limit), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes for the cache of groups: %w", limit, err)
	}
	// It holds plaintext, which has no place in a core file.
	if err := unix.Madvise(memory, unix.MADV_DONTDUMP); err != nil {
		_ = unix.Munmap(memory)
		return nil, fmt.Errorf("keep the cache of groups out of core files: %w", err)
	}
	// All of it is going to be used, and a page fault for every 4 KiB takes longer than what is done with
	// them. Where there are no large pages, small ones do.
	_ = unix.Madvise(memory, unix.MADV_HUGEPAGE)
	return &ring{memory: memory}, nil
}

// place gives it n bytes, at least one, and tells evicted of each item that had
// to go for that; nil if there is no room that is not pinned.
func (r *ring) place(it *item, n int, evicted func(*item)) []byte {
	size := (max(n, 1) + slotAlign - 1) &^ (slotAlign - 1)
	// Two rounds: the first may do no more than find out what was not used again.
	for rounds := 0; rounds < 3; {
		limit := len(r.memory)
		if r.next != nil {
			limit = r.next.at
		}
		switch {
		case limit-r.hand >= size:
			it.at, it.end = r.hand, r.hand+size
			r.insert(it)
			r.hand = it.end
			return r.memory[it.at : it.at+n : it.at+n]
		case r.next == nil:
			r.hand, r.next = 0, r.first
			rounds++
		case r.next.pins > 0 || r.next.used:
			r.next.used = false
			r.hand, r.next = r.next.end, r.next.right
		default:
			old := r.next
			r.remove(old)
			evicted(old)
		}
	}
	return nil
}

// insert lists it before next.
func (r *ring) insert(it *item) {
	it.right = r.next
	if r.next != nil {
		it.left, r.next.left = r.next.left, it
	} else {
		it.left, r.last = r.last, it
	}
	if it.left != nil {
		it.left.right = it
	} else {
		r.first = it
	}
}

// remove takes it out, if it is in.
func (r *ring) remove(it *item) {
	if !it.placed() {
		return
	}
	if r.next == it {
		r.next = it.right
	}
	if it.left != nil {
		it.left.right = it.right
	} else {
		r.first = it.right
	}
	if it.right != nil {
		it.right.left = it.left
	} else {
		r.last = it.left
	}
	it.slot = slot{}
}

func (r *ring) close() error {
	memory := r.memory
	r.memory = nil
	if err := unix.Munmap(memory); err != nil {
		return fmt.Errorf("unmap the cache of groups: %w", err)
	}
	return nil
}
