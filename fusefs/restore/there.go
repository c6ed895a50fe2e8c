package restore

import (
	"strings"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// presence is what the destination has of a name.
type presence int

const (
	absent   presence = iota
	other             // something else, or not complete
	complete          // what is to be restored, by all that can be seen without its content
)

// there looks at what has a name. Content is not compared: a file gets its name, and its
// time, when all of it is there.
func (r *Run) there(in *dir, name string, ino chunkfmt.Ino, i *chunkfmt.Inode) (presence, error) {
	var st unix.Stat_t
	if in.fresh {
		return absent, nil
	}
	at, err := r.dirs.get(in)
	if err != nil {
		return absent, err
	}
	defer r.dirs.put(in)
	switch err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == unix.ENOENT:
		return absent, nil
	case err != nil:
		return absent, err
	case !r.looksSame(&st, i):
		return other, nil
	}
	if i.Mode&unix.S_IFMT == unix.S_IFLNK {
		target := make([]byte, chunkfmt.MaxTarget+1)
		n, err := unix.Readlinkat(at, name, target)
		if err != nil || string(target[:n]) != i.Target {
			return other, err
		}
	}
	want, err := r.xattrs(ino, i)
	if err != nil {
		return other, err
	}
	have, err := r.xattrsThere(at, name)
	if err != nil {
		return other, err
	}
	for _, x := range want {
		if value, ok := have[x.Name]; !ok || value != string(x.Value) {
			return other, nil
		}
		delete(have, x.Name)
	}
	for name := range have {
		if !strings.HasPrefix(name, "security.") { // those the system gives by itself
			return other, nil
		}
	}
	return complete, nil
}

// looksSame compares what a stat tells.
func (r *Run) looksSame(st *unix.Stat_t, i *chunkfmt.Inode) bool {
	kind := i.Mode & unix.S_IFMT
	switch {
	case st.Mode&unix.S_IFMT != kind, !sameTime(st.Mtim, i.Mtime), r.o.Owner && (st.Uid != i.Uid || st.Gid != i.Gid):
		return false
	case kind != unix.S_IFLNK && st.Mode&0o7777 != r.mode(i):
		return false
	case kind == unix.S_IFREG:
		return uint64(st.Size) == i.Size
	case kind == unix.S_IFCHR, kind == unix.S_IFBLK:
		return uint32(st.Rdev) == i.Rdev
	}
	return true
}

// sameTime compares a time with one that a file system may keep less precisely.
func sameTime(have unix.Timespec, want chunkfmt.Time) bool {
	if have.Sec != want.Sec {
		return false
	}
	for _, grain := range []int64{1, 100, 1000, 10_000_000, 1_000_000_000} {
		if have.Nsec == int64(want.Nsec)/grain*grain {
			return true
		}
	}
	return false
}
