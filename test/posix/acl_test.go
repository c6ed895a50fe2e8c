package posix

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// ace is an entry of a POSIX ACL.
type ace struct {
	tag  uint16
	perm uint16
	id   int // of named users and groups
}

const (
	userObj  = 0x01
	userID   = 0x02
	groupObj = 0x04
	groupID  = 0x08
	maskACE  = 0x10
	otherACE = 0x20

	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

// encode gives the form in which Linux passes ACLs.
func encode(entries ...ace) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		id := uint32(e.id)
		if e.tag != userID && e.tag != groupID {
			id = 0xffffffff
		}
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	return b
}

func (w *world) wantACL(path, name string, entries ...ace) {
	w.Helper()
	got, err := w.root.getxattr(path, name, 1000)
	if entries == nil {
		w.want(err, unix.ENODATA, unix.EOPNOTSUPP) // the latter of a symbolic link
		return
	}
	w.ok(err)
	if want := string(encode(entries...)); got != want {
		w.Errorf("%s of %s is\n%x, want\n%x", name, path, got, want)
	}
}

func testACL(w *world) {
	setACL := func(path, name string, entries ...ace) error {
		return w.root.setxattr(path, name, encode(entries...), 0)
	}
	w.run("permissions", func(w *world) {
		// Who the ACL is asked for: the owner, a named user, the group and named groups through the mask, others.
		for _, k := range []kind{regular, directory} {
			for _, c := range []struct {
				name    string
				acl     []ace
				mode    uint32
				allowed map[*caller]uint32
			}{
				{"named user", []ace{{userObj, 6, 0}, {userID, 4, w.eve.uid}, {groupObj, 2, 0}, {maskACE, 7, 0}, {otherACE, 0, 0}}, 0o670,
					map[*caller]uint32{w.ann: 6, w.eve: 4, w.bob: 2, w.sue: 2}},
				{"masked", []ace{{userObj, 7, 0}, {userID, 7, w.eve.uid}, {groupObj, 7, 0}, {maskACE, 4, 0}, {otherACE, 1, 0}}, 0o741,
					map[*caller]uint32{w.ann: 7, w.eve: 4, w.bob: 4, w.sue: 4}},
				{"named user gets nothing", []ace{{userObj, 6, 0}, {userID, 0, w.eve.uid}, {groupObj, 6, 0}, {maskACE, 6, 0}, {otherACE, 6, 0}}, 0o666,
					map[*caller]uint32{w.ann: 6, w.eve: 0, w.bob: 6, w.sue: 6}},
				{"named group", []ace{{userObj, 0, 0}, {groupObj, 0, 0}, {groupID, 6, w.eve.gid}, {maskACE, 7, 0}, {otherACE, 4, 0}}, 0o074,
					map[*caller]uint32{w.ann: 0, w.eve: 6, w.bob: 0, w.sue: 0}},
				{"any group that grants", []ace{{userObj, 6, 0}, {groupObj, 0, 0}, {groupID, 4, w.sue.gid}, {maskACE, 7, 0}, {otherACE, 0, 0}}, 0o670,
					map[*caller]uint32{w.ann: 6, w.eve: 0, w.bob: 0, w.sue: 4}},
				{"minimal", []ace{{userObj, 7, 0}, {groupObj, 5, 0}, {otherACE, 4, 0}}, 0o754,
					map[*caller]uint32{w.ann: 7, w.eve: 4, w.bob: 5, w.sue: 5}},
			} {
				path := string(k) + " " + c.name
				w.make(k, path, w.ann)
				w.touches(func() error { return setACL(path, accessACL, c.acl...) }, path+":c")
				w.wantMode(path, c.mode)
				for who, perm := range c.allowed {
					for bit := uint32(1); bit <= 4; bit *= 2 {
						want := unix.Errno(0)
						if perm&bit == 0 {
							want = unix.EACCES
						}
						w.want(who.access(path, bit), want)
					}
					if k == regular {
						want := unix.Errno(0)
						if perm&4 == 0 {
							want = unix.EACCES
						}
						w.want(who.opens(path, unix.O_RDONLY, 0), want)
					}
				}
				if c.name == "minimal" {
					w.wantACL(path, accessACL)
				} else {
					w.wantACL(path, accessACL, c.acl...)
				}
			}
		}
	})
	w.run("chmod", func(w *world) {
		w.make(regular, "f", w.ann)
		w.ok(setACL("f", accessACL, ace{userObj, 6, 0}, ace{userID, 7, w.eve.uid}, ace{groupObj, 5, 0}, ace{maskACE, 7, 0}, ace{otherACE, 4, 0}))
		w.wantMode("f", 0o674)
		// The bits of the group are the mask.
		w.ok(w.ann.chmod("f", 0o621))
		w.wantACL("f", accessACL, ace{userObj, 6, 0}, ace{userID, 7, w.eve.uid}, ace{groupObj, 5, 0}, ace{maskACE, 2, 0}, ace{otherACE, 1, 0})
		w.want(w.eve.access("f", unix.R_OK), unix.EACCES)
		w.want(w.eve.access("f", unix.W_OK), 0)
		w.ok(w.ann.chmod("f", 0o4770))
		w.wantACL("f", accessACL, ace{userObj, 7, 0}, ace{userID, 7, w.eve.uid}, ace{groupObj, 5, 0}, ace{maskACE, 7, 0}, ace{otherACE, 0, 0})
		w.wantMode("f", 0o4770)
		w.want(w.eve.access("f", unix.R_OK|unix.W_OK|unix.X_OK), 0)
		w.ok(w.root.removexattr("f", accessACL))
		w.wantMode("f", 0o4770)
		w.want(w.eve.access("f", unix.R_OK), unix.EACCES)
		w.wantACL("f", accessACL)
	})
	w.run("inheritance", func(w *world) {
		w.ok(w.root.mkdir("d", 0o777))
		full := []ace{{userObj, 7, 0}, {userID, 6, w.eve.uid}, {groupObj, 5, 0}, {groupID, 4, w.sue.gid}, {maskACE, 7, 0}, {otherACE, 5, 0}}
		w.touches(func() error { return setACL("d", defaultACL, full...) }, "d:c")
		w.wantMode("d", 0o777) // a default ACL says nothing about the directory itself
		w.wantACL("d", defaultACL, full...)
		w.wantACL("d", accessACL)
		// The umask does not apply; the mode that was asked for does.
		made := func(path string, mode uint32, acl ...ace) {
			w.Helper()
			w.wantMode(path, mode)
			w.wantACL(path, accessACL, acl...)
		}
		for _, m := range makers {
			path := "d/" + m.name
			if m.name == "open nameless" {
				w.ok(w.ann.chdir("d"))
			}
			w.ok(w.ann.withUmask(0o777, func() error {
				if m.name == "open nameless" {
					return m.do(w.ann, m.name, 0o640)
				}
				return m.do(w.ann, path, 0o640)
			}), w.ann.chdir(w.dir))
			made(path, 0o640, ace{userObj, 6, 0}, ace{userID, 6, w.eve.uid}, ace{groupObj, 5, 0}, ace{groupID, 4, w.sue.gid}, ace{maskACE, 4, 0}, ace{otherACE, 0, 0})
			if m.kind == directory {
				w.wantACL(path, defaultACL, full...)
			}
		}
		w.ok(w.ann.mkdir("d/e", 0o777))
		made("d/e", 0o775, full...)
		w.ok(w.ann.create("d/e/f", 0o666))
		made("d/e/f", 0o664, ace{userObj, 6, 0}, ace{userID, 6, w.eve.uid}, ace{groupObj, 5, 0}, ace{groupID, 4, w.sue.gid}, ace{maskACE, 6, 0}, ace{otherACE, 4, 0})
		w.ok(w.ann.symlink("x", "d/l"))
		made("d/l", 0o777)
		w.ok(w.root.create("f", 0o666), w.root.rename("f", "d/moved"))
		made("d/moved", 0o666) // it is inherited by what is made there
		// Without a mask, the group's own entry is what the mode limits.
		minimal := []ace{{userObj, 7, 0}, {groupObj, 5, 0}, {otherACE, 1, 0}}
		w.ok(setACL("d", defaultACL, minimal...))
		w.ok(w.ann.withUmask(0o777, func() error { return w.ann.create("d/g", 0o666) }))
		made("d/g", 0o640)
		w.ok(w.ann.mkdir("d/h", 0o777))
		made("d/h", 0o751)
		w.wantACL("d/h", defaultACL, minimal...)
		// Once it is gone the umask applies again.
		w.ok(w.root.removexattr("d", defaultACL))
		w.ok(w.ann.withUmask(0o027, func() error { return w.ann.create("d/i", 0o666) }))
		made("d/i", 0o640)
		w.ok(w.root.setxattr("d", defaultACL, encode(minimal...), 0), w.root.setxattr("d", defaultACL, encode(), 0))
		w.wantACL("d", defaultACL)
	})
	w.run("who may", func(w *world) {
		acl := encode(ace{userObj, 6, 0}, ace{userID, 7, w.eve.uid}, ace{groupObj, 7, 0}, ace{maskACE, 7, 0}, ace{otherACE, 7, 0})
		w.make(regular, "f", w.ann)
		w.make(directory, "d", w.ann)
		w.want(w.ann.setxattr("f", accessACL, acl, 0), 0)
		w.want(w.ann.setxattr("d", defaultACL, acl, 0), 0)
		for _, c := range []*caller{w.bob, w.sue, w.eve} {
			w.want(c.setxattr("f", accessACL, acl, 0), unix.EPERM)
			w.want(c.setxattr("d", defaultACL, acl, 0), unix.EPERM)
			w.want(c.removexattr("f", accessACL), unix.EPERM)
			_, err := c.getxattr("f", accessACL, 100)
			w.want(err, 0)
		}
		w.wantXattrs(w.eve, "f", accessACL)
		w.wantXattrs(w.eve, "d", defaultACL)
		w.want(w.ann.removexattr("f", accessACL), 0)
		w.want(w.ann.removexattr("f", accessACL), 0, unix.ENODATA)
		w.want(w.ann.removexattr("d", defaultACL), 0)
	})
	w.run("errors", func(w *world) {
		w.make(regular, "f", w.root)
		w.make(directory, "d", w.root)
		w.make(symlink, "l", w.root)
		u, g, o := ace{userObj, 7, 0}, ace{groupObj, 7, 0}, ace{otherACE, 7, 0}
		for name, bad := range map[string][]byte{
			"short":                encode(u, g, o)[:10],
			"no owner":             encode(g, o),
			"no group":             encode(u, o),
			"no others":            encode(u, g),
			"named without a mask": encode(u, ace{userID, 7, 5}, g, o),
			"two owners":           encode(u, u, g, o),
			"two masks":            encode(u, g, ace{maskACE, 7, 0}, ace{maskACE, 7, 0}, o),
			"wrong order":          encode(g, u, o),
			"unknown tag":          encode(u, g, ace{0x40, 7, 0}, o),
			"permission":           encode(u, g, ace{otherACE, 8, 0}),
		} {
			for _, path := range []string{"f", "d"} {
				if got := errnoOf(w.root.setxattr(path, accessACL, bad, 0)); got != unix.EINVAL {
					w.Errorf("an ACL with %s gives %v, want EINVAL", name, got)
				}
			}
		}
		wrong := encode(u, g, o)
		wrong[0] = 3
		w.want(w.root.setxattr("f", accessACL, wrong, 0), unix.EOPNOTSUPP)
		w.want(w.root.setxattr("f", defaultACL, encode(u, g, o), 0), unix.EACCES)
		w.want(w.root.setxattr("l", accessACL, encode(u, g, o), 0), unix.EOPNOTSUPP)
		_, err := w.root.getxattr("l", accessACL, 100)
		w.want(err, unix.EOPNOTSUPP, unix.ENODATA)
		_, err = w.root.getxattr("f", defaultACL, 100)
		w.want(err, unix.ENODATA)
	})
	w.run("set-group-id", func(w *world) {
		acl := encode(ace{userObj, 7, 0}, ace{userID, 7, w.eve.uid}, ace{groupObj, 7, 0}, ace{maskACE, 7, 0}, ace{otherACE, 0, 0})
		for _, k := range []kind{regular, directory} {
			for _, gid := range []int{w.ann.gid, w.eve.gid} {
				path := w.spareOf(k, w.ann)
				w.ok(w.root.chown(path, -1, gid), w.root.chmod(path, 0o2770))
				w.ok(w.ann.setxattr(path, accessACL, acl, 0))
				if gid == w.ann.gid {
					w.wantMode(path, 0o2770)
				} else {
					w.wantMode(path, 0o770) // as with chmod
				}
				w.ok(w.root.chmod(path, 0o2770), w.root.setxattr(path, accessACL, acl, 0))
				w.wantMode(path, 0o2770)
			}
		}
		// Minimal ones are but a chmod.
		path := w.spareOf(regular, w.ann)
		w.ok(w.root.chown(path, -1, w.eve.gid), w.root.chmod(path, 0o2770))
		w.ok(w.ann.setxattr(path, accessACL, encode(ace{userObj, 6, 0}, ace{groupObj, 5, 0}, ace{otherACE, 4, 0}), 0))
		w.wantMode(path, 0o654)
	})
	w.run("many entries", func(w *world) {
		w.make(directory, "d", w.root)
		entries := []ace{{userObj, 7, 0}}
		for i := range 100 {
			entries = append(entries, ace{userID, 5, 70000 + i})
		}
		entries = append(entries, ace{groupObj, 5, 0}, ace{maskACE, 7, 0}, ace{otherACE, 0, 0})
		w.ok(setACL("d", accessACL, entries...), setACL("d", defaultACL, entries...), w.root.create("d/f", 0o777))
		w.wantACL("d", accessACL, entries...)
		w.wantACL("d/f", accessACL, entries...)
	})
}
