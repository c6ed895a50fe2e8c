package mover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
)

// replayer reads the batches of a log in order and checks on its way what the
// log promises: numbers without a gap, each batch chained to the one before,
// each session ending where its successor says that it does.
type replayer struct {
	*log
	slog *slog.Logger
	// apply takes what was read: whole batches, the head after them and the
	// places of the groups that they name. The replayer reuses nothing of it, and reads
	// on meanwhile; one call at a time.
	apply func(batches []index.Batch, head index.Head, locate index.Locate) error

	acked index.Head // what this machine knows to be acknowledged; zero: nothing
	// ackedOnly leaves what no tag says to be acknowledged for another time.
	ackedOnly bool
	scans     scans // what chunks were found to hold by earlier replayers; nil: nothing is kept

	head    index.Head // after the last whole batch
	next    chunkfmt.Seq
	chain   chunkfmt.Hash // after the last part, of a whole batch or not
	parts   []part        // of a batch whose last part has not come
	batches []index.Batch // whole, not yet applied
	records int
	places  map[chunkfmt.Seq]chunkfmt.Location
	hole    chunkfmt.Removed // from the first to the last number below the watermark that no tag has; zero: there is none

	applying chan *applying // one at a time, by a goroutine of its own
	applied  chan error     // how it went
}

// applying is what is to be applied.
type applying struct {
	batches []index.Batch
	head    index.Head
	places  map[chunkfmt.Seq]chunkfmt.Location
}

type part struct {
	header  chunkfmt.BatchHeader
	records []chunkfmt.Record
}

// applyRecords is how many records go into one commit of the index.
const applyRecords = 100_000

var (
	// errEnd ends the reading of a session: what follows is void.
	errEnd = errors.New("end of the log")
	// errGap ends the reading of a chunk of the last session where its valid prefix ends. The session may have gone on
	// from there in another chunk, once its server was back.
	errGap = errors.New("end of the chunk")
)

// run reads the sessions of path from the head on. What was read is applied while more is read.
func (r *replayer) run(ctx context.Context, path []*session, head index.Head) error {
	r.applying, r.applied = make(chan *applying), make(chan error, 1)
	r.applied <- nil
	var applier sync.WaitGroup
	applier.Go(func() {
		for a := range r.applying {
			r.applied <- r.apply(a.batches, a.head, a.locate)
		}
	})
	err := r.read(ctx, path, head)
	if err == nil {
		err = r.flush()
	}
	close(r.applying)
	applier.Wait()
	return errors.Join(err, <-r.applied)
}

func (r *replayer) read(ctx context.Context, path []*session, head index.Head) error {
	r.head, r.chain = head, head.Chain
	r.places = map[chunkfmt.Seq]chunkfmt.Location{}
	for i, s := range path {
		var successor *session
		if i+1 < len(path) {
			successor = path[i+1]
		}
		if s.ordinal < head.Ordinal {
			continue
		}
		if s.ordinal > head.Ordinal {
			if err := r.enter(s); err != nil {
				return err
			}
		} else {
			r.next = head.Seq + 1
		}
		if err := r.session(ctx, s, successor); err != nil {
			return err
		}
	}
	return nil
}

// enter begins a session: its header says where it goes on.
func (r *replayer) enter(s *session) error {
	if s.prev.Ordinal != 0 && (r.head.Seq != s.prev.Last || r.chain != s.chain) {
		return fmt.Errorf("%w: session %d goes on from %v, but what is there ends at %v", ErrCut, s.ordinal, s.prev.Last, r.head.Seq)
	}
	r.parts = nil
	r.chain = chunkfmt.SessionChain(s.chain, s.id)
	r.next = chunkfmt.MakeSeq(s.ordinal, 1)
	r.head = index.Head{Session: s.id, Ordinal: s.ordinal, Seq: r.next, Chain: r.chain}
	return nil
}

