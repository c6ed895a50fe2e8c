package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"coffer/fusefs"
	"coffer/pipeline/channel"
	"coffer/pipeline/monitor"
)

// mounted is a volume that a coffer process of this user serves on this machine.
type mounted struct{ *monitor.Client }

// mounts lists them.
func mounts() ([]mounted, error) {
	clients, err := monitor.Mounts()
	var all []mounted
	for _, c := range clients {
		if c.MountPoint != "" {
			all = append(all, mounted{c})
		}
	}
	return all, err
}

// mountAt finds the volume that is mounted at a directory.
func mountAt(dir string) (*mounted, error) {
	path, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	missing := fmt.Errorf("%s: %w", dir, errNotMounted)
	var st unix.Statfs_t
	if unix.Statfs(path, &st) == unix.ENOTCONN {
		missing = fmt.Errorf("%s: %w", dir, fusefs.ErrStale)
	}
	return find(missing, func(m mounted) bool { return m.MountPoint == path })
}

// mountedHere finds the process that writes a volume; nil: it is not mounted on this machine by this user, or read-only.
func mountedHere(store, volume string) (*mounted, error) {
	if isAddress(store) {
		address, err := channel.ParseAddress(store)
		if err != nil {
			return nil, err
		}
		return find(nil, func(m mounted) bool { return !m.ReadOnly && m.Store == address.String() && m.Volume == volume })
	}
	path, err := resolve(store)
	if err != nil {
		return nil, err
	}
	return find(nil, func(m mounted) bool { return !m.ReadOnly && m.Store == path && m.Volume == volume })
}

func find(missing error, suits func(mounted) bool) (*mounted, error) {
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if suits(m) {
			return &m, nil
		}
	}
	return nil, missing
}

// resolve makes a path absolute and free of symbolic links above its last element, which is not looked
// at: it may be a dead mount.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", path, err)
	}
	above, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return abs, nil // nothing of ours is there
	}
	return filepath.Join(above, filepath.Base(abs)), nil
}

func (m *mounted) sync(ctx context.Context, remote bool) error {
	return said(m.Call(ctx, "sync", syncRequest{remote}, nil))
}

func (m *mounted) snapshot(ctx context.Context, label string) (a snapshotAnswer, err error) {
	err = m.Call(ctx, "snapshot", snapshotRequest{label}, &a)
	return a, said(err)
}

func (m *mounted) archives(ctx context.Context) (all []archiveStatus, err error) {
	err = m.Call(ctx, "archives", nil, &all)
	return all, said(err)
}

// index gives the path of a copy of the index, which is the caller's to remove.
func (m *mounted) index(ctx context.Context) (path string, err error) {
	err = m.Call(ctx, "index", nil, &path)
	return path, said(err)
}

func (m *mounted) unmount(ctx context.Context) (a unmountAnswer, err error) {
	err = m.Call(ctx, "umount", nil, &a)
	return a, said(err)
}

// amend gives how many of the amendments hold, and are in the log.
func (m *mounted) amend(ctx context.Context, all []amendment) (n int, err error) {
	err = m.Call(ctx, "amend", all, &n)
	return n, said(err)
}

func (m *mounted) put(ctx context.Context, r putRequest, tell func(putLine)) error {
	return said(m.Put(ctx, r, func(b json.RawMessage) error {
		var line putLine
		if err := json.Unmarshal(b, &line); err != nil {
			return err
		}
		tell(line)
		return nil
	}))
}

// said makes an error of another coffer process this one's.
func said(err error) error {
	var e *monitor.RemoteError
	if errors.As(err, &e) {
		var other daemonError
		if json.Unmarshal(e.Body, &other) == nil {
			return &other
		}
	}
	return err
}
