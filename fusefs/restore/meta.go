package restore

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// setID are the bits of a mode that give who runs a file the rights of its owner.
const setID = unix.S_ISUID | unix.S_ISGID

// target is a file of the destination, whose attributes are to be set: by a descriptor,
// or by a name.
type target struct {
	fd   int
	at   int // where name is, if fd is -1
	name string
}

// entry is a path to an entry of an open directory, for calls that take no descriptor.
func entry(at int, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", at, name) }

func (t *target) chown(uid, gid uint32) error {
	if t.fd >= 0 {
		return unix.Fchown(t.fd, int(uid), int(gid))
	}
	return unix.Fchownat(t.at, t.name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW)
}

func (t *target) chmod(mode uint32) error {
	if t.fd >= 0 {
		return unix.Fchmod(t.fd, mode)
	}
	return unix.Fchmodat(t.at, t.name, mode, 0) // not called for symbolic links
}

func (t *target) setxattr(name string, value []byte) error {
	if t.fd >= 0 {
		return unix.Fsetxattr(t.fd, name, value, 0)
	}
	return unix.Lsetxattr(entry(t.at, t.name), name, value, 0)
}

func (t *target) settime(i *chunkfmt.Inode) error {
	times := [2]unix.Timespec{timespec(i.Atime), timespec(i.Mtime)}
	if t.fd >= 0 {
		return futimens(t.fd, &times)
	}
	return unix.UtimesNanoAt(t.at, t.name, times[:], unix.AT_SYMLINK_NOFOLLOW)
}

func timespec(t chunkfmt.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
}

// settle gives a file its attributes, the times last.
func (r *Run) settle(t target, ino chunkfmt.Ino, i *chunkfmt.Inode) error {
	if r.o.Owner {
		if err := t.chown(i.Uid, i.Gid); err != nil {
			return written("set the owner", err)
		}
	}
	xattrs, err := r.xattrs(ino, i)
	if err != nil {
		return err
	}
	for _, x := range xattrs {
		if err := t.setxattr(x.Name, x.Value); err != nil {
			return written("set the attribute "+x.Name, err)
		}
	}
	if i.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := t.chmod(r.mode(i)); err != nil {
			return written("set the mode", err)
		}
	}
	return written("set the times", t.settime(i))
}

// mode is the one that a file gets: without its owner, it gives nobody another's rights.
func (r *Run) mode(i *chunkfmt.Inode) uint32 {
	mode := i.Mode & 0o7777
	if !r.o.Owner && i.Uid != r.uid && i.Mode&unix.S_IFMT == unix.S_IFREG {
		mode &^= setID
	}
	return mode
}

// xattrs are the attributes that a file gets.
func (r *Run) xattrs(ino chunkfmt.Ino, i *chunkfmt.Inode) ([]past.Xattr, error) {
	all, err := r.state.Xattrs(ino)
	kept := all[:0]
	for _, x := range all {
		if !past.IsOwn(x.Name) && r.isKept(x.Name) {
			kept = append(kept, x)
		}
	}
	return kept, err
}

// isKept says whether an attribute of the destination is one that is restored, or kept
// track of.
func (r *Run) isKept(name string) bool {
	return r.o.Owner || strings.HasPrefix(name, "user.") || name == aclAccess || name == aclDefault
}

// dropInherited takes the ACLs off that a file or directory got when it was made.
func dropInherited(fd int) {
	// That there is none, or that they can't be had there, is as good.
	_ = unix.Fremovexattr(fd, aclAccess)
	_ = unix.Fremovexattr(fd, aclDefault)
}

// xattrsThere are the attributes that a file of the destination has.
func (r *Run) xattrsThere(at int, name string) (map[string]string, error) {
	path := entry(at, name)
	list, err := whole(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if errors.Is(err, unix.EOPNOTSUPP) || len(list) == 0 {
		return nil, nil
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if !r.isKept(name) {
			continue
		}
		value, err := whole(func(b []byte) (int, error) { return unix.Lgetxattr(path, name, b) })
		if err != nil {
			return nil, err
		}
		all[name] = string(value)
	}
	return all, err
}

// whole calls read with a buffer that is large enough.
func whole(read func([]byte) (int, error)) ([]byte, error) {
	for size := 1 << 10; ; size = 64 << 10 {
		b := make([]byte, size)
		n, err := read(b)
		if err == unix.ERANGE && size < 64<<10 {
			continue
		}
		return b[:max(n, 0)], err
	}
}

// futimens sets the times of an open file.
func futimens(fd int, times *[2]unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