// session reads one session up to the number that its successor goes on from,
// or, without a successor, to the end of what is valid.
func (r *replayer) session(ctx context.Context, s, successor *session) error {
	w := &window{}
	if successor != nil {
		w.stable, w.last = successor.prev.Last, successor.prev.Last
	} else {
		stable, err := r.watermark(ctx, s)
		if err != nil {
			return err
		}
		w.stable = stable
		if s.ordinal == r.acked.Ordinal {
			w.stable = max(w.stable, r.acked.Seq)
		}
	}
	m := r.mirror(s)
	first := 0
	if r.next.Number() > 1 {
		if i, ok := r.reaching(ctx, s, r.next); ok {
			first = max(i, 0)
		}
	}
	for _, c := range s.data[first:] {
		err := r.chunk(ctx, s, c, m, w)
		if errors.Is(err, errEnd) {
			break
		}
		if errors.Is(err, errGap) {
			continue
		}
		if err != nil {
			return err
		}
	}
	// Metadata that the last chunks lost may stand in the mirror alone.
	if err := r.fill(ctx, s, m, w.stable+1); err != nil {
		return err
	}
	for more := successor == nil && !r.ackedOnly; more; {
		var err error
		if more, err = r.fromMirror(ctx, m); err != nil {
			return err
		}
	}
	r.parts = nil
	return nil
}

// fromMirror takes the next number, of which is not known whether it was
// acknowledged, from the mirror. It counts if the copy is whole, as it would in
// the chunk.
func (r *replayer) fromMirror(ctx context.Context, m *mirror) (bool, error) {
	tag, ok, err := m.tag(ctx, r.next)
	if err != nil || !ok {
		return false, err
	}
	payload, err := m.payload(ctx, r.next)
	if err != nil {
		if isFormatError(err) {
			return false, nil
		}
		return false, err
	}
	if tag.Kind == chunkfmt.KindBatch {
		if err := r.batch(tag, payload); err != nil {
			return false, err
		}
	}
	r.next++
	return true, nil
}

// window says which numbers of a session count: those up to last (0: no limit),
// and that those up to stable were acknowledged, so that a hole among them is
// damage and not an end.
type window struct{ stable, last chunkfmt.Seq }

// watermark finds the highest number that a tag of the session says to be
// acknowledged. Watermarks only grow, so the last readable tag has it: of the
// chunks of the log, or of their mirrors, should the last of those be gone.
func (r *replayer) watermark(ctx context.Context, s *session) (high chunkfmt.Seq, err error) {
	for _, list := range [][]chunk{s.data, s.mirrors} {
		found := false
		for i := len(list) - 1; i >= 0; i-- {
			// A cleaner may have begun to write the last chunk anew.
			if found && list[i].id.Of(0) != list[i+1].id.Of(0) {
				break
			}
			entries, err := r.entries(ctx, s, list[i])
			if err != nil {
				return 0, err
			}
			if n := len(entries); n > 0 {
				high, found = max(high, entries[n-1].Tag.Watermark), true
			}
		}
	}
	return high, nil
}

// entries lists the tags of a chunk that count there: from its footer, or by
// reading all of it. What is damaged is left out; the gap in the numbers tells.
func (r *replayer) entries(ctx context.Context, s *session, c chunk) (entries []chunkfmt.Entry, err error) {
	err = r.following(ctx, c, func(c chunk) error {
		entries, err = r.entriesOf(ctx, s, c)
		return err
	})
	return entries, err
}

// entriesOf is entries of a chunk that is there. They are not to be changed.
func (r *replayer) entriesOf(ctx context.Context, s *session, c chunk) (entries []chunkfmt.Entry, err error) {
	if r.scans == nil {
		return r.entriesFrom(ctx, s, c)
	}
	entries, err = r.scans.of(c, func(seen *scan) error { return r.scan(ctx, s, c, seen) })
	if c.before != 0 {
		entries = slices.DeleteFunc(entries, func(e chunkfmt.Entry) bool { return e.Tag.Seq >= c.before })
	}
	return entries, err
}

