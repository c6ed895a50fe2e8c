package stage

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline"
)

// Writer is one writing session: the stages of its pipe and what they share.
//
//	w, err := stage.NewWriter(cfg)
//	pipe, err := pipeline.Start(ctx, w.Spec(name))
//	… write through w.Collector(), end with a marker of MarkEnd …
//	err = pipe.Wait()
//	w.Detach()
//	pipe.Close()
type Writer struct {
	cfg       Config
	mem       *memory
	space     *space
	flow      *flow
	waiters   *waiters
	collector *Collector
	stats     stats

	mu    sync.Mutex   // guards what follows; nothing is locked after it
	acked chunkfmt.Seq // the last acknowledged, also between batches
	head  Head         // of the last acknowledged marker
}

// stats are counted by several stages, bytes.
type stats struct {
	duplicate  atomic.Int64 // plaintext that was known
	dataStored atomic.Int64 // data tags with all that is theirs
}

func (s *stats) stored() uint64 { return uint64(s.dataStored.Load()) }

// NewWriter checks cfg and makes the stages. Nothing is written before the
// pipe of Spec is started.
func NewWriter(cfg Config) (*Writer, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	cut, err := newCutter(cfg.Keys.Cut[:])
	if err != nil {
		return nil, err
	}
	w := &Writer{cfg: cfg, mem: &memory{}, waiters: newWaiters(), acked: cfg.Prev.Seq, head: cfg.Prev}
	w.flow = newFlow()
	w.space = &space{reserve: cfg.Reserve, clock: cfg.Clock, flow: w.flow}
	w.space.medium, _ = cfg.Medium.(media.Spacer)
	w.collector = &Collector{
		cut: cut, mem: w.mem, groups: cfg.Groups, space: w.space, flow: w.flow, waiters: w.waiters,
		started: make(chan struct{}), drained: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	return w, nil
}

// Spec describes the session's pipe, to be started once.
func (w *Writer) Spec(name string) pipeline.Spec {
	p := w.cfg.Instances
	shared := &encoders{}
	always := func(m pipeline.Module) func(int) (pipeline.Module, error) {
		return func(int) (pipeline.Module, error) { return m, nil }
	}
	return pipeline.Spec{
		Name: name, Buffers: w.cfg.Buffers, Size: BufferSize, Headroom: Headroom,
		Stages: []pipeline.StageSpec{
			{Name: "collect", Allocates: true, New: always(w.collector)},
			{Name: "fingerprint", Instances: p, Ordered: true, New: always(&fingerprint{w.cfg.Keys})},
			{Name: "pack", Allocates: true, New: always(newPack(w))},
			{Name: "compress", Instances: p, Allocates: true, Ordered: true,
				New: func(int) (pipeline.Module, error) { return &compress{w: w, encoders: shared}, nil }},
			{Name: "seal", Instances: p, Ordered: true, New: always(&seal{w.cfg.Sealer})},
			w.tail(),
		},
	}
}

// tail is the stage that stores, here or on another machine.
func (w *Writer) tail() pipeline.StageSpec {
	if w.cfg.Tail != nil {
		return w.cfg.Tail(w)
	}
	s := newStore(w, storeConfig{
		store: w.cfg.Store, volume: w.cfg.Keys.ID, session: w.cfg.Session, ordinal: w.cfg.Ordinal, chunk: w.cfg.Chunk,
		medium: w.cfg.Medium, catalog: w.cfg.Catalog, chunkSize: w.cfg.ChunkSize,
		log: w.cfg.Log, faults: w.cfg.Faults,
	})
	return pipeline.StageSpec{Name: "store", New: func(int) (pipeline.Module, error) { return s, nil }}
}

// Collector is the head of the session's pipe. It works as soon as the pipe
// runs, and waits until then.
func (w *Writer) Collector() *Collector { return w.collector }

// Head is the place in the log up to which the last acknowledged marker
// reaches: where the next session is to go on.
func (w *Writer) Head() Head {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.head
}

// Acked is the last acknowledged sequence number, which may lie behind Head.
func (w *Writer) Acked() chunkfmt.Seq {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked
}

// Pending is how many bytes were accepted and are not on the medium yet, or with Config.Tail not acknowledged: as they
// will be stored, where that is known.
func (w *Writer) Pending() int64 { return w.flow.pending.Load() }

// Duplicate is how many bytes of plaintext were left out as known.
func (w *Writer) Duplicate() int64 { return w.stats.duplicate.Load() }

// Detach takes the session off its pipe's memory. It is to be called when Wait
// of the pipe has returned and before its Close. Afterwards, bytes that were
// not stored answer ErrClosed, writes take nothing in, and groups behind Head are
// known no more, not in Flight and not in the dedup table: the next session goes
// on from there, so that they are void, whether they are stable or not.
func (w *Writer) Detach() error {
	c := w.collector
	c.gate.Lock()
	c.closed = true
	c.gate.Unlock()
	w.mem.close()
	w.waiters.fail(fmt.Errorf("pipe has ended: %w", ErrClosed))
	last := w.Head().Seq
	var errs []error
	if w.cfg.Dedup != nil {
		// While Flight has their records: the table finds them by these.
		for _, seq := range w.cfg.Flight.behind(last) {
			errs = append(errs, w.cfg.Dedup.Drop(seq))
		}
	}
	w.cfg.Flight.void(last)
	return errors.Join(errs...)
}

// ack notes that all up to seq is stable, and mark with it, if there is one.
func (w *Writer) ack(seq chunkfmt.Seq, mark *waiter, head Head) {
	w.mu.Lock()
	w.acked = max(w.acked, seq)
	if mark != nil && head.Seq != 0 {
		w.head = head
	}
	w.mu.Unlock()
	if mark != nil {
		w.waiters.ack(mark)
	}
	if w.cfg.OnAcked != nil && seq != 0 {
		w.cfg.OnAcked(seq)
	}
}

// placed says of groups where they are, and that they are no longer pending.
func (w *Writer) placed(sl *sealed, chunk chunkfmt.ChunkID) {
	for i := range sl.groups {
		g := &sl.groups[i]
		if g.kind == chunkfmt.KindData {
			w.place(g, chunkfmt.Location{Chunk: chunk, Offset: g.tag.Offset, Length: uint32(g.tag.StoredLen())})
		}
	}
}

// place is placed for one group of data.
func (w *Writer) place(g *group, l chunkfmt.Location) {
	g.entry.store(l)
	w.flow.settle(int64(g.length))
	w.stats.dataStored.Add(int64(g.length))
}

func (w *Writer) appended(bytes int)        { w.space.appended.Add(int64(bytes)) }
func (w *Writer) stalled(err error) bool    { return w.waiters.stalled(err) }
func (w *Writer) retrying() <-chan struct{} { return w.waiters.retry }
func (w *Writer) fail(err error)            { w.waiters.fail(err) }
