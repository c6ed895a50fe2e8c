package tree

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Fallocate takes the flags of fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE with
// KEEP_SIZE, ZERO_RANGE; others are EOPNOTSUPP. No space is set aside, for whether a
// block of zeros costs any is not known before it is packed; but what there is no
// room for now is ENOSPC.
func (h *Handle) Fallocate(ctx context.Context, mode uint32, off, n int64) error {
	const keep, hole, zero = unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE
	switch mode {
	case 0, keep, hole | keep, zero, zero | keep:
	default:
		return unix.EOPNOTSUPP
	}
	if !h.writable() {
		return unix.EBADF
	}
	if off < 0 || n <= 0 {
		return unix.EINVAL
	}
	if off > maxFileSize-n {
		return unix.EFBIG
	}
	t, i := h.t, h.i
	if mode&hole == 0 {
		if err := h.room(ctx, off, n); err != nil {
			return err
		}
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	defer t.end()
	i.mu.Lock()
	defer i.mu.Unlock()
	end, size := off+n, int64(i.attr.Size)
	if mode&(hole|zero) != 0 && off < size {
		if err := t.punch(i, off, min(end, size)); err != nil {
			return err
		}
	}
	t.touch(i)
	if mode&keep == 0 && end > size {
		t.resize(i, uint64(end))
	}
	t.contentsChanged(i)
	return nil
}

// room says ENOSPC if the medium has no room for what the range lacks.
func (h *Handle) room(ctx context.Context, off, n int64) error {
	if h.t.cfg.Space == nil {
		return nil
	}
	space, err := h.t.cfg.Space(ctx)
	if err != nil {
		return fmt.Errorf("%w: ask the medium for its room: %w", unix.EIO, err)
	}
	if space.Total == 0 || uint64(n) <= space.Free { // 0: nobody knows
		return nil
	}
	h.i.mu.RLock()
	defer h.i.mu.RUnlock()
	had, err := h.t.allocated(h.i, off, off+n)
	if err == nil && uint64(n)-had > space.Free {
		err = unix.ENOSPC
	}
	return err
}

// Seek finds the next data (unix.SEEK_DATA) or hole (unix.SEEK_HOLE) from off.
// ENXIO beyond the end, or when no data follows.
func (h *Handle) Seek(ctx context.Context, off int64, whence int) (int64, error) {
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, unix.EINVAL
	}
	t, i := h.t, h.i
	i.mu.RLock()
	defer i.mu.RUnlock()
	if err := t.lostInode(i); err != nil {
		return 0, err
	}
	size := int64(i.attr.Size)
	if off < 0 || off >= size {
		return 0, unix.ENXIO
	}
	var few [8]span
	pos := off
	for step := int64(64 << 20); pos < size; step *= 2 {
		end := min(pos+step, size)
		parts, err := t.layout(i, pos, end, few[:0])
		if err != nil {
			return 0, err
		}
		for k := range parts {
			s := &parts[k]
			switch {
			case s.hole():
			case whence == unix.SEEK_DATA:
				return s.off, nil
			case s.off > pos:
				return pos, nil
			default:
				pos = s.end()
			}
		}
		if whence == unix.SEEK_HOLE && pos < end {
			return pos, nil
		}
		pos = end
	}
	if whence == unix.SEEK_DATA {
		return 0, unix.ENXIO
	}
	return size, nil
}
