package fusefs

import (
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// Offsets in a directory stream are cookies of the tree, which start at 3; the first two are of the dots.
const (
	dotCookie    = 1
	dotDotCookie = 2
)

// stream is an open directory.
type stream struct {
	// end is the cookie before which it ends: that of the entry made next when it was opened or rewound. Who
	// renames all that a stream gives would else never come to its end.
	end atomic.Uint64
}

// OpenDir implements fuse.RawFileSystem.
func (fs *filesystem) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.Fh = fs.streams.add(&stream{})
	return fuse.OK
}

// ReadDir implements fuse.RawFileSystem.
func (fs *filesystem) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.list(cancel, in, func(e fuse.DirEntry, _ func() (tree.Attr, error)) bool {
		return out.AddDirEntry(e)
	})
}

// ReadDirPlus implements fuse.RawFileSystem.
func (fs *filesystem) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.list(cancel, in, func(e fuse.DirEntry, attr func() (tree.Attr, error)) bool {
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if attr == nil {
			return true
		}
		// Node id 0 says that nothing was looked up: the kernel asks, and gets the error, when it needs to.
		if a, err := attr(); err == nil {
			fillEntry(entry, tree.Entry{Ino: tree.Ino(e.Ino), Attr: a})
		}
		return true
	})
}

// list calls add with the entries behind in.Offset until it returns false. attr is nil for the dots, which the
// kernel knows.
func (fs *filesystem) list(cancel <-chan struct{}, in *fuse.ReadIn, add func(e fuse.DirEntry, attr func() (tree.Attr, error)) bool) fuse.Status {
	st, ok := fs.streams.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	dir := ino(&in.InHeader)
	if in.Offset < dotDotCookie || st.end.Load() == 0 {
		a, err := fs.tree.Getattr(ctx, dir)
		if err != nil {
			return fs.status(err)
		}
		if in.Offset == 0 || st.end.Load() == 0 {
			st.end.Store(a.NextCookie)
		}
		dots := []fuse.DirEntry{
			{Name: ".", Ino: uint64(dir), Mode: unix.S_IFDIR, Off: dotCookie},
			{Name: "..", Ino: uint64(a.Parent), Mode: unix.S_IFDIR, Off: dotDotCookie},
		}
		for _, e := range dots[min(in.Offset, dotDotCookie):] {
			if !add(e, nil) {
				return fuse.OK
			}
		}
	}
	after := in.Offset
	if after <= dotDotCookie {
		after = 0
	}
	end := st.end.Load()
	err := fs.tree.ReadDir(ctx, dir, after, func(name string, d tree.Dirent, attr func() (tree.Attr, error)) bool {
		return d.Cookie < end && add(fuse.DirEntry{Name: name, Ino: uint64(d.Ino), Mode: uint32(d.Type) << 12, Off: d.Cookie}, attr)
	})
	if err == nil && in.Flags&unix.O_NOATIME == 0 {
		fs.tree.Accessed(dir)
	}
	return fs.status(err)
}

// ReleaseDir implements fuse.RawFileSystem.
func (fs *filesystem) ReleaseDir(in *fuse.ReleaseIn) { fs.streams.remove(in.Fh) }

// FsyncDir implements fuse.RawFileSystem: what has happened anywhere before it is stable.
func (fs *filesystem) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	return fs.status(fs.tree.Sync(ctx))
}
