package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"coffer/chunkfmt"
	"coffer/fusefs/tree"
	"coffer/media"
	"coffer/media/dir"
	"coffer/media/keyring"
	"coffer/pipeline/agent"
	"coffer/pipeline/monitor"
	"coffer/pipeline/mover"
	"coffer/pipeline/stage"
)

// volumeOptions name a volume and how to open it.
type volumeOptions struct {
	store          string
	name           string
	key            keyOptions
	acceptRollback bool
	buffers        int
	cache          byteSize
	spare          bool  // memory, see mover.Options
	dirty          int64 // bytes of changes that the tree holds in memory, about; 0: as many as it does by default
	fault          string
	noAtime        bool
	agents         int
	timeout        time.Duration
	notes          io.Writer // what the user is told besides; nil: nothing
	archiveEvery   time.Duration
	follow         bool // for reading: it is to be brought up to date
	spool          spoolOptions
	checkpoint     byteSize // behind so much log one is written; 0: as the mover does
}

func (o *volumeOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.name, "volume", "main", "`name` of the volume: a store holds several trees")
	flags.BoolVar(&o.acceptRollback, "accept-rollback", false, "go on with a store that is older than what was last written from here")
	o.key.add(flags)
	o.key.addRecovery(flags)
}

func (o *volumeOptions) addLimits(flags *pflag.FlagSet) {
	o.cache = 64 << 20
	flags.IntVar(&o.buffers, "buffers", 64, "`number` of 1 MiB buffers in the pipe")
	flags.Var(&o.cache, "cache", "`size` of the cache of what was read, like 256M")
	flags.IntVar(&o.agents, "agents", 0, "`number` of connections to a server for what is written; 0: as many as fill the way")
	flags.DurationVar(&o.timeout, "timeout", 0, "fail what waits for a server that has not answered for so long; 0: wait")
	o.spool.add(flags)
	addFault(flags, &o.fault)
	flags.Var(&o.checkpoint, "checkpoint-after", "write a checkpoint when so much log is behind the last one")
	flags.MarkHidden("checkpoint-after") // fails only for a flag that is not there
}

func addFault(flags *pflag.FlagSet, fault *string) {
	flags.StringVar(fault, "fault", "", "break a promise on purpose")
	flags.MarkHidden("fault") // fails only for a flag that is not there
}

// faultsOf are the negative controls of the crash tests. Nobody gets them by a slip of the finger.
func faultsOf(fault string) (stage.Faults, error) {
	if fault != "" && os.Getenv("COFFER_TEST_FAULTS") != "1" {
		return stage.Faults{}, fmt.Errorf("%w: --fault is for tests", errUsage)
	}
	switch fault {
	case "":
		return stage.Faults{}, nil
	case "batch-first":
		return stage.Faults{BatchFirst: true}, nil
	case "no-sync":
		return stage.Faults{NoSync: true}, nil
	case "fail-sync":
		return stage.Faults{FailSync: true}, nil
	}
	return stage.Faults{}, fmt.Errorf("%w: no such fault: %s", errUsage, fault)
}

// opened is a store whose key is at hand and the place of one of its volumes in it.
type opened struct {
	medium media.Medium
	far    *mover.Far // nil where the store is here
	spool  *openSpool // nil without one
	path   string     // of the store, absolute; or its address
	id     chunkfmt.StoreID
	master [32]byte
	volume chunkfmt.VolumeID // under which it lies in the store
	origin chunkfmt.VolumeID // that is in its chunks: another one if it is a branch
	state  string            // the state folder of the volume
}

// openKey gives the key of a store that lies on m, sealed.
type openKey func(ctx context.Context, m media.Medium) ([32]byte, error)

