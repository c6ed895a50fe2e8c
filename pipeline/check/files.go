package check

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"coffer/chunkfmt"
	"coffer/index"
)

// File is a file that can't be read whole, under one of its names.
type File struct {
	Path     string                   // from the root of the volume; begins with a slash
	Archives []chunkfmt.ArchiveRecord // in which it is so, ascending
	Now      bool                     // and in the present
}

// names are the files of lost groups.
type names struct {
	files  map[chunkfmt.Seq][]chunkfmt.Ino
	states map[chunkfmt.Ino]map[chunkfmt.Seq][]interval
	paths  *paths
}

// interval is a stretch of archives, from ≤ T < to.
type interval struct{ from, to uint32 }

// files finds the files of all lost groups.
func (r *run) files(ctx context.Context) (*names, error) {
	n := &names{states: map[chunkfmt.Ino]map[chunkfmt.Seq][]interval{}, files: map[chunkfmt.Seq][]chunkfmt.Ino{}}
	var err error
	if n.paths, err = newPaths(ctx, r.Index); err != nil || len(r.lost) == 0 {
		return n, err
	}
	lost := func(seq chunkfmt.Seq) bool { _, is := r.lost[seq]; return is }
	err = r.Index.Uses(lost, func(u index.Use) bool {
		for _, s := range r.lost[u.Group] {
			if u.Offset < s.to && u.Offset+u.Length > s.from {
				n.add(u)
				break
			}
		}
		return ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	return n, err
}

func (n *names) add(u index.Use) {
	groups := n.states[u.Ino]
	if groups == nil {
		groups = map[chunkfmt.Seq][]interval{}
		n.states[u.Ino] = groups
	}
	if len(groups[u.Group]) == 0 {
		n.files[u.Group] = append(n.files[u.Group], u.Ino)
	}
	groups[u.Group] = join(append(groups[u.Group], interval{u.From, u.To}))
}

// join merges intervals that overlap or meet.
func join(all []interval) []interval {
	slices.SortFunc(all, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
	joined := all[:1]
	for _, i := range all[1:] {
		if last := &joined[len(joined)-1]; i.from <= last.to {
			last.to = max(last.to, i.to)
		} else {
			joined = append(joined, i)
		}
	}
	return joined
}

// of gives the files of groups, by path.
func (n *names) of(groups []chunkfmt.Seq) (all []File) {
	when := map[chunkfmt.Ino][]interval{}
	for _, g := range groups {
		for _, ino := range n.files[g] {
			when[ino] = append(when[ino], n.states[ino][g]...)
		}
	}
	for _, ino := range slices.Sorted(maps.Keys(when)) {
		all = append(all, n.paths.files(ino, join(when[ino]))...)
	}
	slices.SortStableFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	merged := all[:0]
	for _, f := range all { // one file may have taken another's place
		if k := len(merged); k > 0 && merged[k-1].Path == f.Path {
			merged[k-1].Archives = append(merged[k-1].Archives, f.Archives...)
			merged[k-1].Now = merged[k-1].Now || f.Now
			continue
		}
		merged = append(merged, f)
	}
	for i := range merged {
		m := &merged[i]
		slices.SortFunc(m.Archives, func(a, b chunkfmt.ArchiveRecord) int { return cmp.Compare(a.Number, b.Number) })
		m.Archives = slices.CompactFunc(m.Archives, func(a, b chunkfmt.ArchiveRecord) bool { return a.Number == b.Number })
	}
	return merged
}

// paths finds what files were called at which time.
type paths struct {
	ctx      context.Context
	index    Index
	archives []chunkfmt.ArchiveRecord // by number
	dirs     map[dirAt]string         // of directories that were looked up lately
}

type dirAt struct {
	ino     chunkfmt.Ino
	archive uint32
}

// maxDirs bounds the directories that are remembered.
const maxDirs = 50_000

func newPaths(ctx context.Context, x Index) (*paths, error) {
	p := &paths{ctx: ctx, index: x, dirs: map[dirAt]string{}}
	err := x.Archives(0, func(a chunkfmt.ArchiveRecord) bool {
		p.archives = append(p.archives, a)
		return true
	})
	return p, err
}

// files gives an inode's names at the archives within intervals, each with the archives that have it.
func (p *paths) files(ino chunkfmt.Ino, when []interval) (all []File) {
	for _, i := range when {
		from, _ := slices.BinarySearchFunc(p.archives, i.from, byNumber)
		to, _ := slices.BinarySearchFunc(p.archives, i.to, byNumber)
		all = p.between(all, ino, p.archives[from:to])
		if i.to == index.Present {
			for _, path := range p.at(ino, index.Present) {
				all = named(all, path, nil, true)
			}
		}
	}
	return all
}

func byNumber(a chunkfmt.ArchiveRecord, number uint32) int { return cmp.Compare(a.Number, number) }

// between adds the names at some archives. What is called the same at the first and at the last of them is taken to be
// called so between.
func (p *paths) between(all []File, ino chunkfmt.Ino, archives []chunkfmt.ArchiveRecord) []File {
	if len(archives) == 0 {
		return all
	}
	first := p.at(ino, archives[0].Number)
	if len(archives) == 1 || slices.Equal(first, p.at(ino, archives[len(archives)-1].Number)) {
		for _, path := range first {
			all = named(all, path, archives, false)
		}
		return all
	}
	half := len(archives) / 2
	return p.between(p.between(all, ino, archives[:half]), ino, archives[half:])
}

// named adds archives, or the present, to the file of that path.
func named(all []File, path string, archives []chunkfmt.ArchiveRecord, now bool) []File {
	i := slices.IndexFunc(all, func(f File) bool { return f.Path == path })
	if i < 0 {
		i = len(all)
		all = append(all, File{Path: path})
	}
	all[i].Archives = append(all[i].Archives, archives...)
	all[i].Now = all[i].Now || now
	return all
}

// at gives the paths of an inode at one archive, ascending.
func (p *paths) at(ino chunkfmt.Ino, archive uint32) (all []string) {
	r := p.index.At(archive)
	err := r.Parents(ino, func(parent chunkfmt.Ino, name string) bool {
		all = append(all, p.dir(r, parent, archive, maxDepth)+"/"+name)
		return true
	})
	if err != nil || len(all) == 0 {
		// It is open and has no name any more, or the index can't tell.
		return []string{fmt.Sprintf("/(inode %d)", ino)}
	}
	slices.Sort(all)
	return all
}

// maxDepth is where a path is taken for one that runs in circles.
const maxDepth = 10_000

// dir gives the path of a directory; that of the root is empty.
func (p *paths) dir(r *index.Reader, ino chunkfmt.Ino, archive uint32, depth int) string {
	if ino == chunkfmt.RootIno {
		return ""
	}
	key := dirAt{ino, archive}
	if path, ok := p.dirs[key]; ok {
		return path
	}
	path := fmt.Sprintf("/(directory %d)", ino)
	if depth > 0 {
		_ = r.Parents(ino, func(parent chunkfmt.Ino, name string) bool {
			path = p.dir(r, parent, archive, depth-1) + "/" + name
			return false
		})
	}
	if len(p.dirs) == maxDirs {
		clear(p.dirs)
	}
	p.dirs[key] = path
	return path
}
