package index

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// endOfFile is the offset that a truncating hole reaches.
const endOfFile = math.MaxInt64

// delta is a change of a file's extents.
type delta struct {
	ino chunkfmt.Ino
	span
}

func (a *applier) addExtent(o op) error {
	if o.del {
		return fmt.Errorf("extents are put, not deleted: %w", chunkfmt.ErrDamaged)
	}
	if err := keyLength(o.key, 16, 16); err != nil {
		return err
	}
	ino, err := a.see(o.key)
	if err != nil {
		return err
	}
	e, err := chunkfmt.ParseExtent(o.val)
	if err != nil {
		return err
	}
	end := min(e.Offset+e.Length, endOfFile)
	if end < e.Offset+e.Length && e.Group != 0 {
		return fmt.Errorf("extent reaches %d: %w", e.Offset+e.Length, chunkfmt.ErrDamaged)
	}
	if e.Offset < end {
		a.deltas = append(a.deltas, delta{ino, span{e.Offset, end, e.Group, e.GroupOffset}})
	}
	return nil
}

// flushExtents lays the deltas of each file over one another and then over what the
// file has.
func (a *applier) flushExtents() error {
	if len(a.deltas) == 0 {
		return nil
	}
	slices.SortStableFunc(a.deltas, func(a, b delta) int { return cmp.Compare(a.ino, b.ino) })
	m := &merger{a: a, now: a.bucket(extents.now), past: a.bucket(extents.past)}
	m.cursor = m.now.Cursor()
	var over []span
	for i := 0; i < len(a.deltas); {
		ino := a.deltas[i].ino
		over = over[:0]
		for ; i < len(a.deltas) && a.deltas[i].ino == ino; i++ {
			over = overlay(over, a.deltas[i].span)
		}
		if err := m.file(ino, over); err != nil {
			return fmt.Errorf("inode %d: %w", ino, err)
		}
	}
	a.deltas = a.deltas[:0]
	return nil
}

// merger changes the parts of files.
type merger struct {
	a         *applier
	now, past *bolt.Bucket
	cursor    *bolt.Cursor
	parts     []part // of the segment at hand
	over      []span // what is new in it
	old, res  []span // scratch
	key       [16]byte
}

// part is a part as it stands in the bucket.
type part struct {
	start   uint64
	since   uint32
	payload []byte
	exists  bool
}

// file lays sorted spans over those of a file, a segment at a time. Segments that
// do not exist cost a hole nothing.
func (m *merger) file(ino chunkfmt.Ino, over []span) error {
	fresh := ino > m.a.known
	for i := 0; i < len(over); {
		at := over[i].start
		segment := segmentOf(at)
		if over[i].hole() {
			next, ok := uint64(0), false
			if !fresh {
				next, ok = m.next(ino, segment)
			}
			if !ok || next >= over[i].end {
				i++
				continue
			}
			segment = segmentOf(next)
			at = max(at, segment)
		}
		end := segment + segmentSize
		m.over = m.over[:0]
		for ; i < len(over) && over[i].start < end; i++ {
			m.over = append(m.over, over[i].clip(max(at, over[i].start), end))
			if over[i].end > end {
				over[i] = over[i].clip(end, over[i].end)
				break
			}
		}
		if err := m.segment(ino, segment, fresh); err != nil {
			return err
		}
	}
	return nil
}

// next gives the start of the first part at or after an offset. Only ever forward:
// going back is not safe in a bucket that keys were deleted from.
func (m *merger) next(ino chunkfmt.Ino, from uint64) (uint64, bool) {
	k, _ := m.cursor.Seek(m.at(ino, from))
	if len(k) != 16 || !bytes.Equal(k[:8], m.key[:8]) {
		return 0, false
	}
	return binary.BigEndian.Uint64(k[8:]), true
}

func (m *merger) at(ino chunkfmt.Ino, off uint64) []byte {
	binary.BigEndian.PutUint64(m.key[:], uint64(ino))
	binary.BigEndian.PutUint64(m.key[8:], off)
	return m.key[:]
}

