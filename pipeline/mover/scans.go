package mover

import (
	"slices"

	"coffer/chunkfmt"
)

// scans keeps what chunks hold that are being written, so that who looks again reads only what came since. A nil map
// keeps nothing.
type scans map[string]*scan

// scan is what was found in a chunk.
type scan struct {
	size    int64 // of the chunk then
	end     int64 // of the last entry before any damage
	damaged bool
	whole   int // entries up to end
	entries []chunkfmt.Entry
}

func (s *scan) add(e chunkfmt.Entry) {
	s.entries = append(s.entries, e)
	if !s.damaged {
		s.end, s.whole = e.At+chunkfmt.TagSize+int64(e.Tag.StoredLen()), len(s.entries)
	}
}

// of gives the entries of a chunk, which are the caller's. Read adds what lies behind the end of what is known.
func (k scans) of(c chunk, read func(*scan) error) ([]chunkfmt.Entry, error) {
	seen := k[c.name]
	if seen == nil {
		seen = &scan{size: -1}
	}
	if seen.size != c.size {
		// What looked like damage may have been a tag of which one half was there.
		seen.entries, seen.damaged = seen.entries[:seen.whole], false
		if err := read(seen); err != nil {
			return nil, err
		}
		seen.size = c.size
	}
	if k == nil {
		return seen.entries, nil
	}
	k[c.name] = seen
	return slices.Clone(seen.entries), nil
}
