package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// timeKey leads from the time of an archive to its number.
func timeKey(a *chunkfmt.ArchiveRecord) []byte {
	return binary.BigEndian.AppendUint32(timePrefix(a.Time), a.Number)
}

// timePrefix makes times before 1970 sort before those after.
func timePrefix(ns int64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 12), uint64(ns)^1<<63)
}

// labelKey leads from the label of an archive to its number. The byte between them
// keeps a label apart from those that begin with it.
func labelKey(a *chunkfmt.ArchiveRecord) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(a.Label), 0), a.Number)
}

// flushArchives writes the archives, and the ways to them from their times and labels.
func (a *applier) flushArchives() error {
	if len(a.archives) == 0 {
		return nil
	}
	now := a.bucket(archives.now)
	for _, o := range fold(a.archives) {
		if v := now.Get(o.key); v != nil {
			_, payload, err := unseal(o.key, v)
			if err != nil {
				return err
			}
			if err := a.derive(o.key, payload, (*bolt.Bucket).Delete); err != nil {
				return err
			}
		}
		if err := a.write(now, &o, 0); err != nil {
			return err
		}
		if o.del {
			continue
		}
		err := a.derive(o.key, o.val, func(b *bolt.Bucket, key []byte) error {
			return b.Put(key, a.value(key, 0, nil, nil))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// derive does something to the keys that lead to an archive.
func (a *applier) derive(key, payload []byte, do func(*bolt.Bucket, []byte) error) error {
	rec, err := parseArchive(key, payload)
	if err != nil {
		return err
	}
	if err := do(a.bucket(times.now), timeKey(&rec)); err != nil || rec.Label == "" {
		return err
	}
	return do(a.bucket(labels.now), labelKey(&rec))
}

func parseArchive(key, payload []byte) (chunkfmt.ArchiveRecord, error) {
	number, err := chunkfmt.ParseArchiveKey(key)
	if err != nil {
		return chunkfmt.ArchiveRecord{}, damaged(err)
	}
	rec, err := chunkfmt.ParseArchive(number, payload)
	return rec, damaged(err)
}

// Archives calls f with the sealed archives whose number is greater than after,
// ascending by number, until f returns false.
func (x *Index) Archives(after uint32, f func(chunkfmt.ArchiveRecord) bool) error {
	if after == math.MaxUint32 {
		return nil
	}
	err := x.from(archives, chunkfmt.ArchiveKey(after+1), func(key, payload []byte, s *section) (bool, error) {
		rec, err := parseArchive(key, payload)
		if err != nil {
			return false, err
		}
		return call(s, func() bool { return f(rec) }), nil
	})
	if err != nil {
		return fmt.Errorf("archives: %w", err)
	}
	return nil
}

// ArchiveNumbered gives the archive of that number, if it is sealed.
func (x *Index) ArchiveNumbered(number uint32) (rec chunkfmt.ArchiveRecord, ok bool, err error) {
	key := chunkfmt.ArchiveKey(number)
	err = x.get(archives, key, func(payload []byte) error {
		rec, err = parseArchive(key, payload)
		ok = err == nil
		return err
	})
	if err != nil {
		return chunkfmt.ArchiveRecord{}, false, fmt.Errorf("archive %d: %w", number, err)
	}
	return rec, ok, nil
}

// ArchiveAt gives the archive that was sealed last at or before a time, in
// nanoseconds since 1970; of several of one time, that with the highest number.
func (x *Index) ArchiveAt(ns int64) (chunkfmt.ArchiveRecord, bool, error) {
	after := binary.BigEndian.AppendUint32(timePrefix(ns), math.MaxUint32)
	return x.archiveBefore(times, after, nil)
}

// ArchiveLabelled gives the newest archive of a label.
func (x *Index) ArchiveLabelled(label string) (chunkfmt.ArchiveRecord, bool, error) {
	prefix := append([]byte(label), 0)
	after := binary.BigEndian.AppendUint32(bytes.Clone(prefix), math.MaxUint32)
	return x.archiveBefore(labels, after, prefix)
}

// archiveBefore gives the archive whose number ends the last key before after that
// has the prefix and the length of after.
func (x *Index) archiveBefore(t table, after, prefix []byte) (rec chunkfmt.ArchiveRecord, ok bool, err error) {
	var number uint32
	err = x.view(func(tx *bolt.Tx, _ *section) error {
		c := tx.Bucket(t.now).Cursor()
		back := c.Prev
		if k, _ := c.Seek(after); k == nil {
			back = c.Last
		}
		for k, v := back(); bytes.HasPrefix(k, prefix) && k != nil; k, v = c.Prev() {
			if len(k) != len(after) {
				continue // of a longer label, with a zero byte in it
			}
			number, ok = binary.BigEndian.Uint32(k[len(k)-4:]), true
			_, _, err := unseal(k, v)
			return err
		}
		return nil
	})
	if err != nil || !ok {
		return rec, false, err
	}
	return x.ArchiveNumbered(number)
}
