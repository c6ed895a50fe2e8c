package stage

import (
	"context"
	"fmt"
	"slices"

	"coffer/chunkfmt"
	"coffer/pipeline"
)

// partBytes is the most that one part of a batch takes, plaintext. It leaves
// room for growth below chunkfmt.MaxRaw.
const partBytes = 900 << 10

// logState is where pack is in the log.
type logState struct {
	session chunkfmt.SessionID
	ordinal uint32
	number  uint64 // last used
	last    chunkfmt.Seq
	chain   chunkfmt.Hash
	archive uint32
	cut     uint64
	batches uint64
	groups  uint64
	raw     uint64
	sealed  uint64 // bytes that were stored when the last archive was sealed
}

func newLogState(cfg *Config) logState {
	return logState{
		session: cfg.Session, ordinal: cfg.Ordinal, archive: cfg.Archive,
		last:  cfg.Prev.Seq,
		chain: chunkfmt.SessionChain(cfg.Prev.Chain, cfg.Session),
	}
}

// next gives the next sequence number.
func (l *logState) next() chunkfmt.Seq {
	l.number++
	l.last = chunkfmt.MakeSeq(l.ordinal, l.number)
	return l.last
}

func (l *logState) head() Head {
	return Head{Session: l.session, Ordinal: l.ordinal, Seq: l.last, Chain: l.chain}
}

// begin sends the session header and the header of the open archive.
func (k *pack) begin(ctx context.Context) error {
	cfg := &k.w.cfg
	prev := chunkfmt.Predecessor{Ordinal: cfg.Prev.Ordinal, ID: cfg.Prev.Session, Last: cfg.Prev.Seq}
	options := chunkfmt.AppendOptions(nil, prev.Options())
	if err := k.meta(ctx, chunkfmt.KindSessionHeader, cfg.Info, options, nil); err != nil {
		return err
	}
	return k.archiveHeader(ctx)
}

func (k *pack) archiveHeader(ctx context.Context) error {
	a := chunkfmt.ArchiveInfo{Number: k.log.archive, Time: k.w.cfg.Clock().UnixNano()}
	return k.meta(ctx, chunkfmt.KindArchiveHeader, a.Append(nil), nil, nil)
}

// meta sends one tag of metadata; mark comes true with it.
func (k *pack) meta(ctx context.Context, kind chunkfmt.Kind, payload, options []byte, mark *waiter) error {
	buf, err := k.port.AllocBuf(ctx)
	if err != nil {
		return err
	}
	n := copy(buf.Data(), payload)
	if n < len(payload) {
		k.port.FreeBuf(buf)
		return fmt.Errorf("%v of %d bytes: %w", kind, len(payload), ErrTooLong)
	}
	g := group{seq: k.log.next(), kind: kind, options: options}
	k.send(buf, n, g, mark, k.log.head())
	return nil
}

// send sends the tag whose payload is the first n bytes of buf. mark comes true
// with it, and then the log is stable up to head.
func (k *pack) send(buf *pipeline.Buffer, n int, g group, mark *waiter, head Head) {
	g.plain = buf.Data()[:n]
	g.private = chunkfmt.Private{RawLen: uint32(n)}
	buf.Length, buf.Payload = n, &packed{groups: []group{g}, mark: mark, head: head}
	k.port.SendBuf(buf)
}

// mark journals the batch of a marker and what follows it.
func (k *pack) mark(ctx context.Context, w *waiter) error {
	last := w
	if w.Kind != MarkCut {
		last = nil // the marker comes true with the footer
	}
	b := &batchSink{k: k, ctx: ctx, prev: k.log.chain, prefix: k.log.last}
	if err := b.encode(w); err != nil {
		return fmt.Errorf("journalling a cut: %w", err)
	}
	if err := b.finish(w.Journalled, last); err != nil {
		return fmt.Errorf("journalling a cut: %w", err)
	}
	switch w.Kind {
	case MarkArchive:
		s := chunkfmt.ArchiveSummary{Archive: w.Archive, Chain: k.log.chain}
		if err := k.meta(ctx, chunkfmt.KindArchiveFooter, s.Append(nil), nil, w); err != nil {
			return err
		}
		k.log.archive++
		return k.archiveHeader(ctx)
	case MarkEnd:
		l := &k.log
		s := chunkfmt.SessionSummary{
			Time: k.w.cfg.Clock().UnixNano(), Last: l.last, Chain: l.chain,
			Batches: l.batches, Groups: l.groups, Raw: l.raw, Stored: k.w.stats.stored(),
		}
		return k.meta(ctx, chunkfmt.KindSessionFooter, s.Append(nil), nil, w)
	}
	return nil
}

