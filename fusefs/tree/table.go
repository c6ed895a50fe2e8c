package tree

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

const shardCount = 64

// table holds the inodes in memory, by number, in shards. The clean ones that
// nobody uses are evicted by a clock (second chance) past a limit.
type table struct {
	index  Index
	limit  int // inodes of a shard
	shards [shardCount]shard
}

type shard struct {
	// mu guards the shard and raises pins. The index is read under it; no
	// lock but the backlog's is taken after it.
	mu     sync.Mutex
	inodes map[Ino]*inode
	hand   *inode // a ring; nil when empty
}

func newTable(x Index, limit int) *table {
	t := &table{index: x, limit: max(limit/shardCount, 4)}
	for k := range t.shards {
		t.shards[k].inodes = make(map[Ino]*inode)
	}
	return t
}

func (t *table) shard(ino Ino) *shard { return &t.shards[uint64(ino)%shardCount] }

// get pins an inode, loading it if need be. ENOENT if there is none.
func (t *table) get(ino Ino) (*inode, error) {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.inodes[ino]; i != nil {
		i.pins.Add(1)
		i.used.Store(true)
		return i, nil
	}
	rec, ok, err := t.index.Inode(ino)
	if err != nil {
		return nil, fmt.Errorf("load inode %d: %w: %w", ino, unix.EIO, err)
	}
	if !ok {
		return nil, unix.ENOENT
	}
	i := newInode(ino, &rec)
	s.insert(i, t.limit)
	return i, nil
}

// peek pins an inode if it is in memory.
func (t *table) peek(ino Ino) *inode {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.inodes[ino]
	if i != nil {
		i.pins.Add(1)
	}
	return i
}

// add pins and enters an inode that was just made.
func (t *table) add(i *inode) {
	s := t.shard(i.ino)
	s.mu.Lock()
	s.insert(i, t.limit)
	s.mu.Unlock()
}

// put gives back a pin.
func (i *inode) put() { i.pins.Add(-1) }

// forget removes a dead inode; those that still have it pinned see it dead.
func (t *table) forget(i *inode) {
	s := t.shard(i.ino)
	s.mu.Lock()
	if s.inodes[i.ino] == i {
		s.remove(i)
	}
	s.mu.Unlock()
}

// shrink evicts what is beyond the limit in one inode's shard, a few at a time.
func (t *table) shrink(ino Ino) {
	s := t.shard(ino)
	s.mu.Lock()
	s.evict(t.limit)
	s.mu.Unlock()
}

func (t *table) len() (n int) {
	for k := range t.shards {
		s := &t.shards[k]
		s.mu.Lock()
		n += len(s.inodes)
		s.mu.Unlock()
	}
	return n
}

func (s *shard) insert(i *inode, limit int) {
	i.pins.Add(1)
	s.evict(limit - 1)
	s.inodes[i.ino] = i
	if s.hand == nil {
		i.prev, i.next, s.hand = i, i, i
		return
	}
	// Just behind the hand: the last that it comes to.
	i.prev, i.next = s.hand.prev, s.hand
	i.prev.next, i.next.prev = i, i
}

func (s *shard) remove(i *inode) {
	delete(s.inodes, i.ino)
	if i.next == i {
		s.hand = nil
	} else {
		i.prev.next, i.next.prev = i.next, i.prev
		if s.hand == i {
			s.hand = i.next
		}
	}
	i.prev, i.next = nil, nil
}

// evict moves the hand a few steps, so that its cost is bounded where many
// inodes are pinned.
func (s *shard) evict(limit int) {
	for steps := 0; steps < 8 && len(s.inodes) > limit && s.hand != nil; steps++ {
		i := s.hand
		if i.pins.Load() == 0 && !i.used.Swap(false) {
			s.remove(i)
			continue
		}
		s.hand = i.next
	}
}
