// Package tree is the live file tree of a writable volume: names, attributes,
// contents and extended attributes as POSIX wants them, kept in memory while
// they are dirty, journalled as consistent cuts, and read from the index when
// clean. Whoever serves it to applications (the FUSE face) or feeds it from a
// directory walk sits on top.
//
// It knows no FUSE, no medium and no key. Access checks are the caller's; the
// identity of a caller is needed only to own what it creates. Permission bits,
// set-id clearing and POSIX ACL inheritance are the tree's.
//
// Start reading at Tree and New, then epoch.go for how a cut is frozen, inode.go
// for what an inode holds, and backlog.go for what happens to a cut afterwards.
//
// # Epochs
//
// Every changing operation runs whole inside one epoch, that is while it holds
// Tree.epochMu for reading. A cut takes it for writing for an instant, opens
// the next epoch and leaves the old one frozen. What an inode changed in an
// epoch is a delta; deltas carry state, not operations. The attributes of a
// delta are the inode's live ones until a newer epoch first touches the inode
// and saves a copy into it. A delta goes when its batch has been applied to the
// index: until then readers find its changes in memory.
//
// # Locks
//
// In this order; each may be held when one to its right is taken:
//
//	epochMu ▶ renameMu ▶ inode.mu of directories, parent before child ▶
//	inode.mu of others, ascending by number ▶ collector's locks, shard.mu,
//	backlog.mu, defrag.mu, unnamed.mu
//
// Two directories of which neither lies below the other are locked together
// only under renameMu. No lock of this package is held while a buffer is waited
// for (Collector.Begin, Prepare), while an acknowledgement is waited for, while
// the index applies a batch, or while a group is read. Reads of the index, which
// never wait for a commit, are made under inode locks.
package tree
