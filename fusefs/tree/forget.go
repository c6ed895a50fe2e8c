package tree

import (
	"maps"
	"slices"
	"sync"
)

// inUse says whether an inode without a name is kept. i.mu is held.
func (i *inode) inUse(t *Tree) bool { return i.handles > 0 || t.forgets && !i.forgotten }

// ExpectForgets has inodes without a name kept until Forget: a kernel that has found
// one goes on to open it or to ask about it by number, though it was removed or
// replaced meanwhile. Call it before the tree is used, and only if Forget will be
// called for each inode that is removed.
func (t *Tree) ExpectForgets() {
	t.forgets = true
	t.unnamed.inos = make(map[Ino]struct{})
}

// Unnamed are the inodes that lost their last name and are kept, open or not. Whoever
// serves the tree finds in it, and forgets, what was removed by others and what he
// never knew of.
func (t *Tree) Unnamed() []Ino {
	t.unnamed.mu.Lock()
	defer t.unnamed.mu.Unlock()
	return slices.Collect(maps.Keys(t.unnamed.inos))
}

// inoSet is a set of inode numbers; one that was not made takes nothing in.
type inoSet struct {
	mu   sync.Mutex // guards inos; nothing is locked after it
	inos map[Ino]struct{}
}

func (s *inoSet) add(ino Ino) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inos != nil {
		s.inos[ino] = struct{}{}
	}
}

func (s *inoSet) remove(ino Ino) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inos, ino)
}

// Forget says that nobody will ask about ino before it is found again.
func (t *Tree) Forget(ino Ino) {
	i := t.table.peek(ino)
	if i == nil {
		return
	}
	defer i.put()
	t.epochMu.RLock()
	i.mu.Lock()
	gone := i.referred && i.newest == nil
	switch {
	case i.referred:
		i.referred = false
		t.unnamed.remove(ino)
		i.put()
	case i.attr.Nlink == 0 && !i.dead:
		i.forgotten = true
		if !i.inUse(t) {
			t.delete(i)
		}
	}
	i.mu.Unlock()
	t.epochMu.RUnlock()
	if gone {
		t.table.forget(i)
	}
}