// scan adds what a chunk holds beyond what was seen of it.
func (r *replayer) scan(ctx context.Context, s *session, c chunk, seen *scan) error {
	reader := media.Reader(ctx, r.medium, c.name)
	sc := chunkfmt.NewScanner(&peeker{r: reader}, c.size)
	if h, err := sc.Header(); err == nil && h.Session != s.id {
		return fmt.Errorf("%w: %s belongs to another session %d", ErrForked, c.name, s.ordinal)
	} else if err != nil && !isFormatError(err) {
		return fmt.Errorf("read %s: %w", c.name, err)
	}
	if tags, err := chunkfmt.ReadFooter(reader, c.size); err == nil {
		seen.entries = seen.entries[:0]
		for _, t := range tags {
			seen.add(chunkfmt.Entry{Tag: t, At: int64(t.Offset)})
		}
		return nil
	}
	sc.Skip(seen.end)
	for {
		e, err := sc.Next()
		var damage *chunkfmt.DamageError
		switch {
		case err == nil:
			seen.add(e)
		case errors.As(err, &damage):
			r.slog.Warn("damage in a chunk", "chunk", c.name, "from", damage.From, "to", damage.To)
			seen.damaged = true
		case errors.Is(err, io.EOF):
			return nil
		case isFormatError(err):
			return nil
		default:
			return fmt.Errorf("read %s: %w", c.name, err)
		}
	}
}

func (r *replayer) chunk(ctx context.Context, s *session, c chunk, m *mirror, w *window) error {
	return r.following(ctx, c, func(c chunk) error { return r.chunkOf(ctx, s, c, m, w) })
}

func (r *replayer) chunkOf(ctx context.Context, s *session, c chunk, m *mirror, w *window) error {
	entries, err := r.entriesOf(ctx, s, c)
	if err != nil {
		return err
	}
	batches := r.readAhead(ctx, s, c, entries, w)
	defer batches.stop()
	for i, e := range entries {
		if e.Tag.Last() < r.next || e.Tag.Seq.Ordinal() != s.ordinal {
			continue
		}
		seq := max(e.Tag.Seq, r.next) // of a range that is gone, the beginning may be known
		if w.last != 0 && seq > w.last {
			return errEnd // void: the successor went on from before it
		}
		if r.ackedOnly && seq > w.stable {
			return errGap
		}
		if err := r.fill(ctx, s, m, min(seq, w.stable+1)); err != nil {
			return err
		}
		for seq > r.next {
			ok, err := r.fromMirror(ctx, m)
			if err != nil {
				return err
			}
			if !ok {
				return errGap
			}
		}
		if e.Tag.Kind == chunkfmt.KindBatch {
			payload, err1 := batches.payload(i)
			err = r.takeBatch(ctx, c, e, m, w, payload, err1)
		} else {
			err = r.take(ctx, c, e, m, w)
		}
		if err != nil {
			return err
		}
		r.next = e.Tag.Last() + 1
	}
	return nil
}

// takeBatch handles the batch part of the next number, whose payload was read, or not.
func (r *replayer) takeBatch(
	ctx context.Context, c chunk, e chunkfmt.Entry, m *mirror, w *window, payload []byte, err error,
) error {
	seq := e.Tag.Seq
	if err != nil {
		if !isFormatError(err) {
			return err
		}
		if seq > w.stable {
			return r.orGap(ctx, m)
		}
		if payload, err = m.payload(ctx, seq); err != nil {
			return fmt.Errorf("%w: batch %v of %s, and its copy: %w", ErrDamaged, seq, c.name, err)
		}
		r.slog.Warn("a batch is damaged, its copy is used", "chunk", c.name, "seq", seq.String())
	}
	return r.batch(e.Tag, payload)
}

// take handles the tag of the next number, which is not a batch.
func (r *replayer) take(ctx context.Context, c chunk, e chunkfmt.Entry, m *mirror, w *window) error {
	seq := e.Tag.Seq
	switch e.Tag.Kind {
	case chunkfmt.KindGone:
		// Removed, says whoever cleaned; the log has to say so too, see missing.
		r.passed(r.next, e.Tag.Last())
	default:
		// What was not acknowledged may be half on the medium.
		if seq > w.stable {
			ok, err := r.intact(ctx, c, e)
			if err != nil {
				return err
			}
			if !ok {
				return r.orGap(ctx, m)
			}
		}
		if e.Tag.Kind == chunkfmt.KindData && e.Tag.Flags&chunkfmt.FlagVoid == 0 {
			r.places[seq] = chunkfmt.Location{Chunk: c.id, Offset: uint64(e.At), Length: uint32(e.Tag.StoredLen())}
		}
	}
	return nil
}

