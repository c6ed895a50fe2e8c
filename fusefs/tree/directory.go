package tree

import (
	"fmt"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// directory is what memory knows of a directory's entries beyond the index: all
// that was put or removed in epochs that the index does not have. It is guarded
// by the inode's mu.
type directory struct {
	names map[string]*dent // the newest of each name
	// list holds, ascending by cookie, those of names that the index does
	// not show at their cookie. A place whose entry was removed or replaced
	// stays until there are many.
	list []place
	dead int
}

// dent is an entry as of one epoch. It does not change when that has ended.
type dent struct {
	name   string
	ino    Ino
	cookie uint64
	epoch  uint64
	typ    uint8
	del    bool // removed
	fresh  bool // nothing of that name is in older epochs or the index
	gone   bool // fresh and removed: not worth a record
	listed bool // has a place in list
}

type place struct {
	cookie uint64
	d      *dent
}

func (d *directory) valid(p place) bool {
	return !p.d.del && p.d.cookie == p.cookie && d.names[p.d.name] == p.d
}

// find looks a name up; p.mu is held.
func (t *Tree) find(p *inode, name string) (chunkfmt.Dirent, bool, error) {
	if p.dir != nil {
		if e := p.dir.names[name]; e != nil {
			if t.lost(e.epoch) {
				return chunkfmt.Dirent{}, false, t.refuse()
			}
			if e.del {
				return chunkfmt.Dirent{}, false, nil // its cookie is not to be used again
			}
			return chunkfmt.Dirent{Ino: e.ino, Type: e.typ, Cookie: e.cookie}, true, nil
		}
	}
	if absent := p.absent.Load(); p.fresh || absent != nil && *absent == name {
		return chunkfmt.Dirent{}, false, nil
	}
	d, ok, err := t.cfg.Index.Dirent(p.ino, name)
	if err != nil {
		return d, false, fmt.Errorf("%w: look up %q in directory %d: %w", unix.EIO, name, p.ino, err)
	}
	if !ok {
		p.absent.Store(&name)
	}
	return d, ok, nil
}

// enter makes name an entry of p, new or (cookie not 0) in the place of the one
// that has the name. The caller holds p.mu, and counts p's attributes.
func (t *Tree) enter(p *inode, name string, ino Ino, typ uint8, cookie uint64) {
	d := t.touch(p)
	reused := cookie != 0
	if !reused {
		cookie = p.attr.NextCookie
		p.attr.NextCookie++
	}
	if p.dir == nil {
		p.dir = &directory{names: make(map[string]*dent)}
	}
	old := p.dir.names[name]
	e := old
	if old == nil || old.epoch != d.e.n {
		e = &dent{name: name, epoch: d.e.n, fresh: old == nil && !reused}
		d.dents = append(d.dents, e)
		p.dir.names[name] = e
		t.charge(d.e, dentCost+2*int64(len(name)))
	}
	e.ino, e.typ, e.cookie, e.del = ino, typ, cookie, false
	switch {
	case !reused:
		p.dir.list = append(p.dir.list, place{cookie, e})
		e.listed = true
	case old != nil && old.listed:
		p.dir.relist(e)
	}
	p.dir.compact()
}

// leave removes the entry name of p, which is there. The caller holds p.mu, and
// counts p's attributes.
func (t *Tree) leave(p *inode, name string) {
	d := t.touch(p)
	if p.dir == nil {
		p.dir = &directory{names: make(map[string]*dent)}
	}
	old := p.dir.names[name]
	if old != nil && old.listed {
		p.dir.dead++
	}
	switch {
	case old == nil || old.epoch != d.e.n:
		e := &dent{name: name, epoch: d.e.n, del: true}
		d.dents = append(d.dents, e)
		p.dir.names[name] = e
		t.charge(d.e, dentCost+2*int64(len(name)))
	case old.fresh:
		old.del, old.gone = true, true
		delete(p.dir.names, name)
	default:
		old.del, old.listed = true, false
	}
	p.dir.compact()
}

// relist gives e the place of the entry whose cookie it took over.
func (d *directory) relist(e *dent) {
	k := d.after(e.cookie - 1)
	if k < len(d.list) && d.list[k].cookie == e.cookie {
		d.list[k].d = e
		e.listed = true
	}
}

// after is the first place in list beyond a cookie.
func (d *directory) after(cookie uint64) int {
	return sort.Search(len(d.list), func(k int) bool { return d.list[k].cookie > cookie })
}

func (d *directory) compact() {
	if d.dead > 32 && d.dead > len(d.list)/2 {
		d.list = slices.DeleteFunc(d.list, func(p place) bool { return !d.valid(p) })
		d.dead = 0
	}
}

// retire lets go of the entries of a delta that the index has.
func (d *directory) retire(delta *delta) {
	for _, e := range delta.dents {
		if e.gone || d.names[e.name] != e {
			continue
		}
		delete(d.names, e.name)
		if e.listed {
			d.dead++
		}
	}
	d.compact()
}
