package history

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
	"coffer/index"
)

// Deleted is the kind of a Version after which there is none.
const Deleted Kind = "deleted"

// Version is a file as it was from one archive on.
type Version struct {
	Archive *chunkfmt.ArchiveRecord // in which it is seen first; nil: not in an archive yet
	Ino     chunkfmt.Ino
	Change
	chunkfmt.Attr
}

// Of calls f with every version of what ever was at path: also before it came there
// and after it was moved elsewhere. It looks at every archive. ENOENT if nothing ever
// was there.
func Of(ctx context.Context, x past.Index, groups past.Groups, path string, f func(Version) error) error {
	var inos []chunkfmt.Ino
	err := each(ctx, x, func(n uint32, _ *chunkfmt.ArchiveRecord) error {
		e, err := past.At(x, groups, n).Resolve(path)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			return nil
		}
		if err == nil && !slices.Contains(inos, e.Ino) {
			inos = append(inos, e.Ino)
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(inos) == 0 {
		return fmt.Errorf("/%s, at any time: %w", path, unix.ENOENT)
	}
	seen := make([]sighting, len(inos))
	return each(ctx, x, func(n uint32, a *chunkfmt.ArchiveRecord) error {
		s := past.At(x, groups, n)
		for k, ino := range inos {
			v, is, err := seen[k].next(s, ino, path)
			if err != nil {
				return err
			}
			if !is {
				continue
			}
			v.Archive = a
			if err := f(v); err != nil {
				return err
			}
		}
		return nil
	})
}

// each calls f with every archive, and at last with the present and a nil record.
func each(ctx context.Context, x past.Index, f func(n uint32, a *chunkfmt.ArchiveRecord) error) error {
	after := uint32(0)
	for {
		// A step at a time: callbacks of the index must be brief.
		var step []chunkfmt.ArchiveRecord
		err := x.Archives(after, func(a chunkfmt.ArchiveRecord) bool {
			step = append(step, a)
			return len(step) < 100
		})
		if err != nil {
			return err
		}
		if len(step) == 0 {
			return f(index.Present, nil)
		}
		for i := range step {
			if err := ctx.Err(); err != nil {
				return err
			}
			after = step[i].Number
			if err := f(after, &step[i]); err != nil {
				return err
			}
		}
	}
}

// sighting is what was last seen of an inode.
type sighting struct {
	state *past.State // nil: not there
	entry past.Entry
	path  string
}

// next looks at an inode in the next state, and says what has changed.
func (l *sighting) next(s *past.State, ino chunkfmt.Ino, path string) (v Version, is bool, err error) {
	e, names, ok, err := has(s, ino)
	if err != nil {
		return v, false, err
	}
	last := *l
	if !ok {
		l.state = nil
		v = Version{Ino: ino, Attr: last.entry.Attr, Change: Change{Kind: Deleted, Path: last.path, Mode: last.entry.Mode}}
		return v, last.state != nil, nil
	}
	*l = sighting{state: s, entry: e}
	if l.path, err = nameOf(s, names, path); err != nil {
		return v, false, err
	}
	v = Version{Ino: ino, Attr: e.Attr, Change: Change{Path: l.path, Mode: e.Mode}}
	if last.state == nil {
		v.Kind, v.Bytes = Added, sizeOf(&e)
		return v, true, nil
	}
	c, err := compare(last.state, s, &last.entry, &e)
	if err != nil {
		return v, false, err
	}
	v.Kind, v.Bytes, v.What = Changed, c.bytes, c.what
	if last.path != l.path {
		v.Kind, v.From = Renamed, last.path
	}
	return v, last.path != l.path || !c.same(), nil
}

// nameOf gives the path that was asked for, if that is one of the names, else the first.
func nameOf(s *past.State, names []past.Link, path string) (string, error) {
	first := ""
	for i, l := range names {
		at, err := s.Path(l)
		if err != nil || at == path {
			return at, err
		}
		if i == 0 {
			first = at
		}
	}
	return first, nil
}
