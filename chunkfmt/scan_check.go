package chunkfmt

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"lukechampine.com/blake3"
)

// readFooter takes in the footer at pos. One that is all there but wrong is damage of
// known extent; one that is cut short is the torn end.
func (s *Scanner) readFooter() error {
	var b [footerHeadSize]byte
	n := min(footerHeadSize, s.size-s.pos)
	if err := readFull(s.r, b[:n], s.pos); err != nil {
		return err
	}
	head, err := parseFooterHead(b[:n])
	if err != nil {
		return err
	}
	s.settle(uint64(head.body))
	if head.body != s.pos-s.frame {
		return fmt.Errorf("chunk footer at %d says it is at %d: %w", s.pos-s.frame, head.body, ErrDamaged)
	}
	end := s.pos + head.size()
	if end > s.size {
		return io.EOF
	}
	if err := s.checkFooter(head, end); err != nil {
		if !isFormat(err) || errors.Is(err, ErrVersion) {
			return err
		}
		damage := &DamageError{From: s.pos, To: end, Cause: err}
		s.pos = end
		return damage
	}
	s.advance(head.size())
	return nil
}

// checkFooter checks the trailer that ends at end and the hash that it holds.
func (s *Scanner) checkFooter(head footerHead, end int64) error {
	var b [footerTrailerSize]byte
	if err := readFull(s.r, b[:], end-footerTrailerSize); err != nil {
		return err
	}
	trailer, err := parseFooterTrailer(b[:])
	if err != nil {
		return err
	}
	if trailer.count != head.count || trailer.total != head.body+head.size() {
		return fmt.Errorf("chunk footer: head and trailer contradict each other: %w", ErrDamaged)
	}
	h := blake3.New(32, nil)
	dir := io.NewSectionReader(s.r, s.pos, head.size()-footerTrailerSize)
	if _, err := io.Copy(h, dir); err != nil {
		return fmt.Errorf("chunk footer: %w", err)
	}
	if [32]byte(h.Sum(nil)) != trailer.sum {
		return fmt.Errorf("chunk footer: hash of its directory does not match: %w", ErrDamaged)
	}
	return nil
}

// CheckPayload compares the CRC in the entry's tag with the options and sealed bytes on
// the medium. It needs no key, reads in small pieces, and fails with ErrDamaged.
func (s *Scanner) CheckPayload(e Entry) error {
	stored := io.NewSectionReader(s.r, e.At+TagSize, int64(e.Tag.StoredLen()))
	var sum crcWriter
	n, err := io.Copy(&sum, stored)
	if err != nil {
		return fmt.Errorf("tag %v: %w", e.Tag.Seq, err)
	}
	if n != int64(e.Tag.StoredLen()) || uint32(sum) != e.Tag.CRC {
		return fmt.Errorf("tag %v: %d bytes after it with CRC %08x, want %d with %08x: %w",
			e.Tag.Seq, n, uint32(sum), e.Tag.StoredLen(), e.Tag.CRC, ErrDamaged)
	}
	return nil
}

// crcWriter is the CRC32C of what was written to it.
type crcWriter uint32

func (c *crcWriter) Write(p []byte) (int, error) {
	*c = crcWriter(crc32.Update(uint32(*c), castagnoli, p))
	return len(p), nil
}