// orGap takes the next number from the mirror, or ends the reading of the chunk.
func (r *replayer) orGap(ctx context.Context, m *mirror) error {
	ok, err := r.fromMirror(ctx, m)
	if err == nil && !ok {
		err = errGap
	}
	return err
}

// intact checks the payload of a tag against its CRC.
func (r *replayer) intact(ctx context.Context, c chunk, e chunkfmt.Entry) (bool, error) {
	stored := make([]byte, e.Tag.StoredLen())
	n, err := r.medium.ReadAt(ctx, c.name, stored, e.At+chunkfmt.TagSize)
	if n < len(stored) {
		if err == nil || errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, fmt.Errorf("read %v in %s: %w", e.Tag.Seq, c.name, err)
	}
	return chunkfmt.Checksum(stored) == e.Tag.CRC, nil
}

// fill passes over the numbers before limit that the data chunks have lost:
// metadata comes from the mirror, and what is not there was data, which reads
// will find damaged.
func (r *replayer) fill(ctx context.Context, s *session, m *mirror, limit chunkfmt.Seq) error {
	if r.next >= limit {
		return nil
	}
	first, lost := r.next, 0
	for ; r.next < limit; r.next++ {
		tag, ok, err := m.tag(ctx, r.next)
		if err != nil {
			return err
		}
		if !ok {
			lost++
			continue
		}
		if tag.Kind == chunkfmt.KindBatch {
			payload, err := m.payload(ctx, r.next)
			if err != nil {
				return fmt.Errorf("%w: batch %v and its copy: %w", ErrDamaged, r.next, err)
			}
			if err := r.batch(tag, payload); err != nil {
				return err
			}
		}
	}
	if lost > 0 {
		r.passed(first, limit-1)
	}
	return nil
}

// passed notes that numbers were passed over which no tag has.
func (r *replayer) passed(first, last chunkfmt.Seq) {
	if r.hole.First == 0 {
		r.hole.First = first
	}
	r.hole.Last = last
}

// batch takes one batch part; the last one makes the batch take effect.
func (r *replayer) batch(tag chunkfmt.Tag, payload []byte) error {
	header, records := chunkfmt.ParseBatch(payload)
	const usual = 50 // bytes of a record; memory for a few more
	p := part{header: header, records: make([]chunkfmt.Record, 0, len(payload)/usual+1)}
	for record, err := range records {
		if err != nil {
			return fmt.Errorf("%w: batch %v: %w", ErrDamaged, tag.Seq, err)
		}
		p.records = append(p.records, record)
	}
	if header.Prev != r.head.Chain || int(header.Part) != len(r.parts) {
		return fmt.Errorf("%w: batch %v does not follow the one before it", ErrDamaged, tag.Seq)
	}
	r.chain = chunkfmt.NextChain(r.chain, payload)
	r.parts = append(r.parts, p)
	if tag.Flags&chunkfmt.FlagMore != 0 {
		return nil
	}
	whole := index.Batch{Header: r.parts[0].header, Records: r.parts[0].records}
	for _, p := range r.parts[1:] {
		whole.Records = append(whole.Records, p.records...)
	}
	r.parts = nil
	r.batches = append(r.batches, whole)
	r.records += len(whole.Records)
	r.head.Seq, r.head.Chain = tag.Seq, r.chain
	if r.records >= applyRecords {
		return r.flush()
	}
	return nil
}

// flush has what was read applied, once what was read before is.
func (r *replayer) flush() error {
	if err := <-r.applied; err != nil {
		r.applied <- nil // told of here
		return err
	}
	a := &applying{batches: r.batches, head: r.head, places: r.places}
	r.places = map[chunkfmt.Seq]chunkfmt.Location{}
	for seq, at := range a.places {
		if seq > a.head.Seq {
			r.places[seq] = at
		}
	}
	r.applying <- a
	r.batches, r.records = nil, 0
	return nil
}

func (a *applying) locate(seq chunkfmt.Seq) (chunkfmt.Location, bool) {
	at, ok := a.places[seq]
	return at, ok
}
