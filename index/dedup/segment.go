package dedup

// Sizes of a segment in entries. It grows in small steps and is split in two at the
// end, which keeps the memory for an entry between 14 and 18 bytes in a large
// table. Splitting yields two of half the size.
const (
	minSegment  = 512
	stepSegment = 1024
	midSegment  = 4096
	maxSegment  = 7168
)

func nextSize(size int) int {
	if size < midSegment {
		return size * 2
	}
	return size + stepSegment
}

// sizeFor is the size of a half that gets n entries: good fingerprints share out
// evenly, but nothing may break if they do not.
func sizeFor(n int) int {
	if n*20 < midSegment*17 {
		return midSegment
	}
	return maxSegment
}

// segment is an open-addressing hash table for the tags that begin with one string
// of depth bits. An entry is a 40-bit tag and a 56-bit place, spread over two
// arrays; a place of zero is an empty slot. Slots go by the tag's bits after the
// first depth ones, so the entries can be moved without their fingerprints.
type segment struct {
	depth  uint
	sample uint // only tags that end in this many zero bits are kept
	n      int
	high   []uint32 // high 32 bits of the tags
	rest   []uint64 // place<<8 | low 8 bits of the tag
}

func newSegment(depth uint, size int) *segment {
	return &segment{depth: depth, high: make([]uint32, size), rest: make([]uint64, size)}
}

func (s *segment) size() int     { return len(s.high) }
func (s *segment) bytes() uint64 { return uint64(len(s.high)) * entryBytes }
func (s *segment) full() bool    { return s.n*20 >= len(s.high)*17 }

// home is the slot where the tag would like to be; it ascends with the tag.
func (s *segment) home(tag uint64) int {
	bits := tag << s.depth & (1<<tagBits - 1)
	return int(bits * uint64(len(s.high)) >> tagBits)
}

func (s *segment) tag(i int) uint64 { return uint64(s.high[i])<<8 | s.rest[i]&0xff }

// find gives the slot of the tag, or the empty slot where it belongs.
func (s *segment) find(tag uint64) (int, bool) {
	i, high := s.home(tag), uint32(tag>>8)
	for s.rest[i]>>8 != 0 {
		if s.high[i] == high && s.tag(i) == tag {
			return i, true
		}
		if i++; i == len(s.high) {
			i = 0
		}
	}
	return i, false
}

// put sets the place of a tag and says whether the tag is new. Tags outside the
// sample are ignored. There must be an empty slot.
func (s *segment) put(tag, place uint64) bool {
	if tag&(1<<s.sample-1) != 0 {
		return false
	}
	i, ok := s.find(tag)
	s.high[i], s.rest[i] = uint32(tag>>8), place<<8|tag&0xff
	if !ok {
		s.n++
	}
	return !ok
}

func (s *segment) get(tag uint64) (place uint64, ok bool) {
	i, ok := s.find(tag)
	return s.rest[i] >> 8, ok
}

// remove takes the tag out if it has that place, and closes the gap, so that no
// later search ends too early.
func (s *segment) remove(tag, place uint64) bool {
	i, ok := s.find(tag)
	if !ok || s.rest[i]>>8 != place {
		return false
	}
	s.n--
	size := len(s.high)
	for j := i; ; {
		if j++; j == size {
			j = 0
		}
		if s.rest[j]>>8 == 0 {
			break
		}
		// The entry at j may move to the gap at i if its home does not lie between them.
		if h := s.home(s.tag(j)); (j-h+size)%size >= (j-i+size)%size {
			s.high[i], s.rest[i] = s.high[j], s.rest[j]
			i = j
		}
	}
	s.high[i], s.rest[i] = 0, 0
	return true
}

// removeWhere takes out every tag with such a place and says how many there were.
func (s *segment) removeWhere(is func(place uint64) bool) int {
	before := s.n
	for i := 0; i < len(s.rest); {
		place := s.rest[i] >> 8
		if place == 0 || !is(place) || !s.remove(s.tag(i), place) {
			i++
		}
	}
	return before - s.n
}

// resized is a copy with another number of slots.
func (s *segment) resized(size int) *segment {
	c := newSegment(s.depth, size)
	c.sample = s.sample
	s.copyTo(func(uint64) *segment { return c })
	return c
}

// split shares the entries between two segments by the next bit of their tags.
func (s *segment) split() (lo, hi *segment) {
	bit := uint64(1) << (tagBits - 1 - s.depth)
	ones := 0
	for i, r := range s.rest {
		if r>>8 != 0 && s.tag(i)&bit != 0 {
			ones++
		}
	}
	lo, hi = newSegment(s.depth+1, sizeFor(s.n-ones)), newSegment(s.depth+1, sizeFor(ones))
	lo.sample, hi.sample = s.sample, s.sample
	s.copyTo(func(tag uint64) *segment {
		if tag&bit != 0 {
			return hi
		}
		return lo
	})
	return lo, hi
}

// thin halves the sample until there is room again.
func (s *segment) thin() {
	for s.full() {
		s.sample++
		c := newSegment(s.depth, s.size())
		c.sample = s.sample
		s.copyTo(func(uint64) *segment { return c })
		*s = *c
	}
}

func (s *segment) copyTo(to func(tag uint64) *segment) {
	for i, r := range s.rest {
		if r>>8 != 0 {
			tag := s.tag(i)
			to(tag).put(tag, r>>8)
		}
	}
}
