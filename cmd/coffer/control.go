package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"coffer/fusefs"
	"coffer/fusefs/past"
	"coffer/fusefs/tree"
	"coffer/fusefs/walk"
	"coffer/pipeline"
	"coffer/pipeline/agent"
	"coffer/pipeline/monitor"
)

// control is what a mounted volume does on request of other coffer processes of the same user.
type control struct {
	v      *volume
	server *fusefs.Server
	finish func() error // closes the volume once the mount is gone and no put is under way; the result is kept

	puts sync.RWMutex // held for reading by each put, for writing while it is decided to unmount, and by finish for good
}

func newControl(v *volume, server *fusefs.Server) *control {
	c := &control{v: v, server: server}
	c.finish = sync.OnceValue(func() error {
		c.puts.Lock()
		return v.close(context.Background())
	})
	return c
}

// serve returns when the mount is gone and the volume is closed: after an unmount by whatever way, or
// after ctx, which is the signal to end, has ended.
func (c *control) serve(ctx context.Context) error {
	select {
	case <-c.server.Done():
	case <-ctx.Done():
		if err := c.leave(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	return c.finish()
}

// leave takes the mount away although it may be in use. What was written is stable then; whoever
// uses the mount gets errors.
func (c *control) leave(ctx context.Context) error {
	if c.server.Unmount(ctx) == nil {
		return nil
	}
	if err := c.server.Detach(); err != nil {
		return err
	}
	const grace = 5 * time.Second
	select {
	case <-c.server.Done():
		return nil
	case <-time.After(grace):
		// The session ends without a footer, as after a crash, but complete.
		return errors.Join(errors.New("the mount was still in use when it had to end"), c.v.tree.Sync(ctx))
	}
}

// mountStatus is what status --json prints of a mount.
type mountStatus struct {
	MountPoint string          `json:"mount_point"`
	Store      string          `json:"store"`
	Volume     string          `json:"volume"`
	Pid        int             `json:"pid"`
	BytesIn    uint64          `json:"bytes_in"`        // that left the head of the pipe since the mount
	Duplicate  int64           `json:"bytes_duplicate"` // of them, what the volume had already
	Stored     uint64          `json:"bytes_stored"`    // of the rest, and of what describes it, in the store
	Pending    int64           `json:"bytes_pending"`   // taken in and not in the store yet
	Space      tree.Space      `json:"space"`
	Tree       tree.Status     `json:"tree"`
	Pipe       pipeline.Status `json:"pipe"`
	// Server is the way to the server that the store is on; absent where it is here.
	Server *agent.SenderStatus `json:"server,omitempty"`
	// Spool is what stands in front of it; absent without one.
	Spool     *spoolStatus `json:"spool,omitempty"`
	LastError string       `json:"last_error,omitempty"`
}

// Status implements monitor.Control.
func (c *control) Status(ctx context.Context) (any, error) {
	s := mountStatus{
		MountPoint: c.server.Dir(), Store: c.v.path, Volume: c.v.name, Pid: os.Getpid(),
		Tree: c.v.tree.Status(), Pipe: c.v.source.Pipe().Status(),
	}
	s.Pending, s.Duplicate = c.v.source.Writer().Pending(), c.v.source.Writer().Duplicate()
	if stages := s.Pipe.Stages; len(stages) > 0 {
		s.BytesIn, s.Stored = stages[0].BytesOut, stages[len(stages)-1].BytesIn
	}
	if sender := c.v.source.Sender(); sender != nil {
		status := sender.Status()
		s.Server, s.LastError = &status, status.Cause
	}
	if s.Spool = c.v.spoolStatus(); s.Spool != nil {
		s.Server, s.LastError = s.Spool.Sender, s.Spool.Cause
	}
	if err := c.v.tree.Failed(); err != nil {
		s.LastError = err.Error()
	}
	var err error
	s.Space, err = c.v.space(ctx)
	if err != nil && s.LastError == "" {
		s.LastError = err.Error()
	}
	return s, nil
}

// syncRequest asks for stable storage; Remote: on the server, if there is a spool in front of it.
type syncRequest struct {
	Remote bool `json:"remote,omitempty"`
}

// Sync implements monitor.Control.
func (c *control) Sync(ctx context.Context, request json.RawMessage) error {
	return sent(c.sync(ctx, request))
}

func (c *control) sync(ctx context.Context, request json.RawMessage) error {
	var r syncRequest
	if len(request) > 0 {
		if err := json.Unmarshal(request, &r); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
	}
	if err := c.v.tree.Sync(ctx); err != nil {
		return err
	}
	f := c.v.source.Forwarder()
	if !r.Remote || f == nil {
		return nil
	}
	return f.Await(ctx, c.v.source.Writer().Head().Seq)
}

// snapshotRequest asks for an archive.
type snapshotRequest struct {
	Label string `json:"label"`
}

// snapshotAnswer says which archive was sealed, or if nothing had changed, which the last one is.
type snapshotAnswer struct {
	Made    bool          `json:"made"`
	Archive archiveStatus `json:"archive"`
}

// Snapshot implements monitor.Control.
func (c *control) Snapshot(ctx context.Context, request json.RawMessage) (any, error) {
	a, err := c.snapshot(ctx, request)
	return a, sent(err)
}

func (c *control) snapshot(ctx context.Context, request json.RawMessage) (answer snapshotAnswer, err error) {
	var r snapshotRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return answer, fmt.Errorf("%w: %w", errUsage, err)
	}
	// What the archive adds to the store is counted when it is there.
	if err := c.v.tree.Sync(ctx); err != nil {
		return answer, err
	}
	a, made, err := c.v.tree.Snapshot(ctx, r.Label)
	if err == nil && !made {
		x := c.v.source.Index()
		a, _, err = x.ArchiveNumbered(x.Archive() - 1)
	}
	if err == nil && past.IsName(r.Label) && c.v.care.renamed != nil {
		c.v.care.renamed(r.Label) // it may have been that of an older archive
	}
	return snapshotAnswer{Made: made, Archive: archiveStatusOf(&a)}, err
}

// Archives implements monitor.Control.
func (c *control) Archives(context.Context) (any, error) {
	all, err := archivesOf(c.v.source.Index())
	return all, sent(err)
}

// Forget implements monitor.Control.
func (c *control) Forget(ctx context.Context, request json.RawMessage) (any, error) {
	var r forgetRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, sent(fmt.Errorf("%w: %w", errUsage, err))
	}
	answer, err := c.v.forget(ctx, &r)
	return answer, sent(err)
}

