package history

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"

	"coffer/fusefs/past"
)

// comparison is what differs between two states of a file.
type comparison struct {
	bytes uint64   // of content
	what  []string // "content", "mode", "owner", "time", "target", "device", "xattrs"
}

func (c *comparison) same() bool { return len(c.what) == 0 }

// compare says what differs. Times of directories follow their entries and don't count.
func compare(a, b *past.State, x, y *past.Entry) (c comparison, err error) {
	if x.Ino == y.Ino && x.Inode == y.Inode {
		return c, nil // all else would have changed its ctime
	}
	note := func(what string, differs bool) {
		if differs {
			c.what = append(c.what, what)
		}
	}
	note("type", x.Mode&unix.S_IFMT != y.Mode&unix.S_IFMT)
	before, err := dataOf(a, x)
	if err != nil {
		return c, err
	}
	now, err := dataOf(b, y)
	if err != nil {
		return c, err
	}
	if c.bytes, err = differingBytes(before, now); err != nil {
		return c, err
	}
	note("content", c.bytes > 0)
	note("mode", x.Mode&0o7777 != y.Mode&0o7777)
	note("owner", x.Uid != y.Uid || x.Gid != y.Gid)
	note("time", x.Mtime != y.Mtime && x.Mode&unix.S_IFMT != unix.S_IFDIR)
	note("target", x.Target != y.Target)
	note("device", x.Rdev != y.Rdev)
	before2, err := a.Xattrs(x.Ino)
	if err != nil {
		return c, err
	}
	now2, err := b.Xattrs(y.Ino)
	if err != nil {
		return c, err
	}
	note("xattrs", !slices.EqualFunc(before2, now2, func(x, y past.Xattr) bool {
		return x.Name == y.Name && bytes.Equal(x.Value, y.Value)
	}))
	return c, nil
}
