package index

// A table is a bucket of current versions and, where the past matters, one of the
// superseded ones. Keys are big-endian, so that they sort as they are read.
type table struct{ now, past []byte }

// The buckets. A history key is the current key, the archive that the version dates
// from and the first archive in which it was superseded, four bytes each: the
// version is true for archives from ≤ T < to.
var (
	inodes   = table{[]byte("inode"), []byte("history.inode")}   // ino
	dirents  = table{[]byte("dirent"), []byte("history.dirent")} // parent, name
	cookies  = table{[]byte("cookie"), []byte("history.cookie")} // parent, cookie
	xattrs   = table{[]byte("xattr"), []byte("history.xattr")}   // ino, name
	extents  = table{[]byte("extent"), []byte("history.extent")} // ino, file offset where the part begins
	parents  = table{[]byte("parent"), []byte("history.parent")} // ino, parent, name
	orphans  = table{now: []byte("orphan")}                      // ino
	groups   = table{now: []byte("group")}                       // sequence number
	archives = table{now: []byte("archive")}                     // archive
	times    = table{now: []byte("archive.time")}                // time of an archive, archive
	labels   = table{now: []byte("archive.label")}               // label of an archive, 0, archive
	bad      = table{now: []byte("bad")}                         // sequence number
	healed   = table{now: []byte("healed")}                      // sequence number of what is bad, offset of a block in it
	removed  = table{now: []byte("removed")}                     // first sequence number of a range
	records  = table{now: []byte("record")}                      // keys of the log's own meta records
	meta     = table{now: []byte("meta")}                        // stateKey
)

var tables = []table{
	inodes, dirents, cookies, xattrs, extents, parents, orphans, groups, archives, times, labels, bad, healed, removed,
	records, meta,
}

// bucketNames lists all buckets of a whole index.
func bucketNames() [][]byte {
	var names [][]byte
	for _, t := range tables {
		names = append(names, t.now)
		if t.past != nil {
			names = append(names, t.past)
		}
	}
	return names
}
