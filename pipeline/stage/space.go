package stage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"coffer/media"
)

// space answers whether there is room on the medium for one more write, before
// it is accepted: what was free when it was last asked, less what was appended
// since, less what is pending.
type space struct {
	medium  media.Spacer // nil: no limit
	reserve uint64
	clock   func() time.Time
	flow    *flow

	appended atomic.Int64 // bytes, ever

	mu   sync.Mutex // guards what follows; held while the medium is asked
	free int64
	at   int64 // appended then
	when time.Time
}

// The medium is asked again after so many bytes or so much time.
const (
	spaceBytes = 64 << 20
	spaceTime  = time.Second
)

// admit accepts n bytes or returns media.ErrFull.
func (s *space) admit(ctx context.Context, n int) error {
	if s.medium == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stale := s.when.IsZero() || s.appended.Load()-s.at > spaceBytes || s.clock().Sub(s.when) > spaceTime
	if !stale && s.left(n) >= 0 {
		return nil
	}
	// What is appended while the medium answers may be counted twice, which
	// errs on the safe side.
	at := s.appended.Load()
	now, err := s.medium.Space(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking the medium for its space: %w", err)
	}
	s.free, s.at, s.when = int64(min(now.Free, 1<<62)), at, s.clock()
	if s.left(n) < 0 {
		return fmt.Errorf("%d bytes free, %d kept in reserve, %d pending: %w",
			now.Free, s.reserve, s.flow.pending.Load(), media.ErrFull)
	}
	return nil
}

// left is what would be left after n bytes more. Tags and seals add less than
// a hundredth.
func (s *space) left(n int) int64 {
	need := s.flow.pending.Load() + int64(n)
	return s.free - (s.appended.Load() - s.at) - int64(s.reserve) - need - need/128
}
