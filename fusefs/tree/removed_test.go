package tree

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpenOfReplaced opens what was found by its name before that went to another.
func TestOpenOfReplaced(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, func(*Config) {})
	r.ExpectForgets()
	for _, name := range []string{"old", "new"} {
		_, h, err := r.Create(ctx, someone, RootIno, name, 0o600, unix.O_RDWR)
		if err == nil {
			_, err = h.Write(ctx, []byte(name), 0, false)
		}
		if err != nil {
			t.Fatal(err)
		}
		h.Release()
	}
	r.settle()
	e, err := r.Lookup(ctx, RootIno, "old")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Rename(ctx, RootIno, "new", RootIno, "old", 0); err != nil {
		t.Fatal(err)
	}
	r.settle()
	h, err := r.Open(ctx, e.Ino, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, err := h.Read(ctx, buf, 0); err != nil || string(buf[:n]) != "old" {
		t.Errorf("what was replaced holds %q, %v", buf[:n], err)
	}
	h.Release()
	r.Forget(e.Ino)
	if _, err := r.Open(ctx, e.Ino, unix.O_RDONLY); err != unix.ENOENT {
		t.Errorf("once forgotten: %v", err)
	}
}

// TestRemovedUntilForgotten asks about removed inodes until nobody refers to them, on both sides of the
// cut's way into the index.
func TestRemovedUntilForgotten(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, func(*Config) {})
	r.ExpectForgets()
	for _, forgetFirst := range []bool{false, true} {
		for _, open := range []bool{false, true} {
			e, h, err := r.Create(ctx, someone, RootIno, "file", 0o600, unix.O_RDWR)
			if err != nil {
				t.Fatal(err)
			}
			if !open {
				h.Release()
			}
			r.settle()
			if err := r.Unlink(ctx, RootIno, "file"); err != nil {
				t.Fatal(err)
			}
			if forgetFirst {
				r.Forget(e.Ino) // a kernel that closes says so before, or after, the close is done
			}
			if open {
				h.Release()
			}
			r.settle()
			switch a, err := r.Getattr(ctx, e.Ino); {
			case forgetFirst && err != unix.ENOENT:
				t.Errorf("a forgotten inode has attributes: %+v, %v", a, err)
			case !forgetFirst && (err != nil || a.Nlink != 0 || a.Mode != unix.S_IFREG|0o600):
				t.Errorf("a removed inode that is referred to has %+v, %v", a, err)
			}
			if !forgetFirst {
				r.Forget(e.Ino)
			}
			r.settle()
			if i := r.table.peek(e.Ino); i != nil || len(r.Unnamed()) > 0 {
				t.Errorf("open %v, forgotten first %v: the inode is still in memory", open, forgetFirst)
			}
		}
	}
}
