package cleaner

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"coffer/chunkfmt"
)

// A list of removed groups, as a file or on its way to a server:
//
//	head    magic 8 | volume 16 | ranges 8 | CRC32C of all of them 4 | CRC32C of the head so far 4
//	range   first number 8 | last number 8
//
// Ranges ascend and do not overlap. All integers are big-endian.
const (
	listMagic     = "coffrem\x01"
	listHeadSize  = 40
	listRangeSize = 16
)

// ErrList: what is to be a list of removed groups is none, or of another volume, or damaged.
var ErrList = errors.New("bad list of removed groups")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// List is a list in a file. It implements Removed, reading the file for each question, so it may
// be longer than memory. Methods may be called concurrently.
type List struct {
	f io.ReaderAt
	n int64
}

// Len is the number of ranges.
func (l *List) Len() int64 { return l.n }

// ListSize is how many bytes a list of n ranges takes.
func ListSize(n int64) int64 { return listHeadSize + n*listRangeSize }

// ListLen is how many ranges a list of size bytes has.
func ListLen(size int64) int64 { return max(0, size-listHeadSize) / listRangeSize }

// OpenList checks a list of size bytes, all of it. It fails with ErrList.
func OpenList(f io.ReaderAt, size int64, volume chunkfmt.VolumeID) (*List, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<16)
	head := make([]byte, listHeadSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("%w: its head: %w", ErrList, err)
	}
	be := binary.BigEndian
	l := &List{f: f, n: int64(be.Uint64(head[24:]))}
	switch {
	case string(head[:8]) != listMagic || chunkfmt.Checksum(head[:36]) != be.Uint32(head[36:]):
		return nil, fmt.Errorf("%w: it begins with %x", ErrList, head)
	case chunkfmt.VolumeID(head[8:24]) != volume:
		return nil, fmt.Errorf("%w: it is of volume %x, want %v", ErrList, head[8:24], volume)
	case l.n < 0 || l.n > size/listRangeSize || ListSize(l.n) != size:
		return nil, fmt.Errorf("%w: %d bytes with %d ranges", ErrList, size, l.n)
	}
	var sum uint32
	var before chunkfmt.Seq
	for range l.n {
		var b [listRangeSize]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrList, err)
		}
		sum = crc32.Update(sum, castagnoli, b[:])
		x, err := parseRange(b[:])
		if err != nil || x.First <= before {
			return nil, fmt.Errorf("%w: %v to %v after %v", ErrList, x.First, x.Last, before)
		}
		before = x.Last
	}
	if sum != be.Uint32(head[32:]) {
		return nil, fmt.Errorf("%w: its checksum is %08x, want %08x", ErrList, sum, be.Uint32(head[32:]))
	}
	return l, nil
}

func parseRange(b []byte) (chunkfmt.Removed, error) {
	return chunkfmt.ParseRemoved(chunkfmt.Seq(binary.BigEndian.Uint64(b)), b[8:listRangeSize])
}

func (l *List) at(i int64) (chunkfmt.Removed, error) {
	var b [listRangeSize]byte
	if _, err := l.f.ReadAt(b[:], ListSize(i)); err != nil {
		return chunkfmt.Removed{}, fmt.Errorf("read a list of removed groups: %w", err)
	}
	r, err := parseRange(b[:])
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrList, err)
	}
	return r, err
}

// Removed implements Removed.
func (l *List) Removed(first, last chunkfmt.Seq, f func(chunkfmt.Removed) bool) (err error) {
	i := int64(sort.Search(int(l.n), func(i int) bool {
		r, failed := l.at(int64(i))
		err = errors.Join(err, failed)
		return failed == nil && r.Last >= first
	}))
	for ; err == nil && i < l.n; i++ {
		r, err := l.at(i)
		if err != nil {
			return err
		}
		if r.First > last || !f(r) {
			return nil
		}
	}
	return err
}

// WriteList writes a list of the ranges that each gives, ascending; those that touch or overlap
// become one.
func WriteList(f io.WriterAt, volume chunkfmt.VolumeID, each func(add func(chunkfmt.Removed) error) error) (*ListWriter, error) {
	w := &ListWriter{f: f}
	w.out = bufio.NewWriterSize(&writerAt{f, listHeadSize}, 1<<16)
	if err := each(w.add); err != nil {
		return nil, err
	}
	if err := w.end(volume); err != nil {
		return nil, fmt.Errorf("write a list of removed groups: %w", err)
	}
	return w, nil
}

// ListWriter says what was written.
type ListWriter struct {
	f    io.WriterAt
	out  *bufio.Writer
	open chunkfmt.Removed // not yet written; zero: none
	sum  uint32
	n    int64
}

// Size is how long the list is, in bytes.
func (w *ListWriter) Size() int64 { return ListSize(w.n) }

func (w *ListWriter) add(r chunkfmt.Removed) error {
	switch {
	case w.open.First == 0:
		w.open = r
	case r.First < w.open.First:
		return fmt.Errorf("removed groups from %v on come after those from %v on", r.First, w.open.First)
	case r.First <= w.open.Last+1 && r.First.Ordinal() == w.open.First.Ordinal():
		w.open.Last = max(w.open.Last, r.Last)
	default:
		if err := w.put(); err != nil {
			return err
		}
		w.open = r
	}
	return nil
}

func (w *ListWriter) put() error {
	b := binary.BigEndian.AppendUint64(nil, uint64(w.open.First))
	b = w.open.Append(b)
	w.sum = crc32.Update(w.sum, castagnoli, b)
	w.n++
	_, err := w.out.Write(b)
	return err
}

func (w *ListWriter) end(volume chunkfmt.VolumeID) error {
	if w.open.First != 0 {
		if err := w.put(); err != nil {
			return err
		}
	}
	if err := w.out.Flush(); err != nil {
		return err
	}
	be := binary.BigEndian
	head := append([]byte(listMagic), volume[:]...)
	head = be.AppendUint64(head, uint64(w.n))
	head = be.AppendUint32(head, w.sum)
	head = be.AppendUint32(head, chunkfmt.Checksum(head))
	_, err := w.f.WriteAt(head, 0)
	return err
}

// writerAt writes one thing behind the other.
type writerAt struct {
	f  io.WriterAt
	at int64
}

func (w *writerAt) Write(p []byte) (int, error) {
	n, err := w.f.WriteAt(p, w.at)
	w.at += int64(n)
	return n, err
}
