package main

import (
	"fmt"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// loopback serves dir on mnt as go-fuse's example does, and ends when it is unmounted. It runs in a
// process of its own, as coffer does.
func loopback(dir, mnt string) error {
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		return fmt.Errorf("loopback of %s: %w", dir, err)
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
