package past

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// Snapshots is the directory of all archives of a volume and what lies below. An
// archive appears in it once the index has it. Methods are safe for concurrent use.
type Snapshots struct {
	x      Index
	groups Groups
}

// New makes the directory of the archives that x knows.
func New(x Index, groups Groups) *Snapshots { return &Snapshots{x, groups} }

// Found is what a name or number leads to.
type Found struct {
	Node Node
	chunkfmt.Inode
	Parent Node // of a directory; 0: the live tree's root
	// Lasting says that this is so for as long as the archive is there.
	Lasting bool
}

// Lookup finds an entry of a directory; "." and ".." work. Found.Node is 0 for the
// parent of Root.
func (v *Snapshots) Lookup(parent Node, name string) (Found, error) {
	if parent == Root {
		return v.archive(name)
	}
	s, err := v.state(parent)
	if err != nil {
		return Found{}, err
	}
	if name == ".." && parent.ino() == chunkfmt.RootIno {
		return v.root()
	}
	e, err := s.Lookup(parent.ino(), name)
	if err != nil {
		return Found{}, err
	}
	return found(parent.archive(), e)
}

// found numbers what was found in an archive.
func found(archive uint32, e Entry) (Found, error) {
	n, ok := node(archive, e.Ino)
	if !ok {
		return Found{}, fmt.Errorf("%w: inode %d of archive %d", unix.EOVERFLOW, e.Ino, archive)
	}
	f := Found{Node: n, Inode: e.Inode, Lasting: true}
	if e.Mode&unix.S_IFMT == unix.S_IFDIR {
		f.Parent = Root
		if e.Ino != chunkfmt.RootIno {
			if f.Parent, ok = node(archive, e.Inode.Parent); !ok {
				return Found{}, unix.EOVERFLOW
			}
		}
	}
	return f, nil
}

// archive finds an entry of Root.
func (v *Snapshots) archive(name string) (Found, error) {
	switch name {
	case ".":
		return v.root()
	case "..":
		return Found{}, nil
	}
	if ns, ok := ParseName(name); ok {
		a, ok, err := v.x.ArchiveAt(ns)
		if err != nil {
			return Found{}, fmt.Errorf("%w: %w", unix.EIO, err)
		}
		if !ok || a.Time != ns {
			return Found{}, unix.ENOENT
		}
		return v.Get(nodeOf(&a))
	}
	if !IsName(name) {
		return Found{}, unix.ENOENT
	}
	a, ok, err := v.x.ArchiveLabelled(name)
	if err != nil {
		return Found{}, fmt.Errorf("%w: %w", unix.EIO, err)
	}
	if !ok {
		return Found{}, unix.ENOENT
	}
	return link(&a)
}

func nodeOf(a *chunkfmt.ArchiveRecord) Node {
	n, ok := node(a.Number, chunkfmt.RootIno)
	if !ok {
		return 0
	}
	return n
}

// link is the label of an archive: a symbolic link to its name, for a directory can
// have one name only.
func link(a *chunkfmt.ArchiveRecord) (Found, error) {
	n, ok := node(a.Number, 0)
	if !ok {
		return Found{}, unix.EOVERFLOW
	}
	f := Found{Node: n}
	at := timeOf(a.Time)
	f.Target = Name(a)
	f.Attr = chunkfmt.Attr{
		Mode: unix.S_IFLNK | 0o777, Nlink: 1, Size: uint64(len(f.Target)),
		Atime: at, Mtime: at, Ctime: at, Btime: at,
	}
	return f, nil
}

func timeOf(ns int64) chunkfmt.Time {
	t := time.Unix(0, ns)
	return chunkfmt.Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

// root gives Root: as old as the newest archive, and the owner's of the live root.
func (v *Snapshots) root() (Found, error) {
	f := Found{Node: Root}
	i, err := At(v.x, v.groups, v.x.Archive()).Inode(chunkfmt.RootIno)
	if err != nil && err != unix.ENOENT { // of a volume that is new
		return f, err
	}
	f.Inode = i
	f.Mode, f.Nlink, f.Size, f.Blocks = unix.S_IFDIR|0o555, 2, 0, 0
	a, ok, err := v.x.ArchiveNumbered(v.x.Archive() - 1)
	if err != nil {
		return f, fmt.Errorf("%w: %w", unix.EIO, err)
	}
	if ok {
		at := timeOf(a.Time)
		f.Atime, f.Mtime, f.Ctime = at, at, at
	}
	return f, nil
}

// state gives the archive that a node is of; ESTALE if it is not sealed, or not any more.
func (v *Snapshots) state(n Node) (*State, error) {
	_, ok, err := v.x.ArchiveNumbered(n.archive())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", unix.EIO, err)
	}
	if !ok {
		return nil, unix.ESTALE
	}
	return At(v.x, v.groups, n.archive()), nil
}

