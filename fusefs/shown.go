package fusefs

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"coffer/fusefs/past"
	"coffer/fusefs/tree"
)

// view is a tree that can be read only: *past.Snapshots and *past.Front are.
type view interface {
	Get(n past.Node) (past.Found, error)
	Lookup(parent past.Node, name string) (past.Found, error)
	ReadDir(ctx context.Context, n past.Node, after uint64, f func(name string, d past.Dirent) bool) error
	Xattr(n past.Node, name string) ([]byte, error)
	Xattrs(n past.Node) ([]past.Xattr, error)
	Open(n past.Node) (past.OpenFile, past.Found, error)
	Lasting(n past.Node) bool
}

// shown answers for a view. What would change something is in readonly.go.
type shown struct {
	fuse.RawFileSystem // what is not answered here: ENOSYS

	*answers
	view  view
	brief time.Duration // how long the kernel may believe what may change, without this mount knowing
	space func(context.Context) (tree.Space, error)

	files    handles[*shownFile]
	versions versions
}

// shownFile is an open file of a view.
type shownFile struct {
	past.OpenFile
	changes bool
}

func newShown(a *answers, v view) *shown {
	return &shown{RawFileSystem: fuse.NewDefaultRawFileSystem(), answers: a, view: v}
}

// String implements fuse.RawFileSystem.
func (s *shown) String() string { return fsType }

func nodeOf(h *fuse.InHeader) past.Node { return past.Node(h.NodeId) }

// life is how long the kernel may believe what it is told of a file.
func (s *shown) life(f *past.Found) time.Duration {
	if f.Lasting {
		return timeToLive
	}
	return s.brief
}

// Lookup implements fuse.RawFileSystem. What is not there in a directory that lasts never will be.
func (s *shown) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f, err := s.settled(cancel, h, func() (past.Found, error) { return s.view.Lookup(nodeOf(h), name) })
	status := s.status(err)
	switch {
	case status == fuse.ENOENT && s.view.Lasting(nodeOf(h)):
		out.SetEntryTimeout(timeToLive)
		return fuse.OK
	case !status.Ok():
		return status
	}
	s.fill(out, &f)
	return fuse.OK
}

// settled calls get for what the kernel is to be told of a file, until it may be.
func (s *shown) settled(cancel <-chan struct{}, h *fuse.InHeader, get func() (past.Found, error)) (past.Found, error) {
	for {
		f, err := get()
		if err != nil || f.Lasting {
			return f, err
		}
		settled := s.versions.pending(uint64(f.Node), versionOf(&f))
		if settled == nil {
			return f, nil
		}
		if err := s.wait(cancel, h, settled); err != nil {
			return f, err
		}
	}
}

func (s *shown) wait(cancel <-chan struct{}, h *fuse.InHeader, until <-chan struct{}) error {
	ctx := s.request(cancel, h)
	defer ctx.end()
	select {
	case <-until:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// changed has the kernel drop what it has in memory of files that are open and have changed.
func (s *shown) changed(drop func(node uint64)) {
	s.versions.update(func(node uint64) (version, bool) {
		f, err := s.view.Get(past.Node(node))
		return versionOf(&f), err == nil
	}, drop)
}

// fill tells the kernel of a file.
func (s *shown) fill(out *fuse.EntryOut, f *past.Found) {
	out.NodeId = uint64(f.Node)
	out.SetEntryTimeout(s.life(f))
	out.SetAttrTimeout(s.life(f))
	fillAttr(&out.Attr, tree.Ino(f.Node), &f.Attr)
}

// Forget implements fuse.RawFileSystem. Nothing is remembered.
func (s *shown) Forget(_, _ uint64) {}

func (s *shown) get(cancel <-chan struct{}, h *fuse.InHeader) (past.Found, error) {
	return s.settled(cancel, h, func() (past.Found, error) { return s.view.Get(nodeOf(h)) })
}

// GetAttr implements fuse.RawFileSystem.
func (s *shown) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f, err := s.get(cancel, &in.InHeader)
	if err != nil {
		return s.stale(err)
	}
	out.SetTimeout(s.life(&f))
	fillAttr(&out.Attr, tree.Ino(in.NodeId), &f.Attr)
	return fuse.OK
}

// Statx implements fuse.RawFileSystem.
func (s *shown) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	f, err := s.get(cancel, &in.InHeader)
	if err != nil {
		return s.stale(err)
	}
	out.SetTimeout(s.life(&f))
	fillStatx(&out.Statx, in.NodeId, &f.Attr)
	return fuse.OK
}

// Readlink implements fuse.RawFileSystem.
func (s *shown) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	f, err := s.view.Get(nodeOf(h))
	return []byte(f.Target), s.stale(err)
}

// GetXAttr implements fuse.RawFileSystem.
func (s *shown) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if s := checkXattr(name); !s.Ok() {
		return 0, s
	}
	value, err := s.view.Xattr(nodeOf(h), name)
	if err != nil {
		return 0, s.stale(err)
	}
	return give(dest, value)
}

// ListXAttr implements fuse.RawFileSystem.
func (s *shown) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	all, err := s.view.Xattrs(nodeOf(h))
	if err != nil {
		return 0, s.stale(err)
	}
	var list strings.Builder
	for _, x := range all {
		listXattr(&list, h, x.Name)
	}
	return give(dest, []byte(list.String()))
}

