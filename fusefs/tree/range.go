package tree

import (
	"context"

	"golang.org/x/sys/unix"
)

// Fallocate takes the flags of fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE with
// KEEP_SIZE, ZERO_RANGE; others are EOPNOTSUPP. No space is set aside: whether a
// block of zeros costs any is not known before it is packed.
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
