package chunkfmt

import (
	"errors"
	"fmt"
	"io"
)

// Entry is one tag that a [Scanner] found.
type Entry struct {
	Tag     Tag
	Options []byte  // the options header, unchecked unless CheckPayload passed; the caller's
	At      int64   // place of the tag, in bytes from the start of the stream
	Chunk   ChunkID // chunk that it stands in; 0 when that chunk's header is damaged
}

// Scanner reads a chunk, or a stream of chunks in any layout, from its start, without a
// key and without a footer. It holds one tag with its options and one search buffer at a
// time, whatever the stream says. One goroutine at a time.
type Scanner struct {
	r       io.ReaderAt
	size    int64
	pos     int64       // where the next tag, header or footer is expected
	valid   int64       // end of the last thing that was whole
	origin  int64       // what the Offset of a tag counts from
	frame   int64       // start of the framed chunk or tape: what a footer counts from
	guessed bool        // frame was inferred from a tag; a footer or transfer may correct it
	header  ChunkHeader // in force; zero when damaged
	headErr error       // why there is no header in force
	started bool
	done    error // what every further Next returns
}

// NewScanner returns a scanner of the first size bytes of r. An error of r ends the scan:
// a reader that shall get over unreadable sectors must give zeros for them.
func NewScanner(r io.ReaderAt, size int64) *Scanner { return &Scanner{r: r, size: size} }

// Header returns the chunk header in force: the first one before the first Next, then
// that of the last entry's chunk. It fails when that one is not whole; scanning goes on
// all the same.
func (s *Scanner) Header() (ChunkHeader, error) {
	s.start()
	return s.header, s.headErr
}

// Valid returns where the last whole tag with its bytes, header or footer ended. After
// io.EOF, everything from there to the end of the stream is torn. After damage it is the
// end of what was read beyond it.
func (s *Scanner) Valid() int64 { return s.valid }

// Skip has the scan go on at pos, where something begins that another scan of the stream has come to: nothing before it is
// looked at but the first header.
func (s *Scanner) Skip(pos int64) {
	s.start()
	if s.done == nil && pos > s.pos {
		s.advance(pos - s.pos)
	}
}

// Next returns the next tag whose bytes are all there. Header transfers are taken in like
// chunk headers, and not returned. At the end of the valid prefix and after the last footer it
// returns io.EOF. A damaged stretch gives one *DamageError, after which Next goes on
// behind it. An intact header or tag of an unknown format ends the scan with ErrVersion.
// Next does not read sealed bytes: see CheckPayload.
func (s *Scanner) Next() (Entry, error) {
	s.start()
	for s.done == nil {
		e, found, err := s.step()
		if err != nil {
			var damage *DamageError
			if !errors.As(err, &damage) {
				s.done = err
			}
			return Entry{}, err
		}
		if found {
			return e, nil
		}
	}
	return Entry{}, s.done
}

// start reads the header at the start of the stream. A damaged one leaves pos there, for
// step to report.
func (s *Scanner) start() {
	if s.started {
		return
	}
	s.started = true
	s.headErr = s.readHeader()
	if errors.Is(s.headErr, ErrVersion) || s.headErr != nil && !isFormat(s.headErr) {
		s.done = s.headErr
	}
}

// isFormat reports whether err is about the bytes and not about reading them.
func isFormat(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrVersion) || errors.Is(err, ErrNoFooter)
}

// step takes in one thing at pos. It returns io.EOF at the end.
func (s *Scanner) step() (e Entry, found bool, err error) {
	if s.pos >= s.size {
		return e, false, io.EOF
	}
	var magic [magicSize]byte
	if s.size-s.pos < magicSize {
		return e, false, io.EOF
	}
	if err := readFull(s.r, magic[:], s.pos); err != nil {
		return e, false, err
	}
	switch string(magic[:]) {
	case tagMagic:
		e, found, err = s.readTag()
	case headerMagic:
		err = s.readHeader()
	case footerMagic:
		err = s.readFooter()
	default:
		err = fmt.Errorf("no tag, header or footer: %w", ErrDamaged)
	}
	var damage *DamageError
	switch {
	case err == nil || errors.As(err, &damage), errors.Is(err, ErrVersion), err == io.EOF, !isFormat(err):
		return e, found, err
	default:
		return Entry{}, false, s.resync(err)
	}
}

func (s *Scanner) advance(n int64) {
	s.pos += n
	s.valid = s.pos
}

func (s *Scanner) readHeader() error {
	var b [ChunkHeaderSize]byte
	n := min(ChunkHeaderSize, s.size-s.pos)
	if err := readFull(s.r, b[:n], s.pos); err != nil {
		return err
	}
	h, err := ParseChunkHeader(b[:n])
	if err != nil {
		return err
	}
	if h.Layout != LayoutTaped { // else what is left of a transfer whose tag was damaged
		s.frame, s.guessed = s.pos, false
	}
	s.header, s.headErr, s.origin = h, nil, s.pos
	s.advance(ChunkHeaderSize)
	return nil
}

// peekTag reads the tag at pos and checks that it belongs there.
func (s *Scanner) peekTag(pos int64) (Tag, error) {
	var b [TagSize]byte
	n := min(TagSize, s.size-pos)
	if err := readFull(s.r, b[:n], pos); err != nil {
		return Tag{}, err
	}
	return ParseTag(b[:n])
}

// base returns what the Offset of t, found at pos, counts from.
func (s *Scanner) base(t *Tag) int64 {
	if t.Flags&FlagHeaderTransfer != 0 {
		return s.frame
	}
	return s.origin
}

func (s *Scanner) readTag() (Entry, bool, error) {
	t, err := s.peekTag(s.pos)
	if err != nil {
		return Entry{}, false, err
	}
	if t.Flags&FlagHeaderTransfer != 0 {
		s.settle(t.Offset)
	}
	// The check keeps the scan out of directories, whose tags look like any other.
	if t.Offset != uint64(s.pos-s.base(&t)) {
		return Entry{}, false, fmt.Errorf("tag %v at %d says it is at %d: %w", t.Seq, s.pos-s.base(&t), t.Offset, ErrDamaged)
	}
	end := s.pos + int64(TagSize+t.StoredLen())
	if end > s.size {
		return Entry{}, false, io.EOF
	}
	options := make([]byte, t.OptionsLen)
	if err := readFull(s.r, options, s.pos+TagSize); err != nil {
		return Entry{}, false, err
	}
	if t.Flags&FlagHeaderTransfer != 0 {
		if err := s.takeTransfer(&t, options, end); err != nil {
			return Entry{}, false, err
		}
		s.advance(end - s.pos)
		return Entry{}, false, nil
	}
	e := Entry{Tag: t, Options: options, At: s.pos, Chunk: s.header.Chunk}
	s.advance(end - s.pos)
	return e, true, nil
}

// settle corrects a guessed frame by the place that the thing at pos gives.
func (s *Scanner) settle(place uint64) {
	if s.guessed && place <= uint64(s.pos) {
		s.frame, s.guessed = s.pos-int64(place), false
	}
}

func (s *Scanner) takeTransfer(t *Tag, options []byte, end int64) error {
	if err := t.Check(options); err != nil {
		return err
	}
	h, err := ParseTransfer(options)
	if err != nil {
		return err
	}
	s.header, s.headErr, s.origin = h, nil, end-ChunkHeaderSize
	return nil
}
