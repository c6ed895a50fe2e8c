package past

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/index"
)

// Index is what is needed of the view of the log. *index.Index is one.
type Index interface {
	At(archive uint32) *index.Reader
	Archive() uint32
	Archives(after uint32, f func(chunkfmt.ArchiveRecord) bool) error
	ArchiveNumbered(number uint32) (chunkfmt.ArchiveRecord, bool, error)
	ArchiveAt(ns int64) (chunkfmt.ArchiveRecord, bool, error)
	ArchiveLabelled(label string) (chunkfmt.ArchiveRecord, bool, error)
}

// Groups reads what has a place in the log. *stage.Groups is one.
type Groups interface {
	ReadAt(ctx context.Context, group chunkfmt.Seq, p []byte, off uint32) error
	Prefetch(groups ...chunkfmt.Seq)
}

// State is a volume as it was at one archive, by inode numbers. Methods are safe for
// concurrent use.
type State struct {
	r      *index.Reader
	groups Groups
}

// At gives the state at an archive that is sealed, or with index.Present that which
// the index has now; that one changes under its readers if the index does.
func At(x Index, groups Groups, archive uint32) *State { return &State{x.At(archive), groups} }

// failed is what a state answers for an error of the index: ESTALE if its archive is forgotten, else EIO.
func failed(err error) error {
	if errors.Is(err, index.ErrForgotten) {
		return fmt.Errorf("%w: %w", unix.ESTALE, err)
	}
	return fmt.Errorf("%w: %w", unix.EIO, err)
}

// Entry is an inode that a name leads to.
type Entry struct {
	Ino chunkfmt.Ino
	chunkfmt.Inode
}

// Inode gives attributes and link target; ENOENT if there was no such inode.
func (s *State) Inode(ino chunkfmt.Ino) (chunkfmt.Inode, error) {
	i, ok, err := s.r.Inode(ino)
	if err != nil {
		return i, failed(err)
	}
	if !ok {
		return i, unix.ENOENT
	}
	return i, nil
}

// Lookup finds an entry of a directory; "." and ".." work.
func (s *State) Lookup(parent chunkfmt.Ino, name string) (Entry, error) {
	if len(name) > nameMax {
		return Entry{}, unix.ENAMETOOLONG
	}
	if name == "." || name == ".." {
		i, err := s.Inode(parent)
		if err != nil || name == "." {
			return Entry{parent, i}, err
		}
		if i.Mode&unix.S_IFMT != unix.S_IFDIR {
			return Entry{}, unix.ENOTDIR
		}
		ino := i.Parent
		i, err = s.Inode(ino)
		return Entry{ino, i}, err
	}
	d, ok, err := s.r.Dirent(parent, name)
	if err != nil {
		return Entry{}, failed(err)
	}
	if !ok {
		return Entry{}, unix.ENOENT
	}
	i, err := s.Inode(d.Ino)
	return Entry{d.Ino, i}, err
}

// listStep is how many entries are read at a time.
const listStep = 128

// ReadDir gives the entries of a directory whose cookies are beyond after, in order,
// without the dots, until f returns false. The index is not held while f runs.
func (s *State) ReadDir(ctx context.Context, ino chunkfmt.Ino, after uint64, f func(name string, d chunkfmt.Dirent) bool) error {
	type entry struct {
		name string
		d    chunkfmt.Dirent
	}
	step := make([]entry, 0, listStep)
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", unix.EINTR, err)
		}
		step = step[:0]
		err := s.r.ReadDir(ino, after, listStep, func(name string, d chunkfmt.Dirent) bool {
			step = append(step, entry{name, d})
			return true
		})
		if err != nil {
			return failed(err)
		}
		for _, e := range step {
			if !f(e.name, e.d) {
				return nil
			}
			after = e.d.Cookie
		}
		if len(step) < listStep {
			return nil
		}
	}
}

// Xattr is an extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// IsOwn says whether an extended attribute is this program's own, in the volume and
// nowhere else.
func IsOwn(name string) bool { return strings.HasPrefix(name, "coffer.") }

// Xattr gives one extended attribute; ENODATA if there was none of that name.
func (s *State) Xattr(ino chunkfmt.Ino, name string) ([]byte, error) {
	value, ok, err := s.r.Xattr(ino, name)
	if err != nil {
		return nil, failed(err)
	}
	if !ok {
		return nil, unix.ENODATA
	}
	return value, nil
}

// Xattrs gives all extended attributes, ascending by name.
func (s *State) Xattrs(ino chunkfmt.Ino) (all []Xattr, err error) {
	err = s.r.Xattrs(ino, func(name string, value []byte) bool {
		all = append(all, Xattr{name, append([]byte{}, value...)})
		return true
	})
	if err != nil {
		return nil, failed(err)
	}
	return all, nil
}