// load reads the parts of a segment. The first always begins at its start, whether
// it exists or not, so that there is a part for every offset.
func (m *merger) load(ino chunkfmt.Ino, segment uint64, fresh bool) error {
	m.parts = append(m.parts[:0], part{start: segment})
	if fresh {
		return nil
	}
	k, v := m.cursor.Seek(m.at(ino, segment))
	for ; len(k) == 16 && bytes.Equal(k[:8], m.key[:8]); k, v = m.cursor.Next() {
		start := binary.BigEndian.Uint64(k[8:])
		if start >= segment+segmentSize {
			break
		}
		since, payload, err := unseal(k, v)
		if err != nil {
			return err
		}
		if start == segment {
			m.parts = m.parts[:0]
		}
		m.parts = append(m.parts, part{start, since, payload, true})
	}
	return nil
}

// segment lays m.over, which lies in one segment, over its parts.
func (m *merger) segment(ino chunkfmt.Ino, segment uint64, fresh bool) error {
	if err := m.load(ino, segment, fresh); err != nil {
		return err
	}
	over := m.over
	for p := 0; p < len(m.parts) && len(over) > 0; {
		end := m.partEnd(p, segment)
		if over[0].start >= end {
			p++
			continue
		}
		// Parts that are covered whole by what runs on from here are taken in.
		last := p
		for solid := solidEnd(over); last+1 < len(m.parts) && solid >= m.partEnd(last+1, segment); {
			last++
			end = m.partEnd(last, segment)
		}
		n := 0
		for n < len(over) && over[n].end <= end {
			n++
		}
		here := over[:n]
		var rest span
		if n < len(over) && over[n].start < end {
			rest = over[n].clip(end, over[n].end)
			over[n] = over[n].clip(over[n].start, end)
			here = over[:n+1]
		}
		for _, gone := range m.parts[p+1 : last+1] {
			if err := m.set(ino, gone, nil); err != nil {
				return err
			}
		}
		if err := m.part(ino, segment, m.parts[p], here); err != nil {
			return err
		}
		over = over[n:]
		if rest.end != 0 {
			over[0] = rest
		}
		p = last + 1
	}
	return nil
}

func (m *merger) partEnd(p int, segment uint64) uint64 {
	if p+1 < len(m.parts) {
		return m.parts[p+1].start
	}
	return segment + segmentSize
}

// solidEnd is where the first gap between the spans begins.
func solidEnd(over []span) uint64 {
	end := over[0].end
	for _, s := range over[1:] {
		if s.start != end {
			break
		}
		end = s.end
	}
	return end
}

// part lays spans over one part and writes it, as several if it has become too long.
func (m *merger) part(ino chunkfmt.Ino, segment uint64, p part, over []span) error {
	var err error
	if m.old, err = parseSpans(m.old[:0], segment, p.payload); err != nil {
		return err
	}
	m.res = merge(m.res[:0], m.old, over)
	if slices.Equal(m.res, m.old) {
		return nil
	}
	size := partSpans
	if n := len(m.res); n > partSpans && len(m.old) > 0 && m.old[len(m.old)-1].start >= over[0].start {
		size = (n + n/partSpans) / (n/partSpans + 1) // insertions: leave room in all of them
	}
	first := m.res[:min(size, len(m.res))]
	if err := m.set(ino, p, first); err != nil {
		return err
	}
	for rest := m.res[len(first):]; len(rest) > 0; {
		n := min(size, len(rest))
		if err := m.set(ino, part{start: rest[0].start}, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// set replaces a part; without spans it ends.
func (m *merger) set(ino chunkfmt.Ino, p part, spans []span) error {
	key := m.at(ino, p.start)
	if p.exists {
		if err := m.a.supersede(m.past, key, p.since, p.payload); err != nil {
			return err
		}
	}
	if len(spans) == 0 {
		if !p.exists {
			return nil
		}
		return m.now.Delete(key)
	}
	v := m.a.arena.take(valueHead + len(spans)*spanSize)
	putSpans(v[valueHead:], spans)
	finish(key, v, m.a.st.archive)
	return m.now.Put(key, v)
}
