package spool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
)

// MinLimit is the least that a spool can be limited to, bytes.
const MinLimit = 8 << 20

// ErrLimit: no spool can be so small.
var ErrLimit = errors.New("a spool takes at least 8 MiB")

// Near is the medium near by of one volume. Whoever creates or appends waits while the volume's objects take Limit
// bytes there, or the medium below is full. Nothing but time and Remove changes that.
type Near struct {
	media.Medium
	limit int64

	mu      sync.Mutex // guards what follows; nothing is locked after it
	sizes   map[string]int64
	used    int64
	waiting int
	cause   error         // why they wait
	changed chan struct{} // closed, and another made, when there is less, or one more waits
}

// OpenNear finds what the volume has on m already.
func OpenNear(ctx context.Context, m media.Medium, v chunkfmt.VolumeID, limit int64) (*Near, error) {
	if limit < MinLimit {
		return nil, fmt.Errorf("a limit of %d bytes: %w", limit, ErrLimit)
	}
	infos, err := m.List(ctx, media.VolumePrefix(v))
	if err != nil {
		return nil, fmt.Errorf("find what is in the spool: %w", err)
	}
	n := &Near{Medium: m, limit: limit, sizes: map[string]int64{}, changed: make(chan struct{})}
	for _, info := range infos {
		if _, id, ok := media.ParseChunkName(info.Name); ok && IsNear(id) {
			n.sizes[info.Name] = info.Size
			n.used += info.Size
		}
	}
	return n, nil
}

// ChunkSize is the length at which chunks are to be closed, so that what can be removed is never all of the limit.
func (n *Near) ChunkSize() int64 { return min(n.limit/8, 64<<20) }

// Usage is how full a Near is.
type Usage struct {
	Used    int64 // bytes
	Limit   int64
	Waiting bool  // somebody waits for room
	Cause   error // why, besides the limit; nil as a rule
}

// Usage tells how full it is, and gives a channel that is closed when somebody begins to wait or something was removed.
func (n *Near) Usage() (Usage, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return Usage{Used: n.used, Limit: n.limit, Waiting: n.waiting > 0, Cause: n.cause}, n.changed
}

// retryTime is after how long a full medium is tried again, besides at each Remove.
const retryTime = time.Second

// await has try do something that takes so many bytes more, as soon as there is room for them.
func (n *Near) await(ctx context.Context, name string, bytes int64, try func() error) error {
	waits := false
	defer func() {
		if waits {
			n.wait(-1, nil)
		}
	}()
	for {
		room, changed := n.take(name, bytes)
		var err error
		if room {
			if err = try(); err == nil {
				return nil
			}
			n.take(name, -bytes)
			// What is torn is not full only.
			if !errors.Is(err, media.ErrFull) || errors.Is(err, media.ErrTorn) {
				return err
			}
		}
		if !waits {
			waits = true
			n.wait(1, err)
			continue // something may have gone since
		}
		t := time.NewTimer(retryTime)
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		t.Stop()
		if ctx.Err() != nil {
			return fmt.Errorf("wait for room in the spool: %w", err)
		}
	}
}

// take takes room, if there is any; less than none gives some back.
func (n *Near) take(name string, bytes int64) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if bytes > 0 && n.used > 0 && n.used+bytes > n.limit {
		return false, n.changed
	}
	n.used += bytes
	n.sizes[name] += bytes
	return true, n.changed
}

// wait says that one more, or one less, waits.
func (n *Near) wait(more int, cause error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting += more
	n.cause = cause
	n.signal()
}

func (n *Near) signal() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// Create implements media.Medium.
func (n *Near) Create(ctx context.Context, name string) (media.Appender, error) {
	var a media.Appender
	err := n.await(ctx, name, 0, func() (err error) {
		a, err = n.Medium.Create(ctx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &appender{Appender: a, n: n, name: name}, nil
}

// Remove implements media.Medium.
func (n *Near) Remove(ctx context.Context, name string) error {
	if err := n.Medium.Remove(ctx, name); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.used -= n.sizes[name]
	delete(n.sizes, name)
	n.signal()
	return nil
}

// Sync implements media.Syncer where the medium below does.
func (n *Near) Sync(ctx context.Context, name string) error {
	if s, ok := n.Medium.(media.Syncer); ok {
		return s.Sync(ctx, name)
	}
	return nil
}

type appender struct {
	media.Appender
	n    *Near
	name string
}

// Append implements media.Appender.
func (a *appender) Append(ctx context.Context, parts ...[]byte) (off int64, err error) {
	var bytes int64
	for _, p := range parts {
		bytes += int64(len(p))
	}
	err = a.n.await(ctx, a.name, bytes, func() (err error) {
		off, err = a.Appender.Append(ctx, parts...)
		return err
	})
	return off, err
}
