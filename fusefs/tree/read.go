package tree

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// layout appends where the bytes [from, to) of a file are, ascending; what is
// left out is zeros. i.mu is held.
func (t *Tree) layout(i *inode, from, to int64, out []span) ([]span, error) {
	return t.layer(i, i.newest, from, to, out)
}

// layer is layout as of delta d: what that does not say, older ones do, and the
// index in the end.
func (t *Tree) layer(i *inode, d *delta, from, to int64, out []span) ([]span, error) {
	for d != nil && d.ext.count == 0 {
		d = d.older
	}
	if d == nil {
		return t.indexed(i, from, to, out)
	}
	pos := from
	var err error
	d.ext.each(from, to, func(s *span) bool {
		if s.off > pos {
			if out, err = t.layer(i, d.older, pos, s.off, out); err != nil {
				return false
			}
		}
		out = append(out, s.clip(pos, to))
		pos = s.end()
		return true
	})
	if err == nil && pos < to {
		out, err = t.layer(i, d.older, pos, to, out)
	}
	return out, err
}

// indexed is layout as the index has it.
func (t *Tree) indexed(i *inode, from, to int64, out []span) ([]span, error) {
	if i.fresh {
		return out, nil
	}
	err := t.cfg.Index.Extents(i.ino, uint64(from), uint64(to-from), func(x chunkfmt.Extent) bool {
		if x.Group != 0 {
			s := span{off: int64(x.Offset), n: int64(x.Length), group: x.Group, at: int64(x.GroupOffset)}
			out = append(out, s.clip(from, to))
		}
		return true
	})
	if err != nil {
		return nil, readError(i.ino, from, err)
	}
	return out, nil
}

// Read fills p from off. It returns less than len(p) only at the end of the file
// (then without an error) and 0 beyond it.
func (h *Handle) Read(ctx context.Context, p []byte, off int64) (int, error) {
	if !h.readable() {
		return 0, unix.EBADF
	}
	if off < 0 {
		return 0, unix.EINVAL
	}
	n, err := h.t.read(ctx, h, h.i, p, off)
	if err != nil {
		return 0, err
	}
	if h.flags&unix.O_NOATIME == 0 {
		h.t.accessed(h.i)
	}
	return n, nil
}

// read is Read; h, if not nil, is read ahead for.
func (t *Tree) read(ctx context.Context, h *Handle, i *inode, p []byte, off int64) (int, error) {
	var few, fewAhead [8]span
	defer t.readers.leave(t.readers.enter())
	i.mu.RLock()
	if err := t.lostInode(i); err != nil {
		i.mu.RUnlock()
		return 0, err
	}
	size := int64(i.attr.Size)
	if off >= size || len(p) == 0 {
		i.mu.RUnlock()
		return 0, nil
	}
	if int64(len(p)) > size-off {
		p = p[:size-off]
	}
	end := off + int64(len(p))
	parts, err := t.layout(i, off, end, few[:0])
	ahead := fewAhead[:0]
	if err == nil && h != nil {
		if to := h.readahead(off, end, size); to > 0 {
			// Reading ahead is a favour: what goes wrong shows when it is read.
			ahead, _ = t.layout(i, end, to, ahead)
		}
	}
	i.mu.RUnlock()
	if err != nil {
		return 0, err
	}
	if len(parts) > 1 {
		t.prefetch(parts[1:])
		t.readApart(i, off, int64(len(p)), len(parts))
	}
	if err := t.fill(ctx, i, p, off, parts); err != nil {
		return 0, err
	}
	t.prefetch(ahead)
	return len(p), nil
}

// fill reads the parts of [off, off+len(p)) and makes zeros of what is between.
func (t *Tree) fill(ctx context.Context, i *inode, p []byte, off int64, parts []span) error {
	pos := off
	for k := range parts {
		s := &parts[k]
		clear(p[pos-off : s.off-off])
		pos = s.end()
		q := p[s.off-off : pos-off]
		var err error
		switch {
		case s.run != nil:
			err = s.run.ReadAt(ctx, q, s.at)
		case s.group != 0:
			err = t.cfg.Groups.ReadAt(ctx, s.group, q, uint32(s.at))
		default:
			clear(q)
		}
		if err != nil {
			return readError(i.ino, s.off, err)
		}
	}
	clear(p[pos-off:])
	return nil
}

// prefetch asks for the groups of parts, each once.
func (t *Tree) prefetch(parts []span) {
	var few [16]chunkfmt.Seq
	groups := few[:0]
	for k := range parts {
		if g := parts[k].group; g != 0 && (len(groups) == 0 || groups[len(groups)-1] != g) {
			groups = append(groups, g)
		}
	}
	if len(groups) > 0 {
		t.cfg.Groups.Prefetch(groups...)
	}
}

// readahead notes a read, and says up to where to fetch beyond its end, or 0. It
// is done in steps of half the window.
func (h *Handle) readahead(off, end, size int64) int64 {
	window := h.t.cfg.Readahead
	sequential := h.next.Swap(end) == off
	if window <= 0 || end >= size {
		return 0
	}
	if !sequential {
		h.ahead.Store(0)
		return 0
	}
	to := min(end+window, size)
	if h.ahead.Load() >= min(end+window/2, size) {
		return 0
	}
	h.ahead.Store(to)
	return to
}

// dataIn counts the bytes of [from, to) that are not holes. i.mu is held.
func (t *Tree) dataIn(i *inode, from, to int64) (uint64, error) {
	var n uint64
	var few [8]span
	for step := int64(64 << 20); from < to; step *= 2 {
		end := min(from+step, to)
		parts, err := t.layout(i, from, end, few[:0])
		if err != nil {
			return 0, fmt.Errorf("count data: %w", err)
		}
		for k := range parts {
			if !parts[k].hole() {
				n += uint64(parts[k].n)
			}
		}
		from = end
	}
	return n, nil
}
