package mover

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"time"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/index/dedup"
	"coffer/media"
	"coffer/pipeline"
	"coffer/pipeline/agent"
	"coffer/pipeline/monitor"
	"coffer/pipeline/stage"
)

// Source is one writable session of a volume on this machine: the source and
// the destination mover in one process, joined by one pipe. Its parts may be
// used concurrently until Close.
type Source struct {
	o       Options
	keys    chunkfmt.VolumeKeys
	place   chunkfmt.VolumeID // under which the volume lies in the store
	log     *log
	index   *index.Index
	heads   *headFile
	catalog *media.Catalog // nil where the store is on another machine
	sender  *agent.Sender  // nil where the store is here, or behind a spool
	spool   *spooling      // nil without one
	branch  string         // see Branch
	// unsettled: a prune was ended, and its last batch may be on its way. Prune's alone.
	unsettled bool
	flight    *stage.Flight
	table     *dedup.Table // used by the pipe only
	groups    *stage.Groups
	writer    *stage.Writer
	pipe      *pipeline.Pipe
	ordinal   uint32 // of the session

	loaded      *Loaded // what the index was made of just now; nil: it was there, or of the log
	passed      int     // newer checkpoints that could not be used
	checkpoints checkpointer

	closers []func() error // in the order in which they were opened
}

// Starter starts pipes; *monitor.Monitor is one. The pipe outlives ctx's end.
type Starter interface {
	Initiate(ctx context.Context, spec pipeline.Spec) (*pipeline.Pipe, error)
}

