package past

import "coffer/chunkfmt"

// Node is a number for one file of one archive, other than that of any inode of the
// live tree:
//
//	 63  62           40 39              0
//	+---+---------------+-----------------+
//	| 1 | archive       | inode number    |
//	+---+---------------+-----------------+
//
// Nothing has to be remembered to find the file again. Archive 0 is the directory of
// all archives, inode 0 the symbolic link that an archive's label is.
type Node uint64

// Root is the directory of all archives.
const Root Node = pastBit | Node(chunkfmt.RootIno)

const (
	pastBit     = 1 << 63
	inoBits     = 40
	maxIno      = 1<<inoBits - 1
	maxArchive  = 1<<(63-inoBits) - 1
	archiveMask = maxArchive << inoBits
)

// IsNode says whether a number is a Node's and not an inode's of the live tree.
func IsNode(n uint64) bool { return n&pastBit != 0 }

// node is false for the numbers, far off, that there is no room for.
func node(archive uint32, ino chunkfmt.Ino) (Node, bool) {
	return pastBit | Node(archive)<<inoBits | Node(ino), archive <= maxArchive && ino <= maxIno
}

func (n Node) archive() uint32   { return uint32(n & archiveMask >> inoBits) }
func (n Node) ino() chunkfmt.Ino { return chunkfmt.Ino(n & maxIno) }
