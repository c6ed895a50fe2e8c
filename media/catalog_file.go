package media

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"coffer/chunkfmt"
)

// The file of a catalog is a head and records, each checked by itself, the
// later one of a chunk replacing the earlier. It is never synced: what a crash
// or a full disk takes from its end is read from the chunks again.
//
//	head      magic 8 | volume 16 | CRC32C of both 4
//	record    length of body 4 | CRC32C of length and body 4 | body
//	body      chunk 8 | size 8 | tags 4 | flags 1 | ranges: first 8, last 8 each
//
// Flag 1: the chunk has a footer. Flag 2: the chunk is gone, and size, tags and
// ranges are nothing. All integers are big-endian.
const (
	catalogMagic      = "coffcat\x01"
	catalogHeadSize   = 28
	recordHeadSize    = 8
	recordBodySize    = 21
	recordRangeSize   = 16
	maxRecordBody     = recordBodySize + maxRanges*recordRangeSize
	flagComplete      = 1
	flagGone          = 2
	deadRecordsToTidy = 64
	maxCatalogFile    = 1 << 30 // five million chunks; more is not ours
)

// record is what the file keeps of one chunk.
type record struct {
	id       chunkfmt.ChunkID
	size     int64
	tags     uint32
	complete bool
	gone     bool
	ranges   []seqRange
}

func (r *record) append(dst []byte) []byte {
	be := binary.BigEndian
	start := len(dst)
	dst = append(dst, make([]byte, recordHeadSize)...)
	dst = be.AppendUint64(dst, uint64(r.id))
	dst = be.AppendUint64(dst, uint64(r.size))
	dst = be.AppendUint32(dst, r.tags)
	var flags byte
	if r.complete {
		flags |= flagComplete
	}
	if r.gone {
		flags |= flagGone
	}
	dst = append(dst, flags)
	for _, x := range r.ranges {
		dst = be.AppendUint64(dst, uint64(x.first))
		dst = be.AppendUint64(dst, uint64(x.last))
	}
	head, body := dst[start:start+recordHeadSize], dst[start+recordHeadSize:]
	be.PutUint32(head, uint32(len(body)))
	be.PutUint32(head[4:], chunkfmt.Checksum(head[:4], body))
	return dst
}

func (r *record) len() int64 {
	return int64(recordHeadSize + recordBodySize + len(r.ranges)*recordRangeSize)
}

var errRecord = errors.New("damaged catalog record")

// readRecord reads one record; io.EOF at the end, errRecord for anything that
// append does not write.
func readRecord(r io.Reader) (record, error) {
	be := binary.BigEndian
	var head [recordHeadSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return record{}, err
	}
	n := be.Uint32(head[:])
	if n < recordBodySize || n > maxRecordBody || (n-recordBodySize)%recordRangeSize != 0 {
		return record{}, fmt.Errorf("%w: of %d bytes", errRecord, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return record{}, fmt.Errorf("%w: %d bytes cut short", errRecord, n)
	}
	if got, want := be.Uint32(head[4:]), chunkfmt.Checksum(head[:4], body); got != want {
		return record{}, fmt.Errorf("%w: checksum is %08x, want %08x", errRecord, got, want)
	}
	rec := record{
		id:       chunkfmt.ChunkID(be.Uint64(body)),
		size:     int64(be.Uint64(body[8:])),
		tags:     be.Uint32(body[16:]),
		complete: body[20]&flagComplete != 0,
		gone:     body[20]&flagGone != 0,
	}
	if rec.size < 0 || body[20]&^(flagComplete|flagGone) != 0 {
		return record{}, fmt.Errorf("%w: size %d, flags %x", errRecord, rec.size, body[20])
	}
	var last chunkfmt.Seq
	for b := body[recordBodySize:]; len(b) > 0; b = b[recordRangeSize:] {
		x := seqRange{chunkfmt.Seq(be.Uint64(b)), chunkfmt.Seq(be.Uint64(b[8:]))}
		if x.first <= last || x.last < x.first {
			return record{}, fmt.Errorf("%w: range %v to %v after %v", errRecord, x.first, x.last, last)
		}
		last = x.last
		rec.ranges = append(rec.ranges, x)
	}
	return rec, nil
}

// catalogFile is the open file. Its owner serialises calls. Whatever fails is
// logged and makes it broken: then nothing is written until tidy writes it
// anew.
type catalogFile struct {
	path   string // empty: there is no file
	volume chunkfmt.VolumeID
	log    *slog.Logger
	file   *os.File // nil: broken
	size   int64    // bytes that are good
	count  int      // records in them
}

func openCatalogFile(path string, v chunkfmt.VolumeID, log *slog.Logger) *catalogFile {
	return &catalogFile{path: path, volume: v, log: log.With("catalog", path)}
}

// load returns the records up to the first damaged one and cuts the file there.
func (f *catalogFile) load() map[chunkfmt.ChunkID]record {
	chunks := make(map[chunkfmt.ChunkID]record)
	if f.path == "" {
		return chunks
	}
	file, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return chunks
	}
	if err != nil {
		f.fail("cannot open catalog file", err)
		return chunks
	}
	f.file = file
	r := bufio.NewReader(io.LimitReader(file, maxCatalogFile))
	head := make([]byte, catalogHeadSize)
	if _, err := io.ReadFull(r, head); err != nil {
		f.fail("catalog file is not to be used, reading chunks instead", err)
		return chunks
	}
	if want := f.head(); !bytes.Equal(head, want) {
		f.fail("catalog file is not to be used, reading chunks instead", fmt.Errorf("it begins with %x, want %x", head, want))
		return chunks
	}
	f.size = catalogHeadSize
	for {
		rec, err := readRecord(r)
		if err == io.EOF {
			return chunks
		}
		if err != nil {
			f.log.Warn("catalog file is damaged, reading chunks from there on", "at", f.size, "err", err)
			if err := file.Truncate(f.size); err != nil {
				f.fail("cannot cut catalog file", err)
			}
			return chunks
		}
		f.size += rec.len()
		f.count++
		if rec.gone {
			delete(chunks, rec.id)
		} else {
			chunks[rec.id] = rec
		}
	}
}

