package mover

import (
	"strings"

	"coffer/chunkfmt"
)

// branchInfix divides the name of a branch: in front of it is the name of the volume that it is one of, behind it what
// tells its branches apart.
const branchInfix = ".branch-"

// Keys derives the keys of the volume of that name, and the id under which it lies in a store. They belong together but
// for a branch, which has the keys of the volume that it is a branch of, and a place of its own; see media.At.
func Keys(master [32]byte, store chunkfmt.StoreID, name string) (keys chunkfmt.VolumeKeys, place chunkfmt.VolumeID) {
	origin, _, branch := strings.Cut(name, branchInfix)
	keys = chunkfmt.DeriveVolumeKeys(master, store, origin)
	if !branch {
		return keys, keys.ID
	}
	return keys, chunkfmt.DeriveVolumeKeys(master, store, name).ID
}