// OpenSource opens the volume for writing: it takes the volume's lock, proves
// that the log extends what this machine acknowledged before, applies to the
// index what the index lacks (all of it when there is none), makes stable what
// an earlier session left behind, opens a session and starts its pipe.
//
// Errors: media.ErrLocked when another process writes the volume; ErrRolledBack,
// ErrForked, ErrCut, ErrDamaged of this package; what the medium returns. After
// an error nothing is left open.
func OpenSource(ctx context.Context, m Starter, o Options) (_ *Source, err error) {
	s := newSource(o)
	defer func() {
		if err != nil && s.branch != "" {
			err = fmt.Errorf("what was in the spool is kept as the volume %s: %w", s.branch, err)
		}
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	if err := s.openState(ctx); err != nil {
		return nil, err
	}
	if s.spool != nil {
		// Before the lease is asked for: who comes too late may not get it.
		if err := s.spool.settle(ctx, m); err != nil {
			return nil, err
		}
		if err := s.lock(ctx); err != nil {
			return nil, err
		}
	}
	begin, err := s.recover(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.startPipe(ctx, m, begin); err != nil {
		return nil, err
	}
	return s, nil
}

func newSource(o Options) *Source {
	o.defaults()
	s := &Source{o: o}
	s.keys, s.place = Keys(o.Master, o.Store, o.Volume)
	return s
}

func (o *Options) defaults() {
	if o.Instances == 0 {
		o.Instances = runtime.GOMAXPROCS(0)
	}
	if o.Buffers == 0 {
		o.Buffers = 64
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.DedupBytes == 0 {
		o.DedupBytes = 64 << 20
	}
	if o.CheckpointAfter == 0 {
		o.CheckpointAfter = defaultCheckpointAfter
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.indexPatience == 0 {
		o.indexPatience = 10 * time.Second
	}
}

// openState takes the lock, but where there is a spool, and opens what this machine keeps of the volume.
func (s *Source) openState(ctx context.Context) error {
	if err := os.MkdirAll(s.o.StateDir, 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	if s.o.Far != nil {
		// A server knows machines, not processes: this keeps two of one machine apart.
		if err := s.lockState(ctx); err != nil {
			return err
		}
	}
	if err := s.openLog(ctx, s.o.spoolCatalog()); err != nil {
		return err
	}
	if s.spool == nil {
		if err := s.lock(ctx); err != nil {
			return err
		}
	}
	var err error
	if s.heads, err = openHeadFile(s.o.StateDir); err != nil {
		return err
	}
	s.closers = append(s.closers, s.heads.Close)
	// Nobody else writes the volume: who has the index is a reader, and gives it up.
	if err := s.waitForIndex(ctx); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { return s.index.Close() })
	if s.o.Far != nil {
		return nil // the catalog is where the store is
	}
	s.catalog, err = s.openCatalog(ctx, s.o.Medium, s.o.CatalogPath)
	return err
}

// openLog says where the log is read: where the store is, and in the spool in front of it.
func (s *Source) openLog(ctx context.Context, spoolCatalog string) error {
	if s.o.Spool != nil {
		if err := s.openSpool(ctx, spoolCatalog); err != nil {
			return err
		}
	}
	s.log = newLog(s.o.Medium, s.o.Store, &s.keys)
	if s.spool != nil {
		s.log.spooled = s.spool.first
	}
	return nil
}

// openCatalog opens the catalog of the volume's chunks on a medium, up to date.
func (s *Source) openCatalog(ctx context.Context, m media.Medium, path string) (*media.Catalog, error) {
	c, err := media.OpenCatalog(ctx, path, m, s.keys.ID, media.CatalogOptions{Log: s.o.Log})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, c.Close)
	return c, c.Refresh(ctx)
}

// lock keeps other writers away, as far as the medium can.
func (s *Source) lock(ctx context.Context) error {
	locker, ok := s.o.Medium.(media.Locker)
	if !ok {
		return nil
	}
	unlock, err := locker.Lock(ctx, media.VolumePrefix(s.keys.ID)+"lock", s.o.Holder)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error {
		if s.spool != nil && !s.spool.drained {
			return nil // what is in the spool is to come
		}
		return unlock()
	})
	return nil
}

// startPipe begins a session after begin and starts its pipe.
func (s *Source) startPipe(ctx context.Context, m Starter, begin beginning) error {
	s.ordinal = begin.ordinal
	s.flight = stage.NewFlight()
	table := dedup.New(s.o.DedupBytes, known{s.flight, s.index})
	s.table = table
	if s.o.DedupResized != nil {
		table.Watch(s.o.DedupResized)
	}
	all := func(f func(chunkfmt.GroupRecord, chunkfmt.Location) bool) error { return s.index.Known(0, f) }
	if err := table.Load(all); err != nil {
		return fmt.Errorf("load the fingerprints: %w", err)
	}
	lost, err := dropBad(table, s.index)
	if err != nil {
		return err
	}
	var id chunkfmt.SessionID
	rand.Read(id[:])
	sealer, err := chunkfmt.NewSealer(&s.keys, id)
	if err != nil {
		return err
	}
	s.log.add(begin.ordinal, sealer)
	s.groups, err = stage.NewGroups(context.WithoutCancel(ctx), stage.GroupsConfig{
		Keys: &s.keys, Flight: s.flight, Records: s.index, Locator: s.locator(), Medium: s.o.Medium,
		Sealer: func(ordinal uint32) (*chunkfmt.Sealer, error) {
			return s.log.sealer(context.WithoutCancel(ctx), ordinal)
		},
		CacheBytes: s.o.CacheBytes,
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.groups.Close)
	reserve, err := s.reserve(ctx)
	if err != nil {
		return err
	}
	name := monitor.NewName()
	config := stage.Config{
		Store: s.o.Store, Keys: &s.keys, Sealer: sealer,
		Session: id, Ordinal: begin.ordinal, Prev: stage.Head(begin.prev), Info: s.info(begin.prev), Archive: s.index.Archive(),
		Medium: s.o.Medium, Dedup: table, Lost: lost, Flight: s.flight, Groups: s.groups,
		Instances: s.o.Instances, Buffers: s.o.Buffers, ChunkSize: s.o.ChunkBytes, Reserve: reserve,
		Clock: s.o.Clock, Log: s.o.Log, Faults: s.o.Faults,
	}
	if s.o.Spare {
		config.Compression = stage.CompressLight
	}
	switch {
	case s.spool != nil:
		s.spool.write(&config)
	case s.o.Far != nil:
		config.Tail = s.send(name, id, begin)
	default:
		config.Catalog = s.catalog
	}
	if s.writer, err = stage.NewWriter(config); err != nil {
		return err
	}
	if s.spool != nil {
		s.spool.forward(context.WithoutCancel(ctx), m, id, begin)
	}
	if s.pipe, err = m.Initiate(context.WithoutCancel(ctx), s.writer.Spec(name)); err != nil {
		if s.spool != nil {
			s.spool.f.Stop()
		}
		return err
	}
	if s.spool != nil {
		s.spool.watch(s.pipe)
	}
	s.checkpoints = checkpointer{
		after: s.o.CheckpointAfter, index: s.index, writer: s.writer, log: s.o.Log,
		turn: make(chan struct{}, 1), sealed: make(chan struct{}, 1),
	}
	s.checkpoints.start(context.WithoutCancel(ctx))
	return nil
}

// reserve is the space that data leaves free for metadata, so that deletes work on
// a full medium: 64 MiB, of a small medium an eighth.
func (s *Source) reserve(ctx context.Context) (uint64, error) {
	const most = 64 << 20
	spacer, ok := s.o.Medium.(media.Spacer)
	if !ok {
		return most, nil
	}
	space, err := spacer.Space(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask the medium for its space: %w", err)
	}
	return max(1, min(most, space.Total/8)), nil
}

// info describes this session to whoever has the key.
func (s *Source) info(prev index.Head) []byte {
	host, _ := os.Hostname() // a name is a courtesy, none is fine
	info := chunkfmt.SessionInfo{
		Time: s.o.Clock().UnixNano(), Host: host, User: strconv.Itoa(os.Getuid()),
		Program: s.o.Program, Volume: s.o.Volume, Chain: prev.Chain,
	}
	return info.Append(nil)
}

// Collector is the head of the pipe.
func (s *Source) Collector() *stage.Collector { return s.writer.Collector() }

// Groups reads back what was stored.
func (s *Source) Groups() *stage.Groups { return s.groups }

// Flight knows the groups that the index does not know yet.
func (s *Source) Flight() *stage.Flight { return s.flight }

// Session gives the id of the session of that ordinal.
func (s *Source) Session(ctx context.Context, ordinal uint32) (chunkfmt.SessionID, error) {
	return s.log.sessionID(ctx, ordinal)
}

// Ordinal is that of this session.
func (s *Source) Ordinal() uint32 { return s.ordinal }

// Recatalog makes the catalog of the chunks anew, after a repair.
func (s *Source) Recatalog(ctx context.Context) error {
	if s.catalog == nil {
		return nil
	}
	return s.catalog.Rebuild(ctx)
}

// Pipe is the running pipe.
func (s *Source) Pipe() *pipeline.Pipe { return s.pipe }

// Writer tells how far the session has come.
func (s *Source) Writer() *stage.Writer { return s.writer }

// Index is the view of the log. To keep the head file right, apply through
// Source.Apply and not through it.
func (s *Source) Index() Index { return Index{s.index, s.heads, &s.checkpoints} }

// Close waits for the pipe, which ends after a marker MarkEnd went through it or
// after it has failed, and closes everything. It returns why the pipe failed, if
// it did.
func (s *Source) Close() error {
	var err error
	if s.pipe != nil {
		s.checkpoints.stop()
		err = s.pipe.Wait()
		err = errors.Join(err, s.writer.Detach(), s.pipe.Close())
	}
	if s.spool != nil {
		err = errors.Join(err, s.spool.end())
	}
	return errors.Join(err, s.release())
}

func (s *Source) release() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}
