package fusefs

import (
	"math"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"coffer/fusefs/past"
	"coffer/fusefs/tree"
)

// withSnapshots answers for what lies below .snapshots and leaves the rest to the live tree. Numbers of nodes tell
// which is which. What would change something there is in readonly.go.
type withSnapshots struct {
	*filesystem
	past  *past.Snapshots
	files handles[*past.File]
}

// inPast says whether a request is about an archive, and which file of it.
func inPast(h *fuse.InHeader) (past.Node, bool) { return past.Node(h.NodeId), past.IsNode(h.NodeId) }

// Lookup implements fuse.RawFileSystem.
func (s *withSnapshots) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	parent, ok := inPast(h)
	if !ok {
		if h.NodeId != fuse.FUSE_ROOT_ID || name != tree.Snapshots {
			return s.filesystem.Lookup(cancel, h, name, out)
		}
		parent, name = past.Root, "."
	}
	f, err := s.past.Lookup(parent, name)
	status := s.status(err)
	switch {
	case status == fuse.ENOENT && parent != past.Root:
		out.SetEntryTimeout(timeToLive) // what was not there never will have been
		return fuse.OK
	case !status.Ok():
		return status
	case f.Node == 0:
		above := fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID, Caller: h.Caller, Unique: h.Unique}
		return s.filesystem.Lookup(cancel, &above, ".", out)
	}
	fillPast(out, &f)
	if f.Node == past.Root {
		out.SetEntryTimeout(timeToLive)
	}
	return fuse.OK
}

// fillPast tells the kernel of a file of an archive.
func fillPast(out *fuse.EntryOut, f *past.Found) {
	out.NodeId = uint64(f.Node)
	out.SetEntryTimeout(lifeOf(f))
	out.SetAttrTimeout(lifeOf(f))
	fillAttr(&out.Attr, tree.Ino(f.Node), &f.Attr)
}

func lifeOf(f *past.Found) time.Duration {
	if f.Lasting {
		return timeToLive
	}
	return 0
}

// Forget implements fuse.RawFileSystem. Nothing of archives is remembered.
func (s *withSnapshots) Forget(nodeID, n uint64) {
	if !past.IsNode(nodeID) {
		s.filesystem.Forget(nodeID, n)
	}
}

// GetAttr implements fuse.RawFileSystem.
func (s *withSnapshots) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n, ok := inPast(&in.InHeader)
	if !ok {
		return s.filesystem.GetAttr(cancel, in, out)
	}
	f, err := s.past.Get(n)
	if err != nil {
		return s.stale(err)
	}
	out.SetTimeout(lifeOf(&f))
	fillAttr(&out.Attr, tree.Ino(n), &f.Attr)
	return fuse.OK
}

// Statx implements fuse.RawFileSystem.
func (s *withSnapshots) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	n, ok := inPast(&in.InHeader)
	if !ok {
		return s.filesystem.Statx(cancel, in, out)
	}
	f, err := s.past.Get(n)
	if err != nil {
		return s.stale(err)
	}
	out.SetTimeout(lifeOf(&f))
	fillStatx(&out.Statx, in.NodeId, &f.Attr)
	return fuse.OK
}

// Readlink implements fuse.RawFileSystem.
func (s *withSnapshots) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	n, ok := inPast(h)
	if !ok {
		return s.filesystem.Readlink(cancel, h)
	}
	f, err := s.past.Get(n)
	return []byte(f.Target), s.stale(err)
}

// GetXAttr implements fuse.RawFileSystem.
func (s *withSnapshots) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	n, ok := inPast(h)
	if !ok {
		return s.filesystem.GetXAttr(cancel, h, name, dest)
	}
	if s := checkXattr(name); !s.Ok() {
		return 0, s
	}
	value, err := s.past.Xattr(n, name)
	if err != nil {
		return 0, s.stale(err)
	}
	return give(dest, value)
}