// Open implements fuse.RawFileSystem. Of what lasts, what the kernel has stays true. Of the rest see versions.
func (s *shown) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if writes(in.Flags) || in.Flags&unix.O_TRUNC != 0 {
		return fuse.EROFS
	}
	n := nodeOf(&in.InHeader)
	if s.view.Lasting(n) {
		f, _, err := s.view.Open(n)
		if err != nil {
			return s.stale(err)
		}
		out.Fh = s.files.add(&shownFile{f, false})
		out.OpenFlags = fuse.FOPEN_NOFLUSH | fuse.FOPEN_KEEP_CACHE
		return fuse.OK
	}
	f, err := s.openChanging(n)
	if err != nil {
		return s.stale(err)
	}
	out.Fh = s.files.add(&shownFile{f, true})
	out.OpenFlags = fuse.FOPEN_NOFLUSH | fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

// openChanging opens a file that may change, also while it is being opened.
func (s *shown) openChanging(n past.Node) (past.OpenFile, error) {
	for {
		f, is, err := s.view.Open(n)
		if err != nil {
			return nil, err
		}
		s.versions.open(uint64(n), versionOf(&is))
		// A change from now on finds it open.
		now, err := s.view.Get(n)
		if err == nil && versionOf(&now) == versionOf(&is) {
			return f, nil
		}
		s.versions.close(uint64(n))
		if err != nil {
			return nil, err
		}
	}
}

// Read implements fuse.RawFileSystem.
func (s *shown) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	f, ok := s.files.get(in.Fh)
	if !ok {
		return nil, fuse.EBADF
	}
	if in.Offset > math.MaxInt64 {
		return nil, fuse.EINVAL
	}
	ctx := s.request(cancel, &in.InHeader)
	defer ctx.end()
	n, err := f.Read(ctx, buf, int64(in.Offset))
	if err != nil {
		return nil, s.status(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Lseek implements fuse.RawFileSystem.
func (s *shown) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	f, ok := s.files.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	if in.Offset > math.MaxInt64 {
		return fuse.Status(unix.ENXIO)
	}
	off, err := f.Seek(int64(in.Offset), int(in.Whence))
	if err != nil {
		return s.status(err)
	}
	out.Offset = uint64(off)
	return fuse.OK
}

// Flush implements fuse.RawFileSystem.
func (s *shown) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Release implements fuse.RawFileSystem.
func (s *shown) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if f, ok := s.files.remove(in.Fh); ok && f.changes {
		s.versions.close(in.NodeId)
	}
}

// OpenDir implements fuse.RawFileSystem. The kernel may keep what it has listed of a directory that lasts.
func (s *shown) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if s.view.Lasting(nodeOf(&in.InHeader)) {
		out.OpenFlags = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	}
	return fuse.OK
}

// ReadDir implements fuse.RawFileSystem.
func (s *shown) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.list(cancel, in, out.AddDirEntry)
}

// ReadDirPlus implements fuse.RawFileSystem.
func (s *shown) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.list(cancel, in, func(e fuse.DirEntry) bool {
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if e.Off > dotDotCookie {
			// What can't be had now, the kernel asks for when it needs it.
			f, err := s.view.Get(past.Node(e.Ino))
			if err == nil && (f.Lasting || s.versions.pending(e.Ino, versionOf(&f)) == nil) {
				s.fill(entry, &f)
			}
		}
		return true
	})
}

// list calls add with the entries behind in.Offset until it returns false.
func (s *shown) list(cancel <-chan struct{}, in *fuse.ReadIn, add func(fuse.DirEntry) bool) fuse.Status {
	ctx := s.request(cancel, &in.InHeader)
	defer ctx.end()
	n, after := nodeOf(&in.InHeader), in.Offset
	if after < dotDotCookie {
		f, err := s.view.Get(n)
		if err != nil {
			return s.status(err)
		}
		above := uint64(f.Parent)
		if above == 0 { // the root of the mount
			above = uint64(tree.RootIno)
		}
		dots := []fuse.DirEntry{
			{Name: ".", Ino: uint64(n), Mode: unix.S_IFDIR, Off: dotCookie},
			{Name: "..", Ino: above, Mode: unix.S_IFDIR, Off: dotDotCookie},
		}
		for _, e := range dots[after:] {
			if !add(e) {
				return fuse.OK
			}
		}
	}
	err := s.view.ReadDir(ctx, n, max(after, dotDotCookie), func(name string, d past.Dirent) bool {
		return add(fuse.DirEntry{Name: name, Ino: uint64(d.Node), Mode: uint32(d.Type) << 12, Off: d.Cookie})
	})
	return s.status(err)
}

// ReleaseDir implements fuse.RawFileSystem.
func (s *shown) ReleaseDir(*fuse.ReleaseIn) {}

// StatFs implements fuse.RawFileSystem. Only of a view that is mounted by itself it is asked for.
func (s *shown) StatFs(cancel <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	if s.space == nil {
		*out = fuse.StatfsOut{Bsize: fragment, Frsize: fragment, NameLen: tree.NameMax}
		return fuse.OK
	}
	ctx := s.request(cancel, h)
	defer ctx.end()
	space, err := s.space(ctx)
	if err != nil {
		return s.status(err)
	}
	fillStatfs(out, space, 0)
	return fuse.OK
}

// Ioctl implements fuse.RawFileSystem, as of a live tree.
func (s *shown) Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status {
	return fuse.Status(unix.ENOTTY)
}
