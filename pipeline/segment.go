package pipeline

import (
	"fmt"
	"math"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Segment is the shared memory of one pipe: an anonymous file in memory with room for equal buffers,
// mapped shared. Its size is sealed, so no process that maps it can make another one fault.
//
// Each buffer is headroom and data, with the data starting at a page boundary:
//
//	| padding | headroom | data … | padding |
//	                     ^ page boundary
type Segment struct {
	fd       int
	mem      []byte
	n        int
	size     int
	headroom int
	lead     int // from the start of a buffer's stride to its data
	stride   int
	close    sync.Once
	closeErr error
}

// NewSegment maps n buffers of size bytes with headroom bytes in front of each, all zero. Memory is
// taken from the system only as it is touched.
func NewSegment(n, size, headroom int) (*Segment, error) {
	if n < 1 || size < 1 || headroom < 0 || size > math.MaxInt32 || headroom > math.MaxInt32 {
		return nil, fmt.Errorf("segment of %d buffers of %d+%d bytes: %w", n, headroom, size, ErrSpec)
	}
	page := os.Getpagesize()
	roundUp := func(v int) int { return (v + page - 1) / page * page }
	s := &Segment{n: n, size: size, headroom: headroom, lead: roundUp(headroom)}
	s.stride = s.lead + roundUp(size)
	if n > math.MaxInt/s.stride {
		return nil, fmt.Errorf("segment of %d buffers of %d+%d bytes: %w", n, headroom, size, ErrSpec)
	}
	fd, err := unix.MemfdCreate("coffer-segment", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	s.fd = fd
	if err := s.mapSealed(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *Segment) mapSealed() error {
	total := s.n * s.stride
	if err := unix.Ftruncate(s.fd, int64(total)); err != nil {
		return fmt.Errorf("size segment to %d bytes: %w", total, err)
	}
	seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(s.fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal size of segment: %w", err)
	}
	mem, err := unix.Mmap(s.fd, 0, total, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map segment of %d bytes: %w", total, err)
	}
	// The segment holds plaintext, which has no place in a core file.
	if err := unix.Madvise(mem, unix.MADV_DONTDUMP); err != nil {
		unix.Munmap(mem)
		return fmt.Errorf("keep segment out of core files: %w", err)
	}
	s.mem = mem
	return nil
}

// Buffers is the number of buffers.
func (s *Segment) Buffers() int { return s.n }

// Size is the number of data bytes in a buffer.
func (s *Segment) Size() int { return s.size }

// Headroom is the number of bytes in front of a buffer's data.
func (s *Segment) Headroom() int { return s.headroom }

// FD is the descriptor of the memory, for whoever passes the segment to another process. It stays
// the segment's own and is closed with it.
func (s *Segment) FD() int { return s.fd }

// raw is headroom and data of buffer i; it cannot be grown into its neighbour.
func (s *Segment) raw(i int) []byte {
	data := i*s.stride + s.lead
	return s.mem[data-s.headroom : data+s.size : data+s.size]
}

// Close unmaps the memory; every slice of it is invalid from then on, and touching one is a fault.
// Further calls return what the first did.
func (s *Segment) Close() error {
	s.close.Do(func() {
		if err := unix.Munmap(s.mem); err != nil {
			s.closeErr = fmt.Errorf("unmap segment: %w", err)
		}
		s.mem = nil
		if err := unix.Close(s.fd); err != nil && s.closeErr == nil {
			s.closeErr = fmt.Errorf("close segment: %w", err)
		}
	})
	return s.closeErr
}
