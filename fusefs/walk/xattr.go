package walk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

// xattrs are extended attributes of a source, POSIX ACLs among them.
type xattrs []xattr

type xattr struct {
	name  string
	value []byte
}

// own is the prefix of attributes that are this program's, in the volume and nowhere else.
const own = "coffer."

// xattrsOf reads those of an open file.
func xattrsOf(fd int) (xattrs, error) {
	return readXattrs(
		func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
}

// xattrsAt reads those of what can't be opened: symbolic links, devices, FIFOs, sockets.
func xattrsAt(fd int, name string) (xattrs, error) {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)
	return readXattrs(
		func(b []byte) (int, error) { return unix.Llistxattr(path, b) },
		func(name string, b []byte) (int, error) { return unix.Lgetxattr(path, name, b) })
}

func readXattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) (xattrs, error) {
	var small [1024]byte
	names, err := whole(small[:], list)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var all xattrs
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		if strings.HasPrefix(name, own) {
			continue
		}
		value, err := whole(make([]byte, 256), func(b []byte) (int, error) { return get(name, b) })
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			continue // gone meanwhile, or not for us to see
		}
		if err != nil {
			return nil, fmt.Errorf("read attribute %s: %w", name, err)
		}
		all = append(all, xattr{name, value})
	}
	return all, nil
}

// whole calls read with b, and with a buffer of the largest size that the kernel knows if that is too small.
func whole(b []byte, read func([]byte) (int, error)) ([]byte, error) {
	n, err := read(b)
	if err == unix.ERANGE {
		b = make([]byte, tree.XattrMax)
		n, err = read(b)
	}
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

// settleXattrs makes the attributes of ino those of a source, and says whether any had to be changed.
func (r *run) settleXattrs(ctx context.Context, ino tree.Ino, want xattrs) (changed bool, err error) {
	have, err := r.tree.ListXattr(ctx, ino)
	if err != nil {
		return false, onTree(err)
	}
	there := map[string]bool{}
	for _, name := range have {
		there[name] = true
	}
	for _, x := range want {
		if there[x.name] {
			delete(there, x.name)
			value, err := r.tree.GetXattr(ctx, ino, x.name)
			if err != nil {
				return changed, onTree(err)
			}
			if bytes.Equal(value, x.value) {
				continue
			}
		}
		if err := r.tree.SetXattr(ctx, ino, x.name, x.value, 0); err != nil {
			return changed, fmt.Errorf("set attribute %s: %w", x.name, onTree(err))
		}
		changed = true
	}
	for name := range there {
		if strings.HasPrefix(name, own) {
			continue
		}
		if err := r.tree.RemoveXattr(ctx, ino, name); err != nil {
			return changed, onTree(err)
		}
		changed = true
	}
	return changed, nil
}