// put adds or replaces the record of a chunk.
func (f *catalogFile) put(r record) { f.write(r) }

// drop notes that a chunk is gone.
func (f *catalogFile) drop(id chunkfmt.ChunkID) { f.write(record{id: id, gone: true}) }

func (f *catalogFile) write(r record) {
	if f.file == nil {
		return
	}
	b := r.append(nil)
	if _, err := f.file.WriteAt(b, f.size); err != nil {
		f.fail("cannot write catalog file", err)
		return
	}
	f.size += int64(len(b))
	f.count++
}

// tidy writes the file anew if it is broken, or if most of its records do not
// count any more because only about live chunks are left.
func (f *catalogFile) tidy(live int, all func() []record) {
	if f.path == "" || f.file != nil && f.count < 2*live+deadRecordsToTidy {
		return
	}
	records := all()
	b := f.head()
	for i := range records {
		b = records[i].append(b)
	}
	file, err := replaceFile(f.path, b)
	if err != nil {
		f.fail("cannot write catalog file", err)
		return
	}
	if f.file != nil {
		_ = f.file.Close() // nothing of it matters any more
	}
	f.file, f.size, f.count = file, int64(len(b)), len(records)
}

func (f *catalogFile) head() []byte {
	b := append([]byte(catalogMagic), f.volume[:]...)
	return binary.BigEndian.AppendUint32(b, chunkfmt.Checksum(b))
}

// fail gives the file up.
func (f *catalogFile) fail(what string, err error) {
	f.log.Warn(what, "err", err)
	if f.file != nil {
		_ = f.file.Close() // it is given up for a better reason
		f.file = nil
	}
}

func (f *catalogFile) close() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file, f.path = nil, ""
	return file.Close()
}

// replaceFile puts b in the place of the file at path and returns it open.
func replaceFile(path string, b []byte) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	half := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	file, err := os.OpenFile(half, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = file.WriteAt(b, 0)
	if err == nil {
		err = os.Rename(half, path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(half))
	}
	return file, nil
}

// CheckCatalogFile checks the first size bytes of a catalog's file. It returns
// up to where they are good, and why not further.
func CheckCatalogFile(r io.ReaderAt, size int64, v chunkfmt.VolumeID) (good int64, err error) {
	good, err = eachRecord(r, size, v, func(record) {})
	return good, err
}

// ReadCatalogFile gives what the first size bytes of a catalog's file say of
// chunks, whether they are there or not. A damaged file counts up to there.
func ReadCatalogFile(r io.ReaderAt, size int64, v chunkfmt.VolumeID) (map[chunkfmt.ChunkID]Chunk, error) {
	chunks := make(map[chunkfmt.ChunkID]Chunk)
	c := &Catalog{volume: v}
	_, err := eachRecord(r, size, v, func(rec record) {
		if rec.gone {
			delete(chunks, rec.id)
		} else {
			chunks[rec.id] = c.fromRecord(rec).Chunk
		}
	})
	return chunks, err
}

func eachRecord(r io.ReaderAt, size int64, v chunkfmt.VolumeID, f func(record)) (good int64, err error) {
	b := bufio.NewReader(io.NewSectionReader(r, 0, min(size, maxCatalogFile)))
	head := make([]byte, catalogHeadSize)
	if _, err := io.ReadFull(b, head); err != nil {
		return 0, fmt.Errorf("catalog file: %w", err)
	}
	if want := (&catalogFile{volume: v}).head(); !bytes.Equal(head, want) {
		return 0, fmt.Errorf("%w: the file begins with %x, want %x", errRecord, head, want)
	}
	for good = catalogHeadSize; ; {
		rec, err := readRecord(b)
		if err == io.EOF {
			return good, nil
		}
		if err != nil {
			return good, err
		}
		good += rec.len()
		f(rec)
	}
}
