package chunkfmt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// searchSize is how much of a damaged stretch is looked at in one piece, in bytes.
const searchSize = 64 << 10

// magicByte is the first byte of every magic.
const magicByte = 0xc0

// resync looks for the next thing behind pos that is whole and belongs where it stands.
// It returns a *DamageError for the stretch in front of it, or io.EOF when there is
// nothing more and the stream does not end like a finished chunk: then it is torn.
func (s *Scanner) resync(cause error) error {
	from := s.pos
	buf := make([]byte, min(searchSize, s.size-from))
	for base := from + 1; s.size-base >= magicSize; base += int64(len(buf) - magicSize + 1) {
		buf = buf[:min(int64(len(buf)), s.size-base)]
		if err := readFull(s.r, buf, base); err != nil {
			return err
		}
		for i := 0; i+magicSize <= len(buf); i++ {
			n := bytes.IndexByte(buf[i:len(buf)-magicSize+1], magicByte)
			if n < 0 {
				break
			}
			i += n
			found, err := s.candidate(string(buf[i:i+magicSize]), base+int64(i), from)
			if err != nil {
				return err
			}
			if found {
				s.pos = base + int64(i)
				return &DamageError{From: from, To: s.pos, Cause: cause}
			}
		}
	}
	finished, err := s.endsFinished()
	if err != nil {
		return err
	}
	if finished {
		s.pos = s.size
		return &DamageError{From: from, To: s.size, Cause: cause}
	}
	return io.EOF
}

// candidate reports whether something whole stands at pos, where a magic was seen. A
// chunk header may have been lost in the damage that began at from: then what a place
// is counted from is taken from the thing itself, and must lie in the damage.
func (s *Scanner) candidate(magic string, pos, from int64) (bool, error) {
	switch magic {
	case tagMagic:
		t, err := s.peekTag(pos)
		if err != nil {
			return intact(err)
		}
		origin, ok := relocate(s.base(&t), pos, t.Offset, from)
		if !ok || origin == s.base(&t) {
			return ok, nil
		}
		ok, err = s.confirmed(&t, pos)
		if ok {
			s.lost(origin, t.Flags&FlagHeaderTransfer != 0)
		}
		return ok, err
	case footerMagic:
		var b [footerHeadSize]byte
		n := min(footerHeadSize, s.size-pos)
		if err := readFull(s.r, b[:n], pos); err != nil {
			return false, err
		}
		head, err := parseFooterHead(b[:n])
		if err != nil {
			return intact(err)
		}
		frame, ok := relocate(s.frame, pos, uint64(head.body), from)
		if ok && frame != s.frame {
			s.lost(frame, true)
		}
		return ok, nil
	case headerMagic:
		var b [ChunkHeaderSize]byte
		n := min(ChunkHeaderSize, s.size-pos)
		if err := readFull(s.r, b[:n], pos); err != nil {
			return false, err
		}
		_, err := ParseChunkHeader(b[:n])
		if err != nil {
			return intact(err)
		}
		return true, nil
	}
	return false, nil
}

// intact turns the error of a candidate into an answer: one of an unknown format is
// whole, and Next will say so; one that is damaged is none; other errors are the reader's.
func intact(err error) (bool, error) {
	switch {
	case errors.Is(err, ErrVersion):
		return true, nil
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrTruncated):
		return false, nil
	}
	return false, err
}

// relocate returns what the place of a thing at pos is counted from: base, or else a
// start within the damage that leaves room for a chunk header.
func relocate(base, pos int64, place uint64, from int64) (int64, bool) {
	if place == uint64(pos-base) {
		return base, true
	}
	if place < ChunkHeaderSize || place > uint64(pos) {
		return 0, false
	}
	origin := pos - int64(place)
	return origin, origin >= from
}

// confirmed reports whether something stands where t, found at pos, ends: the end of the
// stream, a header, a footer, or a tag that is counted from the same place. Tags in a
// directory never pass, because what they head is not between them.
func (s *Scanner) confirmed(t *Tag, pos int64) (bool, error) {
	end := pos + int64(TagSize+t.StoredLen())
	if end == s.size {
		return true, nil
	}
	if s.size-end < magicSize {
		return false, nil
	}
	var magic [magicSize]byte
	if err := readFull(s.r, magic[:], end); err != nil {
		return false, err
	}
	if m := string(magic[:]); m == headerMagic || m == footerMagic {
		return true, nil
	}
	next, err := s.peekTag(end)
	if err != nil {
		return intact(err)
	}
	if next.Flags&FlagHeaderTransfer != t.Flags&FlagHeaderTransfer {
		return true, nil
	}
	return next.Offset == t.Offset+uint64(end-pos), nil
}

// lost notes that the header of the chunk at origin was lost in damage. Within a tape
// only a transfer may have been: the frame stays, unless the thing found is counted from it.
func (s *Scanner) lost(origin int64, framed bool) {
	layout := s.header.Layout
	taped := layout == LayoutTape || layout == LayoutTaped
	if framed || !taped {
		s.frame, s.guessed = origin, !framed
	}
	s.header, s.origin = ChunkHeader{Layout: layout}, origin
	s.headErr = fmt.Errorf("chunk header in front of byte %d: lost: %w", origin+ChunkHeaderSize, ErrDamaged)
}

// endsFinished reports whether the stream ends in the trailer of the chunk being read, or in one that is damaged, which
// does not say whose it is.
func (s *Scanner) endsFinished() (bool, error) {
	var b [footerTrailerSize]byte
	if s.size < footerTrailerSize {
		return false, nil
	}
	if err := readFull(s.r, b[:], s.size-footerTrailerSize); err != nil {
		return false, err
	}
	trailer, err := parseFooterTrailer(b[:])
	return err == nil && trailer.total == s.size-s.frame || errors.Is(err, ErrDamaged), nil
}
