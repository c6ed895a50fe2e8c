// Package compare says how two file trees differ in what an archive has to keep: content, kind, mode,
// owner, device numbers, modification time to the nanosecond, symlink targets, extended attributes and
// which names are links of one file. It does not look at what a copy can't keep: inode numbers, change
// times, block counts, the sizes of directories.
//
// Start at Read, which takes a tree in, and Diff.
package compare

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"lukechampine.com/blake3"
)

// Entry is what is compared of one name of a tree.
type Entry struct {
	Mode     uint32 // S_IFMT and permissions
	Uid, Gid uint32
	Rdev     uint64 // devices only
	Size     int64  // regular files only
	Mtime    unix.Timespec
	Nlink    uint64            // not of directories
	First    string            // of the names of one file in the tree, the first in order
	Target   string            // symlinks
	Sum      [32]byte          // regular files: BLAKE3 of the content
	Xattrs   map[string]string // nil when there is none
}

// Tree is the entries by slash-separated path relative to the root, which itself is ".".
type Tree map[string]Entry

type fileID struct{ dev, ino uint64 }

// Read takes in the tree under root, all content included. Names for which skip says true are left
// out with all that is below them; skip may be nil.
func Read(root string, skip func(path string) bool) (Tree, error) {
	tree := Tree{}
	names := map[fileID][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if skip != nil && skip(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		entry, id, err := readEntry(path)
		if err != nil {
			return err
		}
		tree[rel] = entry
		if entry.Nlink > 1 {
			names[id] = append(names[id], rel)
		}
		return nil
	})
	for _, group := range names {
		first := slices.Min(group)
		for _, name := range group {
			entry := tree[name]
			entry.First = first
			tree[name] = entry
		}
	}
	return tree, err
}

func readEntry(path string) (Entry, fileID, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Entry{}, fileID{}, fmt.Errorf("lstat %s: %w", path, err)
	}
	e := Entry{Mode: st.Mode, Uid: st.Uid, Gid: st.Gid, Mtime: st.Mtim}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Size = st.Size
		e.Sum, err = sum(path)
	case unix.S_IFLNK:
		e.Target, err = os.Readlink(path)
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Rdev = st.Rdev
	}
	if err != nil {
		return Entry{}, fileID{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		e.Nlink = uint64(st.Nlink)
	}
	e.Xattrs, err = Xattrs(path)
	return e, fileID{st.Dev, st.Ino}, err
}

func sum(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := blake3.New(32, nil)
	if _, err := io.CopyBuffer(onlyWriter{h}, onlyReader{f}, make([]byte, 1<<20)); err != nil {
		return sum, fmt.Errorf("read %s: %w", path, err)
	}
	copy(sum[:], h.Sum(nil))
	return sum, nil
}

// The two hide WriteTo and ReadFrom, which would choose buffers of their own.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }

// Xattrs reads the extended attributes of path itself, not of what it may point to.
func Xattrs(path string) (map[string]string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return nil, fmt.Errorf("list xattrs of %s: %w", path, err)
	}
	if err != nil || n == 0 {
		return nil, nil
	}
	all := map[string]string{}
	value := make([]byte, 64<<10)
	for name := range bytes.SplitSeq(bytes.TrimSuffix(list[:n], []byte{0}), []byte{0}) {
		n, err := unix.Lgetxattr(path, string(name), value)
		if err != nil {
			return nil, fmt.Errorf("xattr %s of %s: %w", name, path, err)
		}
		all[string(name)] = string(value[:n])
	}
	return all, nil
}

// Diff returns a line for each difference, in order of the names; none when the trees are equal.
func Diff(want, got Tree) []string {
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[path]
		if !ok {
			lines = append(lines, path+": missing")
			continue
		}
		if d := differ(want[path], g); d != "" {
			lines = append(lines, path+": "+d)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[path]; !ok {
			lines = append(lines, path+": should not be there")
		}
	}
	return lines
}

func differ(want, got Entry) string {
	var parts []string
	add := func(what string, same bool, w, g any) {
		if !same {
			parts = append(parts, fmt.Sprintf("%s is %v, want %v", what, g, w))
		}
	}
	add("mode", want.Mode == got.Mode, fmt.Sprintf("%o", want.Mode), fmt.Sprintf("%o", got.Mode))
	add("owner", want.Uid == got.Uid && want.Gid == got.Gid, [2]uint32{want.Uid, want.Gid}, [2]uint32{got.Uid, got.Gid})
	add("device", want.Rdev == got.Rdev, want.Rdev, got.Rdev)
	add("size", want.Size == got.Size, want.Size, got.Size)
	add("content", want.Sum == got.Sum, fmt.Sprintf("%x", want.Sum[:4]), fmt.Sprintf("%x", got.Sum[:4]))
	add("mtime", want.Mtime == got.Mtime, want.Mtime, got.Mtime)
	add("link count", want.Nlink == got.Nlink, want.Nlink, got.Nlink)
	add("link group", want.First == got.First, want.First, got.First)
	add("target", want.Target == got.Target, want.Target, got.Target)
	add("xattrs", maps.Equal(want.Xattrs, got.Xattrs), want.Xattrs, got.Xattrs)
	return strings.Join(parts, "; ")
}

// Summary shortens the lines of Diff to what a test's message should hold.
func Summary(lines []string) string {
	const most = 20
	shown := lines[:min(len(lines), most)]
	s := strings.Join(shown, "\n")
	if more := len(lines) - len(shown); more > 0 {
		s += fmt.Sprintf("\nand %d more", more)
	}
	return s
}
