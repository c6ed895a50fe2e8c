package past

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// Part is what lies below a directory of a State, or only some paths in it with the
// directories that lead there. Methods are safe for concurrent use.
type Part struct {
	s    *State
	base chunkfmt.Ino
	only *selection

	mu    sync.Mutex // guards first; nothing is locked after it
	first map[chunkfmt.Ino]Way
}

// selection is what is chosen of a directory; nil: all of it.
type selection struct{ names map[string]*selection }

// Part chooses what lies below path. Only are paths from there, none: all. A path that
// leads to no directory stands for itself in the directory that it is in. ENOENT or
// ENOTDIR if one leads nowhere.
func (s *State) Part(below string, only ...string) (*Part, error) {
	below = path.Clean("/" + below)[1:]
	e, err := s.Resolve(below)
	if err != nil {
		return nil, err
	}
	if e.Mode&unix.S_IFMT != unix.S_IFDIR {
		if len(only) > 0 {
			return nil, fmt.Errorf("/%s: %w", below, unix.ENOTDIR)
		}
		only = []string{path.Base(below)}
		below = path.Dir("/" + below)[1:]
		if e, err = s.Resolve(below); err != nil {
			return nil, err
		}
	}
	p := &Part{s: s, base: e.Ino, first: map[chunkfmt.Ino]Way{}}
	for _, name := range only {
		name = path.Clean("/" + name)[1:]
		if _, err := s.Resolve(path.Join(below, name)); err != nil {
			return nil, err
		}
		if name == "" {
			return &Part{s: s, base: e.Ino, first: p.first}, nil
		}
		if p.only == nil {
			p.only = &selection{map[string]*selection{}}
		}
		p.only.add(strings.Split(name, "/"))
	}
	return p, nil
}

func (c *selection) add(names []string) {
	next, there := c.names[names[0]]
	switch {
	case there && next == nil: // all of it already
	case len(names) == 1:
		c.names[names[0]] = nil
	default:
		if next == nil {
			next = &selection{map[string]*selection{}}
			c.names[names[0]] = next
		}
		next.add(names[1:])
	}
}

// Dir is a directory of a Part.
type Dir struct {
	Ino  chunkfmt.Ino
	only *selection
}

// Child is an entry of a Dir.
type Child struct {
	Name string
	chunkfmt.Dirent
	only *selection
}

// Root is the directory that the part lies below.
func (p *Part) Root() Dir { return Dir{p.base, p.only} }

// Dir is the directory that an entry names.
func (c *Child) Dir() Dir { return Dir{c.Ino, c.only} }

// State is what the part is of.
func (p *Part) State() *State { return p.s }

// Each calls f with the entries of a directory that are in the part, by their cookies,
// until it fails. The index is not held while f runs.
func (p *Part) Each(ctx context.Context, d Dir, f func(Child) error) error {
	if d.only != nil {
		return p.eachChosen(ctx, d, f)
	}
	var failed error
	err := p.s.ReadDir(ctx, d.Ino, 0, func(name string, e chunkfmt.Dirent) bool {
		failed = f(Child{Name: name, Dirent: e})
		return failed == nil
	})
	return errors.Join(err, failed)
}

func (p *Part) eachChosen(ctx context.Context, d Dir, f func(Child) error) error {
	var chosen []Child
	for name, only := range d.only.names {
		e, err := p.s.dirent(Link{d.Ino, name})
		if err != nil {
			return err
		}
		chosen = append(chosen, Child{name, e, only})
	}
	slices.SortFunc(chosen, func(a, b Child) int { return cmp.Compare(a.Cookie, b.Cookie) })
	for _, c := range chosen {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", unix.EINTR, err)
		}
		if err := f(c); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) dirent(l Link) (chunkfmt.Dirent, error) {
	e, ok, err := s.r.Dirent(l.Parent, l.Name)
	if err != nil {
		return e, failed(err)
	}
	if !ok {
		return e, fmt.Errorf("%s in directory %d: %w", l.Name, l.Parent, unix.ENOENT)
	}
	return e, nil
}

// Way is how a name is reached from the base of a part.
type Way struct {
	Link
	Names   []string // the last is that of the Link
	cookies []uint64
}

// maxFirst bounds how many ways are remembered: files of thousands of names would
// else be looked up thousands of times.
const maxFirst = 1 << 14

// First gives the way to the one name of an inode, of those in the part, that a walk
// in the order of Each meets first, going down at once where it meets a directory.
// ENOENT if there is none.
func (p *Part) First(ino chunkfmt.Ino) (Way, error) {
	p.mu.Lock()
	best, ok := p.first[ino]
	p.mu.Unlock()
	if ok {
		return best, nil
	}
	names, err := p.s.Names(ino)
	if err != nil {
		return Way{}, err
	}
	for _, l := range names {
		w, in, err := p.way(l)
		if err != nil {
			return Way{}, err
		}
		if in && (best.Names == nil || slices.Compare(w.cookies, best.cookies) < 0) {
			best = w
		}
	}
	if best.Names == nil {
		return Way{}, fmt.Errorf("inode %d: %w", ino, unix.ENOENT)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.first) >= maxFirst {
		clear(p.first)
	}
	p.first[ino] = best
	return best, nil
}

// way finds the way to a name, if it is in the part.
func (p *Part) way(l Link) (Way, bool, error) {
	w := Way{Link: l}
	for at := l; ; {
		e, err := p.s.dirent(at)
		if err != nil {
			return w, false, err
		}
		w.Names, w.cookies = append(w.Names, at.Name), append(w.cookies, e.Cookie)
		if at.Parent == p.base {
			break
		}
		if at.Parent == chunkfmt.RootIno {
			return w, false, nil
		}
		above, err := p.s.Names(at.Parent)
		if err != nil {
			return w, false, err
		}
		if len(above) == 0 || len(w.Names) == maxDepth {
			return w, false, fmt.Errorf("%w: directory %d has no way to the root", unix.EIO, at.Parent)
		}
		at = above[0]
	}
	slices.Reverse(w.Names)
	slices.Reverse(w.cookies)
	return w, p.only.has(w.Names), nil
}

// has says whether the names lead to something chosen.
func (c *selection) has(names []string) bool {
	for _, name := range names {
		if c == nil {
			return true
		}
		next, ok := c.names[name]
		if !ok {
			return false
		}
		c = next
	}
	return c == nil
}
