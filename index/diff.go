package index

import (
	"bytes"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// Diff compares two indexes of one volume that have been applied up to the same head, and
// calls f with each difference, in words, until it returns false. It leaves out what is
// known of places only. Contents and names of inodes, which two indexes may divide
// differently, are compared by what they say: of the present, and of the archives given.
func Diff(a, b *Index, archives []uint32, f func(string) bool) error {
	if ha, hb := a.Head(), b.Head(); ha != hb {
		f(fmt.Sprintf("one ends at %v, the other at %v", ha.Seq, hb.Seq))
		return nil
	}
	if sa, sb := *a.state.Load(), *b.state.Load(); sa != sb && !f("the numbers of inodes, bytes or archives differ") {
		return nil
	}
	more := true
	tell := func(what string) bool { more = f(what); return more }
	for _, t := range tables {
		for _, bucket := range [][]byte{t.now, t.past} {
			if bucket == nil || bytes.Equal(bucket, meta.now) || bytes.Equal(t.now, extents.now) || bytes.Equal(t.now, parents.now) {
				continue
			}
			if err := diffBucket(a, b, bucket, tell); err != nil || !more {
				return err
			}
		}
	}
	for _, at := range append([]uint32{Present}, archives...) {
		if err := diffFiles(a, b, at, tell); err != nil || !more {
			return err
		}
	}
	return nil
}

// diffBucket goes through a bucket of both at once.
func diffBucket(a, b *Index, bucket []byte, tell func(string) bool) error {
	skip := 0 // bytes of a payload that are not compared
	if bytes.Equal(bucket, groups.now) {
		skip = locationSize
	}
	return a.view(func(ta *bolt.Tx, _ *section) error {
		return b.view(func(tb *bolt.Tx, s *section) error {
			ca, cb := ta.Bucket(bucket).Cursor(), tb.Bucket(bucket).Cursor()
			ka, va := ca.First()
			kb, vb := cb.First()
			for ka != nil || kb != nil {
				order := bytes.Compare(ka, kb)
				if ka == nil {
					order = 1
				} else if kb == nil {
					order = -1
				}
				what := ""
				switch {
				case order < 0:
					what = fmt.Sprintf("%s %x is in one only", bucket, ka)
				case order > 0:
					what = fmt.Sprintf("%s %x is in the other only", bucket, kb)
				default:
					since, pa, err := unseal(ka, va)
					if err != nil {
						return err
					}
					other, pb, err := unseal(kb, vb)
					if err != nil {
						return err
					}
					if since != other || !bytes.Equal(pa[min(skip, len(pa)):], pb[min(skip, len(pb)):]) {
						what = fmt.Sprintf("%s %x has other values", bucket, ka)
					}
				}
				if what != "" && !call(s, func() bool { return tell(what) }) {
					return nil
				}
				if order <= 0 {
					ka, va = ca.Next()
				}
				if order >= 0 {
					kb, vb = cb.Next()
				}
			}
			return nil
		})
	})
}

// diffFiles compares what all inodes have at one time: contents and names.
func diffFiles(a, b *Index, at uint32, tell func(string) bool) error {
	ra, rb := a.At(at), b.At(at)
	for last := chunkfmt.Ino(0); ; {
		ino, err := ra.nextFile(last)
		if err != nil {
			return err
		}
		other, err := rb.nextFile(last)
		if err != nil {
			return err
		}
		if ino == 0 || other != 0 && other < ino {
			ino = other
		}
		if ino == 0 {
			return nil
		}
		last = ino
		sa, na, err := ra.has(ino)
		if err != nil {
			return err
		}
		sb, nb, err := rb.has(ino)
		if err != nil {
			return err
		}
		if !slices.Equal(sa, sb) && !tell(fmt.Sprintf("the contents of inode %d in archive %d differ", ino, at)) ||
			!slices.Equal(na, nb) && !tell(fmt.Sprintf("the names of inode %d in archive %d differ", ino, at)) {
			return nil
		}
	}
}

// nextFile gives the first inode behind another one that has contents or names at any time; 0: there is none.
func (r *Reader) nextFile(after chunkfmt.Ino) (ino chunkfmt.Ino, err error) {
	err = r.x.view(func(tx *bolt.Tx, _ *section) error {
		for _, bucket := range [][]byte{extents.now, extents.past, parents.now, parents.past} {
			k, _ := tx.Bucket(bucket).Cursor().Seek(inoKey(after + 1))
			if len(k) < 8 {
				continue
			}
			if found, err := chunkfmt.ParseInodeKey(k[:8]); err == nil && (ino == 0 || found < ino) {
				ino = found
			}
		}
		return nil
	})
	return ino, err
}

// has gives the contents of an inode, joined where they can be, and its names.
func (r *Reader) has(ino chunkfmt.Ino) (contents []span, names []string, err error) {
	err = r.Extents(ino, 0, endOfFile, func(e chunkfmt.Extent) bool {
		s := span{e.Offset, e.End(), e.Group, e.GroupOffset}
		if n := len(contents); n > 0 && contents[n-1].joins(s) {
			contents[n-1].end = s.end
		} else {
			contents = append(contents, s)
		}
		return true
	})
	if err != nil {
		return nil, nil, err
	}
	err = r.Parents(ino, func(parent chunkfmt.Ino, name string) bool {
		names = append(names, fmt.Sprintf("%d/%s", parent, name))
		return true
	})
	return contents, names, err
}
