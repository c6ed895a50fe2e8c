package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

// Kind of a Change.
type Kind string

// The kinds.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
	Renamed Kind = "renamed"
)

// Change is one name that differs between two states.
type Change struct {
	Kind  Kind     `json:"kind"`
	Path  string   `json:"path"`           // in the later state; if it was removed, in the earlier
	From  string   `json:"from,omitempty"` // before it was renamed
	Mode  uint32   `json:"mode"`           // S_IFMT and permissions
	Bytes uint64   `json:"bytes"`          // of content that differ, or came, or went
	What  []string `json:"what,omitempty"` // of a change, also beside a rename
}

// Diff calls f with what differs below path between two states, directory by
// directory: what was there and is gone, or is now elsewhere, before what is new. A
// file that took another's name is that one changed. What was moved out of path is
// removed. An error of f ends it.
func Diff(ctx context.Context, a, b *past.State, path string, f func(Change) error) error {
	d := &differ{ctx: ctx, a: a, b: b, below: strings.Trim(path, "/"), tell: f}
	x, errA := a.Resolve(path)
	y, errB := b.Resolve(path)
	gone, missing := errors.Is(errA, unix.ENOENT), errors.Is(errB, unix.ENOENT)
	switch {
	case errA != nil && !gone, gone && missing:
		return errA
	case errB != nil && !missing:
		return errB
	case missing:
		return d.removed(d.below, &x)
	case gone:
		return d.added(d.below, &y)
	}
	return d.both(d.below, &x, &y, "")
}

type differ struct {
	ctx   context.Context
	a, b  *past.State
	below string
	tell  func(Change) error
}

func isDir(e *past.Entry) bool { return e.Mode&unix.S_IFMT == unix.S_IFDIR }

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// both compares what is in both states; from is its earlier path if it was renamed.
func (d *differ) both(path string, x, y *past.Entry, from string) error {
	c, err := compare(d.a, d.b, x, y)
	if err != nil {
		return fmt.Errorf("compare /%s: %w", path, err)
	}
	if from != "" || !c.same() {
		change := Change{Kind: Changed, Path: path, From: from, Mode: y.Mode, Bytes: c.bytes, What: c.what}
		if from != "" {
			change.Kind = Renamed
		}
		if err := d.tell(change); err != nil {
			return err
		}
	}
	switch {
	case isDir(x) && isDir(y):
		return d.dirs(path, x, y)
	case isDir(x):
		return d.each(d.a, path, x, d.gone)
	case isDir(y):
		return d.each(d.b, path, y, d.come)
	}
	return nil
}

// dirs compares the entries of two directories, mostly the same one.
func (d *differ) dirs(path string, x, y *past.Entry) error {
	pairs := map[bool]func(path string, l past.Link, e *past.Entry) error{
		true: func(path string, l past.Link, e *past.Entry) error {
			other, err := d.b.Lookup(y.Ino, l.Name)
			switch {
			case errors.Is(err, unix.ENOENT):
				return d.gone(path, l, e)
			case err != nil:
				return err
			}
			same, err := d.same(e, &other)
			if err != nil {
				return err
			}
			if same {
				return d.both(path, e, &other, "")
			}
			return d.gone(path, l, e)
		},
		false: func(path string, l past.Link, e *past.Entry) error {
			other, err := d.a.Lookup(x.Ino, l.Name)
			switch {
			case errors.Is(err, unix.ENOENT):
				return d.come(path, l, e)
			case err != nil:
				return err
			}
			if same, err := d.same(&other, e); err != nil || same {
				return err // compared above
			}
			return d.come(path, l, e)
		},
	}
	if err := d.each(d.a, path, x, pairs[true]); err != nil {
		return err
	}
	return d.each(d.b, path, y, pairs[false])
}

// same says whether what has one name in both states is to be compared: it is one
// file, or one took the place of another that is nowhere else.
func (d *differ) same(x, y *past.Entry) (bool, error) {
	if x.Ino == y.Ino {
		return true, nil
	}
	_, _, left, err := has(d.b, x.Ino)
	if err != nil || left {
		return false, err
	}
	_, _, came, err := has(d.a, y.Ino)
	return !came, err
}

// has finds an inode, with its names, if it has any.
func has(s *past.State, ino chunkfmt.Ino) (past.Entry, []past.Link, bool, error) {
	i, err := s.Inode(ino)
	if errors.Is(err, unix.ENOENT) {
		return past.Entry{}, nil, false, nil
	}
	if err != nil {
		return past.Entry{}, nil, false, err
	}
	names, err := s.Names(ino)
	return past.Entry{Ino: ino, Inode: i}, names, len(names) > 0, err
}

// each calls f with the entries of a directory.
func (d *differ) each(s *past.State, path string, dir *past.Entry, f func(path string, l past.Link, e *past.Entry) error) error {
	var failed error
	err := s.ReadDir(d.ctx, dir.Ino, 0, func(name string, entry chunkfmt.Dirent) bool {
		var i chunkfmt.Inode
		if i, failed = s.Inode(entry.Ino); failed == nil {
			failed = f(join(path, name), past.Link{Parent: dir.Ino, Name: name}, &past.Entry{Ino: entry.Ino, Inode: i})
		}
		return failed == nil
	})
	return errors.Join(err, failed)
}

// moved pairs the names that an inode has lost with those that it was given, and gives
// the one that belongs to l.
func moved(l past.Link, had, has []past.Link) (past.Link, bool) {
	lost := without(had, has)
	given := without(has, had)
	i := slices.Index(lost, l)
	if i < 0 || i >= len(given) {
		return past.Link{}, false
	}
	return given[i], true
}

func without(all, those []past.Link) []past.Link {
	return slices.DeleteFunc(slices.Clone(all), func(l past.Link) bool { return slices.Contains(those, l) })
}

// gone is about a name that only the earlier state has.
func (d *differ) gone(path string, l past.Link, x *past.Entry) error {
	_, now, ok, err := has(d.b, x.Ino)
	if err != nil {
		return err
	}
	if ok {
		had, err := d.a.Names(x.Ino)
		if err != nil {
			return err
		}
		if to, ok := moved(l, had, now); ok {
			at, err := d.b.Path(to)
			if err != nil {
				return err
			}
			if d.below == "" || strings.HasPrefix(at, d.below+"/") {
				return nil // told where it is now
			}
		}
	}
	return d.removed(path, x)
}

func (d *differ) removed(path string, x *past.Entry) error {
	if err := d.tell(Change{Kind: Removed, Path: path, Mode: x.Mode, Bytes: sizeOf(x)}); err != nil || !isDir(x) {
		return err
	}
	return d.each(d.a, path, x, d.gone)
}

// come is about a name that only the later state has.
func (d *differ) come(path string, l past.Link, y *past.Entry) error {
	x, had, ok, err := has(d.a, y.Ino)
	if err != nil {
		return err
	}
	if ok {
		now, err := d.b.Names(y.Ino)
		if err != nil {
			return err
		}
		if from, ok := moved(l, now, had); ok {
			was, err := d.a.Path(from)
			if err != nil {
				return err
			}
			return d.both(path, &x, y, was)
		}
	}
	return d.added(path, y)
}

func (d *differ) added(path string, y *past.Entry) error {
	if err := d.tell(Change{Kind: Added, Path: path, Mode: y.Mode, Bytes: sizeOf(y)}); err != nil || !isDir(y) {
		return err
	}
	return d.each(d.b, path, y, d.come)
}

func sizeOf(e *past.Entry) uint64 {
	if e.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0
	}
	return e.Size
}
