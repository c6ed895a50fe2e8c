package media

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"coffer/chunkfmt"
)

// Chunks lie in "volumes/<volume id in hex>/", named by session ordinal and
// number in the session, both hexadecimal and at least six digits wide, so that
// a listing shows them in the order in which they were begun. The generation of one
// that was cleaned, two hexadecimal digits, stands at the end.
const (
	volumesDir   = "volumes/"
	chunkSuffix  = ".chunk"
	mirrorSuffix = ".mirror"
	catalogBase  = "catalog"
	maxElement   = 200 // leaves room for what a medium adds to a name while it writes
	maxName      = 1024
)

// CheckName returns nil if name may name an object: at most 1024 bytes of
// elements divided by single slashes, each of 1 to 200 bytes, none beginning
// with a dot, without NUL. Otherwise the error is ErrName.
func CheckName(name string) error {
	if len(name) > maxName || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%w: %.40q", ErrName, name)
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "" || element[0] == '.' || len(element) > maxElement {
			return fmt.Errorf("%w: %.80q", ErrName, name)
		}
	}
	return nil
}

// VolumePrefix returns the prefix of the names of all objects of a volume. It
// ends with a slash.
func VolumePrefix(v chunkfmt.VolumeID) string {
	return volumesDir + hex.EncodeToString(v[:]) + "/"
}

// CatalogName returns the name under which a volume's catalog lies beside its
// chunks, where the medium is one that a file can lie on.
func CatalogName(v chunkfmt.VolumeID) string { return VolumePrefix(v) + catalogBase }

// ParseCatalogName is the reverse of CatalogName.
func ParseCatalogName(name string) (v chunkfmt.VolumeID, ok bool) {
	rest, _ := strings.CutPrefix(name, volumesDir)
	volume, _, _ := strings.Cut(rest, "/")
	b, err := hex.DecodeString(volume)
	if err != nil || len(b) != len(v) {
		return v, false
	}
	copy(v[:], b)
	return v, CatalogName(v) == name
}

// ChunkName returns the name of a chunk of a volume.
func ChunkName(v chunkfmt.VolumeID, id chunkfmt.ChunkID) string {
	suffix := chunkSuffix
	if id.Mirror() {
		suffix = mirrorSuffix
	}
	name := fmt.Sprintf("%s%06x-%06x%s", VolumePrefix(v), id.Ordinal(), id.Number(), suffix)
	if g := id.Generation(); g > 0 {
		name += fmt.Sprintf(".%02x", g)
	}
	return name
}

// ParseChunkName is the reverse of ChunkName; ok is false for any name that
// ChunkName does not return.
func ParseChunkName(name string) (v chunkfmt.VolumeID, id chunkfmt.ChunkID, ok bool) {
	rest, ok := strings.CutPrefix(name, volumesDir)
	if !ok {
		return v, 0, false
	}
	volume, base, _ := strings.Cut(rest, "/")
	b, err := hex.DecodeString(volume)
	if err != nil || len(b) != len(v) {
		return v, 0, false
	}
	copy(v[:], b)
	generation := uint64(0)
	if i := strings.LastIndexByte(base, '.'); i == len(base)-3 && i > 0 {
		if generation, err = strconv.ParseUint(base[i+1:], 16, 8); err != nil {
			return v, 0, false
		}
		base = base[:i]
	}
	base, mirror := strings.CutSuffix(base, mirrorSuffix)
	base, _ = strings.CutSuffix(base, chunkSuffix)
	left, right, _ := strings.Cut(base, "-")
	ordinal, err := strconv.ParseUint(left, 16, 24) // up to chunkfmt.MaxOrdinal
	if err != nil {
		return v, 0, false
	}
	number, err := strconv.ParseUint(right, 16, 31)
	if err != nil {
		return v, 0, false
	}
	id = chunkfmt.MakeChunkID(uint32(ordinal), uint32(number), mirror).Of(int(generation))
	return v, id, ChunkName(v, id) == name
}
