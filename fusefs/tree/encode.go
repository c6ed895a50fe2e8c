package tree

import (
	"math"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// Room for what is encoded, so that it does not grow step by step.
const (
	inodeSize  = 160
	direntSize = 24
	extentSize = 32
)

// encode gives the records of a frozen delta.
func (d *delta) encode(w stage.RecordSink) error {
	i := d.i
	if d.deleted {
		return d.encodeDeleted(w)
	}
	rec := chunkfmt.Inode{Attr: d.frozenAttr(), Target: i.target}
	key := chunkfmt.InodeKey(i.ino)
	if err := put(w, chunkfmt.RecInode, key, rec.Append(make([]byte, 0, inodeSize+len(i.target)))); err != nil {
		return err
	}
	var err error
	switch d.orphan {
	case 1:
		err = put(w, chunkfmt.RecOrphan, key, nil)
	case -1:
		err = del(w, chunkfmt.RecOrphan, key)
	}
	if err != nil {
		return err
	}
	for name, x := range d.xattrs {
		key := chunkfmt.XattrKey(i.ino, name)
		if x.del {
			err = del(w, chunkfmt.RecXattr, key)
		} else {
			err = put(w, chunkfmt.RecXattr, key, x.value)
		}
		if err != nil {
			return err
		}
	}
	if err := d.encodeDents(w); err != nil {
		return err
	}
	return d.encodeExtents(w)
}

// encodeDeleted gives the records of an inode that goes: of one that no batch
// ever knew, none. What hangs on an inode's number, the index deletes with it.
func (d *delta) encodeDeleted(w stage.RecordSink) error {
	// A directory's entries were removed before it was, maybe in this epoch.
	if err := d.encodeDents(w); err != nil || d.born {
		return err
	}
	key := chunkfmt.InodeKey(d.i.ino)
	if d.orphan == -1 {
		if err := del(w, chunkfmt.RecOrphan, key); err != nil {
			return err
		}
	}
	return del(w, chunkfmt.RecInode, key)
}

func (d *delta) encodeDents(w stage.RecordSink) error {
	for _, e := range d.dents {
		if e.gone {
			continue
		}
		key := chunkfmt.DirentKey(d.i.ino, e.name)
		var err error
		if e.del {
			err = del(w, chunkfmt.RecDirent, key)
		} else {
			v := chunkfmt.Dirent{Ino: e.ino, Type: e.typ, Cookie: e.cookie}
			err = put(w, chunkfmt.RecDirent, key, v.Append(make([]byte, 0, direntSize)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *delta) encodeExtents(w stage.RecordSink) error {
	var err error
	d.ext.each(0, math.MaxInt64, func(s *span) bool {
		err = d.encodeSpan(w, *s)
		return err == nil
	})
	return err
}

func (d *delta) encodeSpan(w stage.RecordSink, s span) error {
	if s.run == nil {
		return putExtent(w, d.i.ino, s.off, s.n, s.group, uint32(s.at))
	}
	done := s.at
	err := s.run.Places(s.at, s.n, func(runOff, n int64, group chunkfmt.Seq, at uint32) error {
		if runOff != done {
			return unplaced(d.i.ino, s)
		}
		done += n
		return putExtent(w, d.i.ino, s.off+(runOff-s.at), n, group, at)
	})
	if err == nil && done != s.at+s.n {
		err = unplaced(d.i.ino, s)
	}
	return err
}

func putExtent(w stage.RecordSink, ino Ino, off, n int64, group chunkfmt.Seq, at uint32) error {
	x := chunkfmt.Extent{Offset: uint64(off), Length: uint64(n), Group: group, GroupOffset: at}
	if group == 0 {
		x.GroupOffset = 0
	}
	return put(w, chunkfmt.RecExtent, chunkfmt.ExtentKey(ino, x.Offset), x.Append(make([]byte, 0, extentSize)))
}

func put(w stage.RecordSink, kind chunkfmt.RecordKind, key, value []byte) error {
	return w.Add(chunkfmt.Record{Op: chunkfmt.OpPut, Kind: kind, Key: key, Value: value})
}

func del(w stage.RecordSink, kind chunkfmt.RecordKind, key []byte) error {
	return w.Add(chunkfmt.Record{Op: chunkfmt.OpDelete, Kind: kind, Key: key})
}
