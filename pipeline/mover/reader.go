package mover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
	"coffer/pipeline/stage"
)

// Reader is a volume that is open for reading. It takes no lock of the volume's and
// writes nothing to the store: any number read while one writes. It shows what the
// log was when it was opened, or was brought up to date; see CatchUp. Its parts may be
// used concurrently until Close.
type Reader struct {
	o         Options
	volume    chunkfmt.VolumeID
	index     *index.Index
	groups    *stage.Groups
	source    *Source // how the log is read
	life      context.Context
	following following
	looking   atomic.Pointer[time.Time] // the begin of the look that Keep is at; nil: it waits
	late      *lateCatalog              // nil where the store is on another machine
	newest    newest
	closers   []func() error
}

// OpenReader opens a volume for reading. Copied is the file of a copy of the index
// that the process made which has the volume open for writing on this machine; it is
// removed. Without one, the index in the state folder is brought up to date with the
// log, or made, as OpenSource does, and copied: bbolt lets one process at a time use
// an index that is written, and whoever wants to write must not wait for a reader.
// If another process keeps that one, as who writes without lending it does, another
// one is made from the log, after ten seconds.
//
// Errors are those of OpenSource, but media.ErrLocked.
func OpenReader(ctx context.Context, o Options, copied string) (_ *Reader, err error) {
	s := newSource(o)
	r := &Reader{o: s.o, volume: s.keys.ID, life: ctx}
	err = s.openLog(ctx, "")
	r.closers, s.closers = s.closers, nil
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	var file *os.File
	if copied != "" {
		file, err = takeOver(copied)
	} else {
		file, err = s.currentCopy(ctx)
	}
	if err != nil {
		return nil, err
	}
	open := index.OpenCopy
	if o.Follow {
		open = index.OpenPrivate
	}
	r.source = s
	if r.index, err = open(file, index.Identity{Store: o.Store, Volume: s.keys.ID}); err != nil {
		return nil, err
	}
	r.closers = append(r.closers, r.index.Close)
	locator := sinceLocator{r.locator(ctx, s)}
	r.groups, err = stage.NewGroups(ctx, stage.GroupsConfig{
		Keys: &s.keys, Flight: stage.NewFlight(), Records: r.index, Locator: locator, Medium: o.Medium,
		Sealer:     func(ordinal uint32) (*chunkfmt.Sealer, error) { return s.log.sealer(ctx, ordinal) },
		CacheBytes: o.CacheBytes, Moved: r.moved,
	})
	if err != nil {
		return nil, err
	}
	r.closers = append(r.closers, r.groups.Close, r.newest.close)
	return r, nil
}

// locator finds groups that are not where the index last knew them.
func (r *Reader) locator(ctx context.Context, s *Source) stage.Locator {
	if s.o.Far != nil {
		return s.locator()
	}
	r.late = &lateCatalog{open: func() (*media.Catalog, error) {
		c, err := s.openCatalog(ctx, s.o.Medium, "") // in memory: the file is the writer's
		s.closers = nil                              // close does it
		return c, err
	}}
	r.closers = append(r.closers, r.late.close)
	return r.late
}

func (r *Reader) cleaning(ctx context.Context) (*cleaning, error) {
	c := &cleaning{o: &r.o, volume: r.volume, index: r.index}
	if r.late == nil {
		return c, nil
	}
	if err := r.late.Renew(ctx); err != nil {
		return nil, err
	}
	c.catalog = r.late.catalog
	return c, nil
}

// Index is the view of the log.
func (r *Reader) Index() *index.Index { return r.index }

// Groups reads what was stored.
func (r *Reader) Groups() *stage.Groups { return r.groups }

// Close closes everything but the medium.
func (r *Reader) Close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	r.closers = nil
	return errors.Join(errs...)
}

// takeOver opens a file and removes its name.
func takeOver(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("take over a copy of the index: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// currentCopy brings the index of the state folder up to date and copies it, or one made from the log.
func (s *Source) currentCopy(ctx context.Context) (_ *os.File, err error) {
	if err := os.MkdirAll(s.o.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	dir := s.o.StateDir
	err = s.waitForIndex(ctx)
	if errors.Is(err, index.ErrLocked) {
		s.o.Log.Info("another process keeps the index: one is made from the store", "cause", err)
		if dir, err = os.MkdirTemp(s.o.StateDir, "reading-*"); err != nil {
			return nil, fmt.Errorf("make a folder for an index: %w", err)
		}
		// Files that are open need no names, and are not left behind.
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		id := index.Identity{Store: s.o.Store, Volume: s.keys.ID}
		s.index, err = index.Open(filepath.Join(dir, "index.db"), id)
	}
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { return s.index.Close() })
	defer func() { err = errors.Join(err, s.release()) }()
	if s.heads, err = openHeadFile(dir); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.heads.Close)
	if _, err := s.recover(ctx); err != nil {
		return nil, err
	}
	f, err := NamelessFile(s.o.StateDir)
	if err != nil {
		return nil, err
	}
	if err := s.index.CopyTo(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// indexRetry is how often is looked whether a reader has given the index up, as it does once it has copied it.
const indexRetry = 50 * time.Millisecond

// waitForIndex opens the index, waiting for a reader that has it.
func (s *Source) waitForIndex(ctx context.Context) error {
	deadline := time.Now().Add(s.o.indexPatience)
	for {
		var err error
		if s.index, err = s.openIndex(); !errors.Is(err, index.ErrLocked) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(indexRetry):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// NamelessFile makes a file in dir that goes when it is closed.
func NamelessFile(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, "nameless")), nil
	}
	f, err := os.CreateTemp(dir, "nameless-*") // not every file system can do that
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sinceLocator is the locator of a view that others prune behind the back of.
type sinceLocator struct{ stage.Locator }

// Places implements stage.Locator.
func (l sinceLocator) Places(seq chunkfmt.Seq) ([]chunkfmt.Location, error) {
	all, err := l.Locator.Places(seq)
	if errors.Is(err, media.ErrNoTag) {
		err = fmt.Errorf("%w: it was pruned since this view of the volume was made, or is lost", err)
	}
	return all, err
}

// Renew implements stage.Renewer.
func (l sinceLocator) Renew(ctx context.Context) error {
	if r, ok := l.Locator.(stage.Renewer); ok {
		return r.Renew(ctx)
	}
	return nil
}

// lateCatalog reads the footers of all chunks when a group is not where the index
// last knew it, and not before; and again those that are new, when it is renewed.
type lateCatalog struct {
	open func() (*media.Catalog, error)

	mu      sync.Mutex // guards what follows; held while footers are read
	catalog *media.Catalog
	closed  bool
}

// opened opens the catalog if it was not, and says whether it has. mu is held.
func (l *lateCatalog) opened() (now bool, err error) {
	if l.closed {
		return false, stage.ErrClosed
	}
	if l.catalog != nil {
		return false, nil
	}
	l.catalog, err = l.open()
	return true, err
}

// Places implements stage.Locator.
func (l *lateCatalog) Places(seq chunkfmt.Seq) ([]chunkfmt.Location, error) {
	l.mu.Lock()
	_, err := l.opened()
	c := l.catalog
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return c.Places(seq)
}

// Renew implements stage.Renewer: a writer, or a cleaner, may have been at work since.
func (l *lateCatalog) Renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now, err := l.opened(); now || err != nil {
		return err
	}
	return l.catalog.Refresh(ctx)
}

func (l *lateCatalog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.catalog == nil {
		return nil
	}
	return l.catalog.Close()
}
