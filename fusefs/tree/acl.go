package tree

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// Names of the attributes that hold POSIX ACLs, in Linux's form: version 2 (4
// bytes), then entries of tag 2, permission 2, id 4, all little-endian.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

const (
	aclVersion  = 2
	aclHead     = 4
	aclEntry    = 8
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

// acl is an ACL in the form in which it is stored, well formed.
type acl []byte

func parseACL(b []byte) (acl, error) {
	if len(b) < aclHead || (len(b)-aclHead)%aclEntry != 0 || binary.LittleEndian.Uint32(b) != aclVersion {
		return nil, unix.EINVAL
	}
	a := acl(b)
	var seen [64]int
	for k := range a.len() {
		tag := a.tag(k)
		switch tag {
		case aclUserObj, aclUser, aclGroupObj, aclGroup, aclMask, aclOther:
			seen[tag]++
		default:
			return nil, unix.EINVAL
		}
		if a.perm(k) > 7 {
			return nil, unix.EINVAL
		}
	}
	named := seen[aclUser] + seen[aclGroup]
	if a.len() > 0 && (seen[aclUserObj] != 1 || seen[aclGroupObj] != 1 || seen[aclOther] != 1 ||
		seen[aclMask] > 1 || named > 0 && seen[aclMask] == 0) {
		return nil, unix.EINVAL
	}
	return a, nil
}

func (a acl) len() int            { return (len(a) - aclHead) / aclEntry }
func (a acl) at(k int) []byte     { return a[aclHead+k*aclEntry:] }
func (a acl) tag(k int) uint16    { return binary.LittleEndian.Uint16(a.at(k)) }
func (a acl) perm(k int) uint32   { return uint32(binary.LittleEndian.Uint16(a.at(k)[2:])) }
func (a acl) set(k int, p uint32) { binary.LittleEndian.PutUint16(a.at(k)[2:], uint16(p&7)) }

// find is the entry with a tag of which there is at most one, or -1.
func (a acl) find(tag uint16) int {
	for k := range a.len() {
		if a.tag(k) == tag {
			return k
		}
	}
	return -1
}

// groupClass is the entry that the group bits of a mode mean: the mask if there is one.
func (a acl) groupClass() int {
	if k := a.find(aclMask); k >= 0 {
		return k
	}
	return a.find(aclGroupObj)
}

// mode gives the permission bits that the ACL means.
func (a acl) mode() uint32 {
	return a.perm(a.find(aclUserObj))<<6 | a.perm(a.groupClass())<<3 | a.perm(a.find(aclOther))
}

// minimal says whether the permission bits say all that the ACL says.
func (a acl) minimal() bool { return a.len() == 3 }

// chmod makes the ACL mean the permission bits of mode.
func (a acl) chmod(mode uint32) {
	a.set(a.find(aclUserObj), mode>>6)
	a.set(a.groupClass(), mode>>3)
	a.set(a.find(aclOther), mode)
}

// setACL sets an ACL, of which an empty one is none.
func (t *Tree) setACL(i *inode, name string, value []byte, there bool) error {
	a, err := parseACL(value)
	if err != nil {
		return err
	}
	if i.kind == unix.DT_LNK {
		return unix.EOPNOTSUPP
	}
	if name == aclDefault && !i.isDir() {
		return unix.EACCES
	}
	remove := a.len() == 0
	if name == aclAccess && !remove {
		t.touch(i)
		i.attr.Mode = i.attr.Mode&^0o777 | a.mode()
		remove = a.minimal()
	}
	switch {
	case !remove:
		t.putXattr(i, name, slices.Clone(value))
	case there:
		t.setXattr(i, name, xattr{del: true})
	}
	return nil
}

// chmodACL brings the access ACL in line with a mode that was just set.
func (t *Tree) chmodACL(i *inode) error {
	v, ok, err := t.xattrOf(i, aclAccess)
	if err != nil || !ok {
		return err
	}
	a, err := parseACL(slices.Clone(v))
	if err != nil || a.len() == 0 {
		return nil // not one that means anything
	}
	a.chmod(i.attr.Mode)
	t.putXattr(i, aclAccess, a)
	return nil
}

type inherited struct {
	name  string
	value []byte
}

// inherit gives the mode and the ACLs of what is made in directory p: from its
// default ACL if there is one, else by the umask. p.mu is held.
func (t *Tree) inherit(p *inode, mode, umask uint32) (uint32, []inherited, error) {
	if mode&unix.S_IFMT == unix.S_IFLNK {
		return mode, nil, nil
	}
	if !p.aclKnown {
		v, ok, err := t.xattrOf(p, aclDefault)
		if err != nil {
			return 0, nil, err
		}
		p.defaultACL, p.aclKnown = nil, true
		if ok {
			p.defaultACL = v
		}
	}
	if p.defaultACL == nil {
		return mode &^ umask, nil, nil
	}
	a, err := parseACL(slices.Clone(p.defaultACL))
	if err != nil || a.len() == 0 {
		return mode &^ umask, nil, nil
	}
	mode &= a.mode() | ^uint32(0o777)
	a.chmod(mode)
	var acls []inherited
	if !a.minimal() {
		acls = append(acls, inherited{aclAccess, a})
	}
	if mode&unix.S_IFMT == unix.S_IFDIR {
		acls = append(acls, inherited{aclDefault, p.defaultACL})
	}
	return mode, acls, nil
}
