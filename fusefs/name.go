package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"coffer/fusefs/tree"
)

// Mknod implements fuse.RawFileSystem.
func (fs *filesystem) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	return fs.made(name, out, func() (tree.Entry, error) {
		return fs.tree.Mknod(ctx, caller(&in.InHeader, in.Umask), ino(&in.InHeader), name, in.Mode, in.Rdev)
	})
}

// Mkdir implements fuse.RawFileSystem.
func (fs *filesystem) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	return fs.made(name, out, func() (tree.Entry, error) {
		return fs.tree.Mkdir(ctx, caller(&in.InHeader, in.Umask), ino(&in.InHeader), name, in.Mode)
	})
}

// Symlink implements fuse.RawFileSystem.
func (fs *filesystem) Symlink(cancel <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	ctx := fs.request(cancel, h)
	defer ctx.end()
	return fs.made(name, out, func() (tree.Entry, error) {
		return fs.tree.Symlink(ctx, caller(h, 0), ino(h), name, target)
	})
}

// Link implements fuse.RawFileSystem.
func (fs *filesystem) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	return fs.made(name, out, func() (tree.Entry, error) {
		return fs.tree.Link(ctx, tree.Ino(in.Oldnodeid), ino(&in.InHeader), name)
	})
}

// made is what all requests have in common that put a name into a directory.
func (fs *filesystem) made(name string, out *fuse.EntryOut, do func() (tree.Entry, error)) fuse.Status {
	if s := checkName(name); !s.Ok() {
		return s
	}
	e, err := do()
	if err != nil {
		return fs.status(err)
	}
	fillEntry(out, e)
	return fuse.OK
}

// Unlink implements fuse.RawFileSystem.
func (fs *filesystem) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if s := checkName(name); !s.Ok() {
		return s
	}
	ctx := fs.request(cancel, h)
	defer ctx.end()
	return fs.status(fs.tree.Unlink(ctx, ino(h), name))
}

// Rmdir implements fuse.RawFileSystem.
func (fs *filesystem) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if s := checkName(name); !s.Ok() {
		return s
	}
	ctx := fs.request(cancel, h)
	defer ctx.end()
	return fs.status(fs.tree.Rmdir(ctx, ino(h), name))
}

// Rename implements fuse.RawFileSystem. The tree refuses flags other than NOREPLACE and EXCHANGE,
// RENAME_WHITEOUT among them, with EINVAL.
func (fs *filesystem) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	if s := checkName(newName); !s.Ok() {
		return s
	}
	ctx := fs.request(cancel, &in.InHeader)
	defer ctx.end()
	return fs.status(fs.tree.Rename(ctx, ino(&in.InHeader), oldName, tree.Ino(in.Newdir), newName, in.Flags))
}