// Prune implements monitor.Control.
func (c *control) Prune(ctx context.Context, request json.RawMessage) (any, error) {
	var r pruneRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, sent(fmt.Errorf("%w: %w", errUsage, err))
	}
	p, err := c.v.prune(ctx, &r)
	return p, sent(err)
}

// copyName is what copies of the index are called in the state folder until a reader has them.
const copyName = "index-copy-*"

// dropCopies removes what readers that ended too soon have left there.
func (v *volume) dropCopies() error {
	left, err := filepath.Glob(filepath.Join(v.state, copyName))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove an old copy of the index: %w", err)
		}
	}
	return nil
}

// Index implements monitor.Control: the copy has all that was done before.
func (c *control) Index(ctx context.Context) (any, error) {
	path, err := c.copyIndex(ctx)
	return path, sent(err)
}

func (c *control) copyIndex(ctx context.Context) (path string, err error) {
	if err := c.v.tree.Settle(ctx); err != nil && c.v.tree.Failed() == nil {
		return "", err
	}
	f, err := os.CreateTemp(c.v.state, copyName)
	if err != nil {
		return "", fmt.Errorf("copy the index: %w", err)
	}
	if err = errors.Join(c.v.source.Index().CopyTo(f), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// Unmount implements monitor.Control. What is not stable keeps the mount from being taken away, unless it
// never will be. An error that wraps errStays says that the mount goes on.
func (c *control) Unmount(ctx context.Context) (any, error) {
	err := c.takeAway(ctx)
	if err == nil {
		err = c.finish()
	}
	return unmountAnswer{Unsent: c.v.unsent}, sent(err)
}

// unmountAnswer says what is left to do.
type unmountAnswer struct {
	Unsent int64 `json:"unsent_bytes"` // that are in the spool, and not on the server
}

func (c *control) takeAway(ctx context.Context) error {
	if !c.puts.TryLock() {
		return fmt.Errorf("%w: a put is under way: %w", errStays, unix.EBUSY)
	}
	defer c.puts.Unlock()
	if err := c.v.tree.Sync(ctx); err != nil && c.v.tree.Failed() == nil {
		return fmt.Errorf("%w: %w", errStays, err)
	}
	if err := c.server.Unmount(ctx); err != nil {
		return fmt.Errorf("%w: %w", errStays, err)
	}
	return nil
}

// putRequest is a put that another process asks for. Its paths are absolute.
type putRequest struct {
	Sources      []string `json:"sources"`
	Target       string   `json:"target"`
	Delete       bool     `json:"delete,omitempty"`
	Exclude      []string `json:"exclude,omitempty"`
	ExcludeFiles []string `json:"exclude_files,omitempty"`
}

// Put stores sources in the mounted volume. All of it is stable when it returns.
func (c *control) Put(ctx context.Context, request monitor.PutRequest, tell func(any)) error {
	return sent(c.put(ctx, request, tell))
}

func (c *control) put(ctx context.Context, request monitor.PutRequest, tell func(any)) error {
	var r putRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if !c.puts.TryRLock() {
		return fmt.Errorf("the volume is being unmounted: %w", unix.EBUSY)
	}
	defer c.puts.RUnlock()
	result, err := walk.Put(ctx, c.v.tree, r.options(c.server, c.server.Dir(), c.v.path), func(p walk.Progress) { tell(putLineOf(p)) })
	if err == nil {
		err = c.v.tree.Sync(ctx)
	}
	tell(putLine{Counts: result.Counts, Done: err == nil})
	return err
}
