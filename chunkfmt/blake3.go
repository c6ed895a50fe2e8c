package chunkfmt

import (
	"encoding/binary"

	"lukechampine.com/blake3/guts"
)

// subtree is how many bytes the vector code hashes at a time: sixteen of BLAKE3's chunks.
const subtree = guts.MaxSIMD * guts.ChunkSize

// keyedSum is BLAKE3 in its keyed mode (BLAKE3 paper, 2.1 to 2.5) of all of b at once, by the caller's goroutine
// and without allocations. The library's own Hasher starts goroutines, of which the pipe has enough.
func keyedSum(key *[8]uint32, b []byte) [32]byte {
	const flags = guts.FlagKeyedHash
	var stack [52][8]uint32 // chaining values of whole subtrees that lack their right neighbour
	height := 0
	chunks := uint64(0)
	for len(b) > subtree {
		cv := guts.ChainingValue(guts.CompressBuffer((*[subtree]byte)(b), subtree, key, chunks, flags))
		b = b[subtree:]
		chunks += guts.MaxSIMD
		for n := chunks / guts.MaxSIMD; n&1 == 0; n >>= 1 {
			height--
			cv = guts.ChainingValue(guts.ParentNode(stack[height], cv, key, flags))
		}
		stack[height] = cv
		height++
	}
	root := lastSubtree(key, b, chunks)
	for height > 0 {
		height--
		root = guts.ParentNode(stack[height], guts.ChainingValue(root), key, flags)
	}
	root.Flags |= guts.FlagRoot
	out := guts.WordsToBytes(guts.CompressNode(root))
	return [32]byte(out[:32])
}

// lastSubtree compresses the rest of the bytes. The vector code reads whole subtrees, whatever their length, and
// lets what is behind the end have no influence.
func lastSubtree(key *[8]uint32, b []byte, chunks uint64) guts.Node {
	if len(b) <= guts.ChunkSize {
		return guts.CompressChunk(b, key, chunks, guts.FlagKeyedHash)
	}
	if cap(b) >= subtree {
		return guts.CompressBuffer((*[subtree]byte)(b[:subtree]), len(b), key, chunks, guts.FlagKeyedHash)
	}
	var whole [subtree]byte
	copy(whole[:], b)
	return guts.CompressBuffer(&whole, len(b), key, chunks, guts.FlagKeyedHash)
}

// keyWords gives a key as the words that BLAKE3 calculates with.
func keyWords(key [32]byte) (words [8]uint32) {
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	return words
}