// Get gives what a number stands for.
func (v *Snapshots) Get(n Node) (Found, error) {
	if n == Root {
		return v.root()
	}
	if n.ino() == 0 {
		a, ok, err := v.x.ArchiveNumbered(n.archive())
		if err != nil {
			return Found{}, fmt.Errorf("%w: %w", unix.EIO, err)
		}
		if !ok {
			return Found{}, unix.ESTALE
		}
		return link(&a)
	}
	s, err := v.state(n)
	if err != nil {
		return Found{}, err
	}
	i, err := s.Inode(n.ino())
	if err != nil {
		return Found{}, err
	}
	return found(n.archive(), Entry{n.ino(), i})
}

// Dirent is an entry of a directory.
type Dirent struct {
	Node   Node
	Type   uint8  // DT_*
	Cookie uint64 // give it to ReadDir to go on after this entry; from 3
}

// ReadDir gives the entries of a directory whose cookies are beyond after, without
// the dots, until f returns false.
func (v *Snapshots) ReadDir(ctx context.Context, n Node, after uint64, f func(name string, d Dirent) bool) error {
	if n == Root {
		return v.list(after, f)
	}
	s, err := v.state(n)
	if err != nil {
		return err
	}
	room := true
	err = s.ReadDir(ctx, n.ino(), after, func(name string, d chunkfmt.Dirent) bool {
		var at Node
		at, room = node(n.archive(), d.Ino)
		return room && f(name, Dirent{at, d.Type, d.Cookie})
	})
	if err == nil && !room {
		err = unix.EOVERFLOW
	}
	return err
}

// list is ReadDir of Root. Archive n has the cookies 2n+1 and, for its label, 2n+2.
func (v *Snapshots) list(after uint64, f func(name string, d Dirent) bool) error {
	for {
		step := make([]chunkfmt.ArchiveRecord, 0, listStep)
		err := v.x.Archives(uint32(max(after, 2)/2-1), func(a chunkfmt.ArchiveRecord) bool {
			step = append(step, a)
			return len(step) < listStep
		})
		if err != nil {
			return fmt.Errorf("%w: %w", unix.EIO, err)
		}
		for _, a := range step {
			cookie := 2*uint64(a.Number) + 1
			if cookie > after && !f(Name(&a), Dirent{nodeOf(&a), unix.DT_DIR, cookie}) {
				return nil
			}
			if !IsName(a.Label) {
				continue
			}
			newest, ok, err := v.x.ArchiveLabelled(a.Label)
			if err != nil {
				return fmt.Errorf("%w: %w", unix.EIO, err)
			}
			label, _ := node(a.Number, 0)
			if ok && newest.Number == a.Number && cookie+1 > after && !f(a.Label, Dirent{label, unix.DT_LNK, cookie + 1}) {
				return nil
			}
		}
		if len(step) < listStep {
			return nil
		}
		after = 2*uint64(step[len(step)-1].Number) + 2
	}
}

// Xattr gives one extended attribute, or ENODATA.
func (v *Snapshots) Xattr(n Node, name string) ([]byte, error) {
	if n == Root || n.ino() == 0 {
		return nil, unix.ENODATA
	}
	s, err := v.state(n)
	if err != nil {
		return nil, err
	}
	return s.Xattr(n.ino(), name)
}

// Xattrs gives all extended attributes, ascending by name.
func (v *Snapshots) Xattrs(n Node) ([]Xattr, error) {
	if n == Root || n.ino() == 0 {
		return nil, nil
	}
	s, err := v.state(n)
	if err != nil {
		return nil, err
	}
	return s.Xattrs(n.ino())
}

// Open opens a regular file, and gives what it is.
func (v *Snapshots) Open(n Node) (OpenFile, Found, error) {
	if n == Root {
		return nil, Found{}, unix.EISDIR
	}
	if n.ino() == 0 {
		return nil, Found{}, unix.ELOOP
	}
	s, err := v.state(n)
	if err != nil {
		return nil, Found{}, err
	}
	f, i, err := s.open(n.ino())
	if err != nil {
		return nil, Found{}, err
	}
	is, err := found(n.archive(), Entry{n.ino(), i})
	return f, is, err
}

// Lasting says whether a file or directory stays as it is for as long as the archive is there.
func (v *Snapshots) Lasting(n Node) bool { return n != Root && n.ino() != 0 }
