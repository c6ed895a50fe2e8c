package tree

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakePipe fails when it is told to.
type fakePipe struct {
	done chan struct{}
	err  error
}

func (p *fakePipe) Done() <-chan struct{} { return p.done }
func (p *fakePipe) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// holdLog makes the log keep markers without answering, or go on.
func (l *fakeLog) holdMarkers(hold bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = hold
	l.wake.Broadcast()
}

func (r *rig) file(name, content string) (Ino, *Handle) {
	r.t.Helper()
	ctx := context.Background()
	e, h, err := r.Create(ctx, someone, RootIno, name, 0o644, unix.O_RDWR)
	if err == nil && content != "" {
		_, err = h.Write(ctx, []byte(content), 0, false)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return e.Ino, h
}

// TestFailedPipe stops the pipe under a tree: what was acknowledged goes on to be
// read, all else is EIO, and everybody who waits is told.
func TestFailedPipe(t *testing.T) {
	ctx := t.Context()
	pipe := &fakePipe{done: make(chan struct{}), err: errors.New("store is gone")}
	r := newRig(t, func(c *Config) { c.Pipe = pipe })
	kept, h := r.file("kept", "kept bytes")
	if err := r.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	r.log.holdMarkers(true)
	lost, lh := r.file("lost", "lost bytes")
	waits := make(chan error)
	go func() { waits <- r.Sync(ctx) }()
	close(pipe.done)
	if err := <-waits; !sameErr(unix.EIO, err) || !errors.Is(err, pipe.err) {
		t.Errorf("sync: %v", err)
	}

	p := make([]byte, 20)
	if n, err := h.Read(ctx, p, 0); err != nil || string(p[:n]) != "kept bytes" {
		t.Errorf("acknowledged file: %q, %v", p[:n], err)
	}
	if err := h.Flush(ctx); err != nil {
		t.Errorf("close of a file that was kept: %v", err)
	}
	if e, err := r.Lookup(ctx, RootIno, "kept"); err != nil || e.Ino != kept {
		t.Errorf("lookup of a name that was kept: %v", err)
	}
	if _, err := r.Getattr(ctx, RootIno); err != nil {
		t.Errorf("root directory: %v", err)
	}
	for what, err := range map[string]error{
		"read":    second(lh.Read(ctx, p, 0)),
		"close":   lh.Flush(ctx),
		"getattr": second(r.Getattr(ctx, lost)),
		"lookup":  second(r.Lookup(ctx, RootIno, "lost")),
		"list":    r.ReadDir(ctx, RootIno, 0, func(string, Dirent, func() (Attr, error)) bool { return true }),
		"write":   second(h.Write(ctx, p, 0, false)),
		"mkdir":   second(r.Mkdir(ctx, someone, RootIno, "d", 0o755)),
		"unlink":  r.Unlink(ctx, RootIno, "kept"),
		"setattr": second(r.Setattr(ctx, kept, SetAttr{Valid: SetMode}, nil)),
		"sync":    r.Sync(ctx),
	} {
		if !sameErr(unix.EIO, err) {
			t.Errorf("%s: %v, want EIO", what, err)
		}
	}
	h.Release()
	lh.Release()
	if err := r.Close(ctx); !errors.Is(err, pipe.err) {
		t.Errorf("close of the tree: %v", err)
	}
	if r.Failed() == nil || r.Status().Failed == "" {
		t.Error("status does not tell of the failure")
	}
	r.log.holdMarkers(false)
}

func second[T any](_ T, err error) error { return err }

// TestDirtyLimit lets writers wait when too much is dirty, and nobody else.
func TestDirtyLimit(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, func(c *Config) { c.MaxDirty = 20 * deltaCost })
	r.log.holdMarkers(true)
	_, h := r.file("file", "bytes")
	blocked := make(chan error)
	go func() {
		for k := range 200 {
			if _, err := r.Mkdir(ctx, someone, RootIno, string(rune('A'+k)), 0o755); err != nil {
				blocked <- err
				return
			}
		}
		blocked <- nil
	}()
	// The limit takes a cut by itself; the log does not answer it.
	r.log.mu.Lock()
	for len(r.log.queue) == 0 {
		r.log.mu.Unlock()
		if _, err := h.Read(ctx, make([]byte, 5), 0); err != nil {
			t.Fatal(err)
		}
		r.log.mu.Lock()
	}
	r.log.mu.Unlock()
	for r.dirty.Load() <= r.cfg.MaxDirty {
		if _, err := r.Lookup(ctx, RootIno, "file"); err != nil {
			t.Fatal(err)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := r.Unlink(canceled, RootIno, "file"); !sameErr(unix.EINTR, err) {
		t.Errorf("a writer that was told to give up: %v", err)
	}
	select {
	case err := <-blocked:
		t.Fatal("writers were not held back", err)
	default:
	}
	if s := r.Status(); s.Dirty <= s.DirtyLimit || s.Dirty > s.DirtyLimit+5*deltaCost {
		t.Errorf("%d bytes dirty, the limit is %d", s.Dirty, s.DirtyLimit)
	}
	r.log.holdMarkers(false)
	if err := <-blocked; err != nil {
		t.Error(err)
	}
	h.Release()
	r.close()
}

// TestFullMedium answers ENOSPC to writes and syncs while the medium is full. What
// was cut meanwhile becomes stable, and goes to the index, when there is room.
func TestFullMedium(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, func(c *Config) { c.CutEvery = time.Millisecond })
	_, h := r.file("file", "bytes")
	set := func(full, ack error) {
		r.log.mu.Lock()
		r.log.full, r.log.ackErr = full, ack
		r.log.mu.Unlock()
	}
	set(errFull, errFull)
	if _, err := h.Write(ctx, []byte("more"), 5, false); !sameErr(unix.ENOSPC, err) {
		t.Errorf("write: %v", err)
	}
	if err := r.Sync(ctx); !sameErr(unix.ENOSPC, err) {
		t.Errorf("sync: %v", err)
	}
	if r.Failed() != nil {
		t.Errorf("a full medium is no failure: %v", r.Failed())
	}
	p := make([]byte, 9)
	if n, err := h.Read(ctx, p, 0); err != nil || string(p[:n]) != "bytes" {
		t.Errorf("read %q, %v", p[:n], err)
	}
	set(nil, nil)
	r.log.settle() // nobody asks, and nothing changes: the tree finds out
	if err := r.Sync(ctx); err != nil {
		t.Error(err)
	}
	if d, ok, err := r.cfg.Index.Dirent(RootIno, "file"); err != nil || !ok {
		t.Errorf("the index has %v %v, %v", d, ok, err)
	}
	h.Release()
	r.close()
}

// TestSyncsShareACut lets many wait for one cut.
func TestSyncsShareACut(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, nil)
	_, h := r.file("file", "bytes")
	r.log.holdMarkers(true)
	errs := make(chan error)
	const many = 50
	for k := range many {
		go func() {
			_, err := h.Write(ctx, []byte{byte(k)}, int64(k), false)
			errs <- errors.Join(err, r.Sync(ctx))
		}()
	}
	// Two may be under way; all others gather for the third.
	for r.Status().Unacked < maxUnacked {
		if err := r.Failed(); err != nil {
			t.Fatal(err)
		}
	}
	r.log.holdMarkers(false)
	for range many {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := r.Status().Cuts; n > many/2 {
		t.Errorf("%d cuts for %d syncs", n, many)
	}
	before := r.Status().Cuts
	if err := r.Sync(ctx); err != nil || r.Status().Cuts != before {
		t.Errorf("a sync with nothing dirty took a cut, %v", err)
	}
	h.Release()
	r.close()
}