// openStore opens the store and its key, here or on a server. What key returns opens the volume's log, or fails to.
func openStore(ctx context.Context, o *volumeOptions, key openKey) (_ *opened, err error) {
	var s *opened
	if isAddress(o.store) {
		s, err = openServer(ctx, o, key)
	} else {
		s, err = openDirectory(ctx, o, key)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.displayed(), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if o.key.recoveryKeyFile != "" {
		// Nothing in the store says what its key is; only that it opens something.
		if known, err := s.medium.List(ctx, media.VolumePrefix(s.origin)); err != nil {
			return nil, err
		} else if len(known) == 0 {
			return nil, fmt.Errorf("%s: %w: the recovery key opens no volume %s in this store", o.displayed(), keyring.ErrWrongKey, o.name)
		}
	}
	return s, nil
}

// close closes what was opened, but for what was opened on it.
func (s *opened) close() error { return errors.Join(s.medium.Close(), s.spool.close()) }

func openDirectory(ctx context.Context, o *volumeOptions, key openKey) (_ *opened, err error) {
	if o.spool != (spoolOptions{limit: o.spool.limit}) {
		return nil, fmt.Errorf("%w: a spool stands in front of a server, and only what is on a server is taken over", errUsage)
	}
	path, err := filepath.Abs(o.store)
	if err != nil {
		return nil, err
	}
	m, err := dir.Open(path, dir.Options{})
	if errors.Is(err, media.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", media.ErrNoStore, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	s := &opened{medium: m, path: path}
	if s.id, err = media.OpenStore(ctx, m); err != nil {
		return nil, err
	}
	if s.master, err = key(ctx, m); err != nil {
		return nil, err
	}
	s.keys(o.name)
	s.medium = media.At(m, s.origin, s.volume)
	s.state, err = stateFolder(s.id, s.volume)
	return s, err
}

// keys derives what the volume is called in the store.
func (s *opened) keys(name string) {
	keys, place := mover.Keys(s.master, s.id, name)
	s.origin, s.volume = keys.ID, place
}

// unlocked is the key that the options give.
func (o *volumeOptions) unlocked(ctx context.Context, m media.Medium) ([32]byte, error) {
	master, err := o.key.unlock(ctx, m)
	return master.Key(), err
}

func (s *opened) moverOptions(o *volumeOptions, holder string) (mover.Options, error) {
	faults, err := faultsOf(o.fault)
	return mover.Options{
		Medium: s.medium, Far: s.far, Spool: s.spool.options(), Store: s.id, Master: s.master, Volume: o.name, StateDir: s.state,
		CatalogPath: catalogPath(s.path, s.volume),
		Holder:      holder, Program: "coffer " + version,
		Buffers: o.buffers, CacheBytes: int64(o.cache), DedupBytes: dedupBytes, DedupResized: limitHeap, Spare: o.spare,
		CheckpointAfter: uint64(o.checkpoint), Follow: o.follow, AcceptRollback: o.acceptRollback,
		Faults: faults, Log: slog.Default(),
	}, err
}

// catalogPath is the file of a volume's catalog, beside the volume's chunks.
func catalogPath(store string, v chunkfmt.VolumeID) string {
	return filepath.Join(store, filepath.FromSlash(media.CatalogName(v)))
}

// volume is a volume that is open for writing in this process.
type volume struct {
	*opened
	name    string
	monitor *monitor.Monitor
	source  *mover.Source
	tree    *tree.Tree
	unsent  int64 // bytes that were left in the spool, once it is closed
	care    care
}

// openVolume opens a session and the live tree on it. Holder says who does, to others who try.
func openVolume(ctx context.Context, s *opened, o *volumeOptions, holder string) (*volume, error) {
	options, err := s.moverOptions(o, holder)
	if err != nil {
		return nil, err
	}
	limitHeap(0)
	v := &volume{opened: s, name: o.name, monitor: monitor.New()}
	v.care.init(ctx)
	if v.source, err = mover.OpenSource(ctx, v.monitor, options); err != nil {
		return nil, err
	}
	if branch := v.source.Branch(); branch != "" && o.notes != nil {
		fmt.Fprintf(o.notes, `Another machine has taken the volume %[1]s over while this one had something in its spool that was not on the server.
All of it is kept, with the tree as this machine had it, as the volume %[2]s: mount it with --volume %[2]s.
The volume %[1]s is as the other machine has it.
`, o.name, branch)
	}
	v.tree, err = tree.New(ctx, tree.Config{
		Index: v.source.Index(), Collector: tree.FromStage(v.source.Collector()),
		Groups: v.source.Groups(), Flight: v.source.Flight(), Pipe: v.source.Pipe(),
		Log: slog.Default(), Full: media.ErrFull, Away: agent.ErrAway,
		Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()),
		Space: v.space, MaxDirty: o.dirty, Relatime: !o.noAtime, ArchiveEvery: o.archiveEvery, Sealed: v.care.sealedOne,
	})
	if err != nil {
		v.source.Pipe().Abort(err)
		return nil, errors.Join(err, v.source.Close())
	}
	return v, nil
}

func (v *volume) space(ctx context.Context) (tree.Space, error) {
	spacer, ok := v.medium.(media.Spacer)
	if !ok {
		return tree.Space{}, errors.ErrUnsupported
	}
	space, err := spacer.Space(ctx)
	if f := v.source.Forwarder(); f != nil {
		space.Free -= min(space.Free, uint64(f.Pending()))
	}
	return tree.Space{Free: space.Free, Total: space.Total}, err
}

// close seals an archive, ends the session and closes everything. What did not reach the store is an
// error that wraps errLost. A medium that is full is not waited for: a session without an end is as one
// that crashed, complete up to what was acknowledged.
func (v *volume) close(ctx context.Context) error {
	v.care.stop()
	lost := v.tree.Sync(ctx)
	_, sealed, err := v.tree.Snapshot(ctx, "")
	if sealed {
		v.applyPolicy(ctx)
	}
	if lost == nil && err == nil {
		if err := v.source.Checkpoint(ctx); err != nil {
			slog.Warn("no checkpoint was written: whoever has no index has more log to read", "cause", err)
		}
	}
	err = errors.Join(err, v.tree.Close(ctx))
	if v.tree.Failed() != nil || errors.Is(err, media.ErrFull) || errors.Is(err, agent.ErrAway) {
		// The pipe waits for an end that will not come through it.
		v.source.Pipe().Abort(err)
	}
	err = errors.Join(err, v.source.Close())
	if f := v.source.Forwarder(); f != nil {
		v.unsent = f.Pending()
		err = errors.Join(err, v.opened.spool.ended(f))
	}
	err = errors.Join(err, v.opened.close())
	switch {
	case lost != nil:
		return fmt.Errorf("%w: %w", errLost, errors.Join(lost, err))
	case err != nil:
		return fmt.Errorf("all that was written is stored, but the archive is not sealed: %w", err)
	}
	return nil
}