// ListXAttr implements fuse.RawFileSystem.
func (s *withSnapshots) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	n, ok := inPast(h)
	if !ok {
		return s.filesystem.ListXAttr(cancel, h, dest)
	}
	all, err := s.past.Xattrs(n)
	if err != nil {
		return 0, s.stale(err)
	}
	var list strings.Builder
	for _, x := range all {
		listXattr(&list, h, x.Name)
	}
	return give(dest, []byte(list.String()))
}

// Open implements fuse.RawFileSystem. What the kernel has of a file stays true.
func (s *withSnapshots) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n, ok := inPast(&in.InHeader)
	if !ok {
		return s.filesystem.Open(cancel, in, out)
	}
	if writes(in.Flags) || in.Flags&unix.O_TRUNC != 0 {
		return fuse.EROFS
	}
	f, err := s.past.Open(n)
	if err != nil {
		return s.stale(err)
	}
	out.Fh = s.files.add(f)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// Read implements fuse.RawFileSystem.
func (s *withSnapshots) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if _, ok := inPast(&in.InHeader); !ok {
		return s.filesystem.Read(cancel, in, buf)
	}
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
func (s *withSnapshots) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	if _, ok := inPast(&in.InHeader); !ok {
		return s.filesystem.Lseek(cancel, in, out)
	}
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
func (s *withSnapshots) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if _, ok := inPast(&in.InHeader); ok {
		return fuse.OK
	}
	return s.filesystem.Flush(cancel, in)
}

// Release implements fuse.RawFileSystem.
func (s *withSnapshots) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	if _, ok := inPast(&in.InHeader); ok {
		s.files.remove(in.Fh)
		return
	}
	s.filesystem.Release(cancel, in)
}

// OpenDir implements fuse.RawFileSystem. The kernel may keep what it has listed of an archive.
func (s *withSnapshots) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n, ok := inPast(&in.InHeader)
	if !ok {
		return s.filesystem.OpenDir(cancel, in, out)
	}
	if n != past.Root {
		out.OpenFlags = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	}
	return fuse.OK
}

// ReadDir implements fuse.RawFileSystem.
func (s *withSnapshots) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	n, ok := inPast(&in.InHeader)
	if !ok {
		return s.filesystem.ReadDir(cancel, in, out)
	}
	return s.listPast(cancel, in, n, out.AddDirEntry)
}

// ReadDirPlus implements fuse.RawFileSystem.
func (s *withSnapshots) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	n, ok := inPast(&in.InHeader)
	if !ok {
		return s.filesystem.ReadDirPlus(cancel, in, out)
	}
	return s.listPast(cancel, in, n, func(e fuse.DirEntry) bool {
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if e.Off > dotDotCookie {
			// What can't be had now, the kernel asks for when it needs it.
			if f, err := s.past.Get(past.Node(e.Ino)); err == nil {
				fillPast(entry, &f)
			}
		}
		return true
	})
}

// listPast calls add with the entries behind in.Offset until it returns false.
func (s *withSnapshots) listPast(cancel <-chan struct{}, in *fuse.ReadIn, n past.Node, add func(fuse.DirEntry) bool) fuse.Status {
	ctx := s.request(cancel, &in.InHeader)
	defer ctx.end()
	after := in.Offset
	if after < dotDotCookie {
		f, err := s.past.Get(n)
		if err != nil {
			return s.status(err)
		}
		above := uint64(f.Parent)
		if n == past.Root {
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
	err := s.past.ReadDir(ctx, n, max(after, dotDotCookie), func(name string, d past.Dirent) bool {
		return add(fuse.DirEntry{Name: name, Ino: uint64(d.Node), Mode: uint32(d.Type) << 12, Off: d.Cookie})
	})
	return s.status(err)
}

// ReleaseDir implements fuse.RawFileSystem.
func (s *withSnapshots) ReleaseDir(in *fuse.ReleaseIn) {
	if _, ok := inPast(&in.InHeader); !ok {
		s.filesystem.ReleaseDir(in)
	}
}
