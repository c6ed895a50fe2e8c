package index

import (
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"coffer/chunkfmt"
)

// flushDirents writes directory entries, and what follows from them: the way from a
// cookie to its entry, and from an inode to its names.
func (a *applier) flushDirents() error {
	if len(a.dirents) == 0 {
		return nil
	}
	now, past := a.bucket(dirents.now), a.bucket(dirents.past)
	for _, o := range fold(a.dirents) {
		since, old, err := a.current(now, o.key)
		if err != nil {
			return err
		}
		if old == nil && o.del {
			continue
		}
		var is, was chunkfmt.Dirent
		if old != nil {
			if was, err = chunkfmt.ParseDirent(old); err != nil {
				return fmt.Errorf("%w: %w", ErrRebuild, err)
			}
			if err := a.supersede(past, o.key, since, old); err != nil {
				return err
			}
		}
		if !o.del {
			if is, err = chunkfmt.ParseDirent(o.val); err != nil {
				return fmt.Errorf("entry %x: %w", o.key, err)
			}
		}
		a.follow(o.key, was, is, since)
		if err := a.write(now, &o, a.st.archive); err != nil {
			return err
		}
	}
	a.dirents = a.dirents[:0]
	return a.flushDerived()
}

// follow notes what the change of an entry from one version to another, either of
// which may be none (ino 0), does to the derived buckets.
func (a *applier) follow(key []byte, was, is chunkfmt.Dirent, since uint32) {
	if was.Ino != 0 {
		c := a.cookieKey(key, was.Cookie)
		if since < a.st.archive {
			h := a.historyKey(a.arena.take(len(c) + historySuffix)[:0], c, since)
			a.cookiePast = append(a.cookiePast, put{h, a.cookiePayload(h, since, was, key)})
		}
		if was.Cookie != is.Cookie {
			a.cookieDels = append(a.cookieDels, put{key: c})
		}
		if was.Ino != is.Ino {
			a.parentDels = append(a.parentDels, put{key: a.parentKey(was.Ino, key)})
		}
	}
	if is.Ino != 0 {
		c := a.cookieKey(key, is.Cookie)
		a.cookiePuts = append(a.cookiePuts, put{c, a.cookiePayload(c, a.st.archive, is, key)})
		if was.Ino != is.Ino {
			p := a.parentKey(is.Ino, key)
			a.parentPuts = append(a.parentPuts, put{p, a.value(p, a.st.archive, nil, nil)})
		}
	}
}

func (a *applier) cookieKey(dirent []byte, cookie uint64) []byte {
	k := a.arena.take(16)
	copy(k, dirent[:8])
	binary.BigEndian.PutUint64(k[8:], cookie)
	return k
}

func (a *applier) cookiePayload(key []byte, since uint32, d chunkfmt.Dirent, dirent []byte) []byte {
	name := dirent[8:]
	v := a.arena.take(valueHead + cookieHead + len(name))
	putCookie(v[valueHead:], d, name)
	finish(key, v, since)
	return v
}

// parentKey is the inode, then the entry's key.
func (a *applier) parentKey(ino chunkfmt.Ino, dirent []byte) []byte {
	k := a.arena.take(8 + len(dirent))
	binary.BigEndian.PutUint64(k, uint64(ino))
	copy(k[8:], dirent)
	return k
}

// flushDerived writes the derived buckets. Deletions go first: a cookie may go from
// one name to another in one batch.
func (a *applier) flushDerived() error {
	c, p := a.bucket(cookies.now), a.bucket(parents.now)
	if err := a.supersedeParents(p, a.bucket(parents.past)); err != nil {
		return err
	}
	for _, d := range []struct {
		b    *bolt.Bucket
		keys []put
	}{{c, a.cookieDels}, {p, a.parentDels}} {
		for _, k := range sorted(d.keys) {
			if err := d.b.Delete(k.key); err != nil {
				return err
			}
		}
	}
	for _, d := range []struct {
		b    *bolt.Bucket
		keys []put
	}{{c, a.cookiePuts}, {p, a.parentPuts}, {a.bucket(cookies.past), a.cookiePast}} {
		for _, k := range sorted(d.keys) {
			if err := d.b.Put(k.key, k.val); err != nil {
				return err
			}
		}
	}
	a.cookieDels, a.parentDels = a.cookieDels[:0], a.parentDels[:0]
	a.cookiePuts, a.parentPuts, a.cookiePast = a.cookiePuts[:0], a.parentPuts[:0], a.cookiePast[:0]
	return nil
}

// supersedeParents puts the names that inodes lose into the history.
func (a *applier) supersedeParents(now, past *bolt.Bucket) error {
	for _, k := range sorted(a.parentDels) {
		v := now.Get(k.key)
		if v == nil {
			continue
		}
		since, payload, err := unseal(k.key, v)
		if err != nil {
			return err
		}
		if err := a.supersede(past, k.key, since, payload); err != nil {
			return err
		}
	}
	return nil
}

func sorted(p []put) []put {
	slices.SortFunc(p, func(a, b put) int { return compareKeys(a.key, b.key) })
	return p
}
