package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// loopback serves dir on mnt as go-fuse's example does, and ends when it is unmounted. It runs in a
// process of its own, as coffer does. With passthrough the kernel reads and writes the files below by itself
// and the server sees names only, which measures the file system below and no server.
func loopback(dir, mnt string, passthrough bool) error {
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		return fmt.Errorf("loopback of %s: %w", dir, err)
	}
	if !passthrough {
		root = &served{root.(*fs.LoopbackNode)}
	}
	second := time.Second
	server, err := fs.Mount(mnt, root, &fs.Options{
		AttrTimeout: &second, EntryTimeout: &second, NullPermissions: true,
		MountOptions: fuse.MountOptions{FsName: dir, Name: "loopback"},
	})
	if err != nil {
		return fmt.Errorf("loopback of %s: %w", dir, err)
	}
	fmt.Println("mounted")
	server.Wait()
	return nil
}

// served is a node of a loopback whose files go through the server.
type served struct{ *fs.LoopbackNode }

// WrapChild implements fs.NodeWrapChilder.
func (n *served) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &served{child.(*fs.LoopbackNode)}
}

// Open implements fs.NodeOpener.
func (n *served) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	return servedFile(f), fuseFlags, errno
}

// Create implements fs.NodeCreater.
func (n *served) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	inode, f, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, servedFile(f), fuseFlags, errno
}

// noPassthrough is a file that offers no descriptor to the kernel.
type noPassthrough struct{ *fs.LoopbackFile }

// PassthroughFd implements fs.FilePassthroughFder.
func (noPassthrough) PassthroughFd() (int, bool) { return 0, false }

func servedFile(f fs.FileHandle) fs.FileHandle {
	if file, ok := f.(*fs.LoopbackFile); ok {
		return noPassthrough{file}
	}
	return f
}
