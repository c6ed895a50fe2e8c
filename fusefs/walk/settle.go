package walk

import (
	"context"

	"golang.org/x/sys/unix"

	"coffer/fusefs/tree"
)

func treeTime(t unix.Timespec) tree.Time { return tree.Time{Sec: t.Sec, Nsec: uint32(t.Nsec)} }

// sameMeta says whether attributes in the volume are those of a source, but for the access time.
func sameMeta(a *tree.Attr, st *unix.Stat_t) bool {
	return a.Mode == st.Mode && a.Uid == st.Uid && a.Gid == st.Gid && a.Mtime == treeTime(st.Mtim)
}

// settle gives ino the metadata of a source and says whether anything had to be changed. a is what it has now;
// bare: neither has extended attributes.
//
// The order matters: a change of owner takes set-id bits and capabilities away, an ACL changes the mode.
func (r *run) settle(ctx context.Context, ino tree.Ino, a *tree.Attr, st *unix.Stat_t, x xattrs, bare bool) (changed bool, err error) {
	if a.Uid != st.Uid || a.Gid != st.Gid {
		set := tree.SetAttr{Valid: tree.SetUid | tree.SetGid, Uid: st.Uid, Gid: st.Gid}
		if *a, err = r.tree.Setattr(ctx, ino, set, nil); err != nil {
			return false, onTree(err)
		}
		changed = true
	}
	if !bare {
		did, err := r.settleXattrs(ctx, ino, x)
		if err != nil {
			return true, err
		}
		if did {
			if *a, err = r.tree.Getattr(ctx, ino); err != nil {
				return true, onTree(err)
			}
			changed = true
		}
	}
	if sameMeta(a, st) {
		return changed, nil
	}
	set := tree.SetAttr{
		Valid: tree.SetMode | tree.SetAtime | tree.SetMtime,
		Mode:  st.Mode & 0o7777,
		Atime: treeTime(st.Atim),
		Mtime: treeTime(st.Mtim),
	}
	// A link's own mode means nothing.
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		set.Valid &^= tree.SetMode
	}
	*a, err = r.tree.Setattr(ctx, ino, set, nil)
	return true, onTree(err)
}