// batchSink packs the records of one batch into parts.
type batchSink struct {
	k      *pack
	ctx    context.Context
	prev   chunkfmt.Hash
	prefix chunkfmt.Seq
	time   int64
	part   uint32
	buf    *pipeline.Buffer // of the part at hand
	w      *chunkfmt.BatchWriter
	done   []Batch
}

// encode takes all records: those of the groups first, so that a reader knows
// them when it meets their names.
func (b *batchSink) encode(w *waiter) error {
	k := b.k
	k.log.cut++
	b.time = k.w.cfg.Clock().UnixNano()
	if err := b.begin(); err != nil {
		return err
	}
	var value []byte
	for i := range k.pending {
		g := &k.pending[i]
		value = g.Append(value[:0])
		r := chunkfmt.Record{Op: chunkfmt.OpPut, Kind: chunkfmt.RecGroup, Key: chunkfmt.GroupKey(g.Seq), Value: value}
		if err := b.Add(r); err != nil {
			return err
		}
	}
	k.pending = nil
	for _, r := range k.healed {
		if err := b.Add(r); err != nil {
			return err
		}
	}
	k.healed = nil
	if w.Batch != nil {
		if err := w.Batch.Encode(b); err != nil {
			return err
		}
	}
	if w.Kind == MarkArchive {
		a := &w.Archive
		stored := k.w.stats.stored()
		a.Number, a.Last, a.Stored = k.log.archive, k.log.last, stored-k.log.sealed
		k.log.sealed = stored
		return b.Add(chunkfmt.Record{
			Op: chunkfmt.OpPut, Kind: chunkfmt.RecArchive,
			Key: chunkfmt.ArchiveKey(a.Number), Value: a.Append(nil),
		})
	}
	return nil
}

func (b *batchSink) begin() error {
	buf, err := b.k.port.AllocBuf(b.ctx)
	if err != nil {
		return err
	}
	b.buf = buf
	b.w = chunkfmt.NewBatchWriter(buf.Data()[:0:partBytes], b.header())
	return nil
}

func (b *batchSink) header() chunkfmt.BatchHeader {
	l := &b.k.log
	return chunkfmt.BatchHeader{
		Version: chunkfmt.BatchVersion, Part: b.part, Archive: l.archive, Cut: l.cut,
		Prefix: b.prefix, Time: b.time, Prev: b.prev,
	}
}

// Add journals r.
func (b *batchSink) Add(r chunkfmt.Record) error {
	if err := b.k.trust(r); err != nil {
		return err
	}
	if b.w.Add(r) {
		return nil
	}
	if b.w.Records() > 0 {
		// The part goes before the next one's buffer is asked for: two are
		// never held.
		seq, n, err := b.end()
		if err != nil {
			return err
		}
		b.send(seq, n, chunkfmt.FlagMore, nil)
		b.part++
		if err := b.begin(); err != nil {
			return err
		}
		if b.w.Add(r) {
			return nil
		}
	}
	return fmt.Errorf("%v record of %d bytes: %w", r.Kind, r.Size(), ErrTooLong)
}

// finish ends the last part. A cut without anything to journal leaves a batch
// of no records: one tag, which carries the marker.
//
// The journal is told before the part is on its way to be acknowledged.
func (b *batchSink) finish(journalled func(Journal), mark *waiter) error {
	seq, n, err := b.end()
	if err != nil {
		return err
	}
	if journalled != nil {
		journalled(Journal{Head: b.k.log.head(), Batches: b.done})
	}
	b.send(seq, n, 0, mark)
	return nil
}

func (b *batchSink) send(seq chunkfmt.Seq, n int, flags chunkfmt.Flags, mark *waiter) {
	buf := b.buf
	b.buf = nil
	b.k.send(buf, n, group{seq: seq, kind: chunkfmt.KindBatch, flags: flags}, mark, b.k.log.head())
}

// end stamps the part at hand, n bytes of plaintext.
func (b *batchSink) end() (seq chunkfmt.Seq, n int, err error) {
	k := b.k
	payload := slices.Clone(b.w.Bytes())
	k.log.chain = chunkfmt.NextChain(k.log.chain, payload)
	k.log.batches++
	seq = k.log.next()
	h, records := chunkfmt.ParseBatch(payload)
	part := Batch{Seq: seq, Header: h, Records: make([]chunkfmt.Record, 0, b.w.Records())}
	for r, err := range records {
		if err != nil {
			return 0, 0, fmt.Errorf("reading back what was journalled: %w", err)
		}
		part.Records = append(part.Records, r)
	}
	b.done = append(b.done, part)
	return seq, len(payload), nil
}
