package repair

import (
	"cmp"
	"io"
	"slices"
)

// patch is what is to stand in a stretch of a chunk.
type patch struct {
	at, n int64
	from  io.Reader
}

// patched reads old, of some size, with the patches in their places. They do not overlap.
func patched(old io.ReaderAt, size int64, patches []patch) io.Reader {
	slices.SortFunc(patches, func(a, b patch) int { return cmp.Compare(a.at, b.at) })
	var parts []io.Reader
	at := int64(0)
	for _, p := range patches {
		parts = append(parts, io.NewSectionReader(old, at, p.at-at), p.from)
		at = p.at + p.n
	}
	return io.MultiReader(append(parts, io.NewSectionReader(old, at, size-at))...)
}
