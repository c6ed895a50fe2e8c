package tree

import (
	"time"

	"golang.org/x/sys/unix"
)

const day = int64(24 * time.Hour / time.Second)

// AccessDue says whether a read through the handle would move the access time.
func (h *Handle) AccessDue() bool {
	if !h.t.cfg.Relatime || h.flags&unix.O_NOATIME != 0 || !h.readable() {
		return false
	}
	h.i.mu.RLock()
	defer h.i.mu.RUnlock()
	return h.i.staleAtime(h.t.now())
}

// Accessed notes that a directory was listed. Nothing waits for it.
func (t *Tree) Accessed(ino Ino) {
	if i := t.table.peek(ino); i != nil {
		t.accessed(i)
		i.put()
	}
}

// accessed sets the access time as relatime does. Nothing waits for it.
func (t *Tree) accessed(i *inode) {
	if !t.cfg.Relatime {
		return
	}
	now := t.now()
	i.mu.RLock()
	stale := i.staleAtime(now)
	i.mu.RUnlock()
	if !stale || t.failure.Load() != nil || t.dirty.Load() > t.cfg.MaxDirty {
		return
	}
	t.epochMu.RLock()
	defer t.epochMu.RUnlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.dead && i.staleAtime(now) {
		t.note(i)
		i.attr.Atime = now
	}
}

func (i *inode) staleAtime(now Time) bool {
	a := i.attr.Atime
	return !before(i.attr.Mtime, a) || !before(i.attr.Ctime, a) || now.Sec-a.Sec >= day
}

func before(a, b Time) bool { return a.Sec < b.Sec || a.Sec == b.Sec && a.Nsec < b.Nsec }
