package past

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// Resolve finds what a path from the root of the volume leads to. It follows no
// symbolic links: below one, it is ENOTDIR.
func (s *State) Resolve(path string) (Entry, error) {
	e, err := s.Lookup(chunkfmt.RootIno, ".")
	if err != nil {
		return e, fmt.Errorf("/: %w", err)
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if e.Mode&unix.S_IFMT != unix.S_IFDIR {
			return e, fmt.Errorf("/%s: %w", strings.TrimPrefix(path, "/"), unix.ENOTDIR)
		}
		if e, err = s.Lookup(e.Ino, name); err != nil {
			return e, fmt.Errorf("/%s: %w", strings.TrimPrefix(path, "/"), err)
		}
	}
	return e, nil
}

// Link is a name of an inode.
type Link struct {
	Parent chunkfmt.Ino
	Name   string
}

// Names gives the names of an inode, ascending by directory and name.
func (s *State) Names(ino chunkfmt.Ino) (all []Link, err error) {
	err = s.r.Parents(ino, func(parent chunkfmt.Ino, name string) bool {
		all = append(all, Link{parent, name})
		return true
	})
	if err != nil {
		return nil, failed(err)
	}
	return all, nil
}

// maxDepth is where a path is taken for one that runs in circles.
const maxDepth = 100_000

// Path gives the path of a name from the root of the volume, without a slash in front.
func (s *State) Path(l Link) (string, error) {
	names := []string{l.Name}
	for l.Parent != chunkfmt.RootIno {
		above, err := s.Names(l.Parent)
		if err != nil {
			return "", err
		}
		if len(above) == 0 || len(names) == maxDepth {
			return "", fmt.Errorf("%w: directory %d has no way to the root", unix.EIO, l.Parent)
		}
		l = above[0]
		names = append(names, l.Name)
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteString(names[i])
		if i > 0 {
			b.WriteByte('/')
		}
	}
	return b.String(), nil
}
