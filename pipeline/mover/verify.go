package mover

import (
	"context"
	"errors"
	"fmt"

	"coffer/chunkfmt"
	"coffer/index"
)

// verify proves that the log of path goes on from head, which this machine
// acknowledged: the session is there and is the same one, its end is not before
// the head, and the chain at the head is the same.
func (r *replayer) verify(ctx context.Context, path []*session, head index.Head) error {
	if head.Seq == 0 {
		return nil
	}
	newest := uint32(0)
	var s, successor *session
	for i, p := range path {
		newest = p.ordinal
		if p.ordinal == head.Ordinal {
			s = p
			if i+1 < len(path) {
				successor = path[i+1]
			}
		}
	}
	switch {
	case s == nil && newest < head.Ordinal:
		return fmt.Errorf("%w: its newest session is %d, session %d was written from here", ErrRolledBack, newest, head.Ordinal)
	case s == nil:
		return fmt.Errorf("%w: session %d was written from here, and its log does not contain it", ErrForked, head.Ordinal)
	case s.id != head.Session:
		return fmt.Errorf("%w: its session %d is another one than was written from here", ErrForked, head.Ordinal)
	case successor != nil && successor.prev.Last < head.Seq:
		return fmt.Errorf("%w: session %d goes on from %v, and %v was acknowledged here", ErrForked, successor.ordinal, successor.prev.Last, head.Seq)
	}
	if err := r.reaches(ctx, s, head.Seq); err != nil {
		return err
	}
	chain, err := r.chainAt(ctx, s, head.Seq)
	if errors.Is(err, errNotThere) {
		return fmt.Errorf("%w: %v was acknowledged here and is not in it", ErrRolledBack, head.Seq)
	}
	if err != nil {
		return err
	}
	if chain != head.Chain {
		return fmt.Errorf("%w: what it holds at %v is not what was acknowledged here", ErrForked, head.Seq)
	}
	return nil
}

// reaches proves that the session's chunks go as far as seq. Single tags before
// it may be damaged or gone; a missing end may consist of metadata that the mirror has.
func (r *replayer) reaches(ctx context.Context, s *session, seq chunkfmt.Seq) error {
	last := chunkfmt.MakeSeq(s.ordinal, 0)
	for i := len(s.data) - 1; i >= 0 && last < seq; i-- {
		entries, err := r.entries(ctx, s, s.data[i])
		if err != nil {
			return err
		}
		for _, e := range entries {
			last = max(last, e.Tag.Last())
		}
	}
	m := r.mirror(s)
	for last < seq {
		last++
		_, ok, err := m.tag(ctx, last)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: %v was acknowledged here, and its session ends before %v", ErrRolledBack, seq, last)
		}
	}
	return nil
}

// errNotThere: a session has no readable tag of that number.
var errNotThere = errors.New("not in the log")

// chainAt computes the chain hash after the batch whose last part has the number seq.
func (r *replayer) chainAt(ctx context.Context, s *session, seq chunkfmt.Seq) (chunkfmt.Hash, error) {
	if seq.Number() == 1 {
		return chunkfmt.SessionChain(s.chain, s.id), nil
	}
	header, _, err := r.headerOf(ctx, s, seq)
	if err != nil {
		return chunkfmt.Hash{}, err
	}
	chain := header.Prev
	for part := header.Prefix + 1; part <= seq; part++ {
		_, payload, err := r.headerOf(ctx, s, part)
		if err != nil {
			return chunkfmt.Hash{}, err
		}
		chain = chunkfmt.NextChain(chain, payload)
	}
	return chain, nil
}

// headerOf reads the batch part of number seq.
func (r *replayer) headerOf(ctx context.Context, s *session, seq chunkfmt.Seq) (chunkfmt.BatchHeader, []byte, error) {
	payload, err := r.payloadOf(ctx, s, seq, chunkfmt.KindBatch)
	if err != nil {
		return chunkfmt.BatchHeader{}, nil, err
	}
	header, records := chunkfmt.ParseBatch(payload)
	for _, err := range records {
		if err != nil {
			return header, nil, fmt.Errorf("%w: batch %v: %w", ErrDamaged, seq, err)
		}
	}
	if header.Prefix >= seq {
		return header, nil, fmt.Errorf("%w: batch %v begins at %v", ErrDamaged, seq, header.Prefix+1)
	}
	return header, payload, nil
}

// payloadOf finds the metadata of number seq in the session's chunks, the newest that
// can hold it first, or in the mirror.
func (r *replayer) payloadOf(ctx context.Context, s *session, seq chunkfmt.Seq, kind chunkfmt.Kind) ([]byte, error) {
	var cause error
	i, _ := r.reaching(ctx, s, seq)
	for ; i >= 0; i-- {
		var payload []byte
		err := r.following(ctx, s.data[i], func(c chunk) (err error) {
			payload, err = r.payloadIn(ctx, s, c, seq, kind)
			return err
		})
		if err == nil && payload != nil {
			return payload, nil
		}
		if err != nil && !isFormatError(err) {
			return nil, err
		}
		cause = errors.Join(cause, err)
	}
	m := r.mirror(s)
	payload, err := m.payload(ctx, seq)
	switch {
	case err == nil:
		return payload, nil
	case cause != nil:
		return nil, fmt.Errorf("%w: %v %v, and its copy: %w", ErrDamaged, kind, seq, errors.Join(cause, err))
	case errors.Is(err, errNoCopy):
		return nil, fmt.Errorf("%v: %w", seq, errNotThere)
	}
	return nil, err
}

// payloadIn reads the metadata of number seq in a chunk; nil: it is not there.
func (r *replayer) payloadIn(
	ctx context.Context, s *session, c chunk, seq chunkfmt.Seq, kind chunkfmt.Kind,
) ([]byte, error) {
	entries, err := r.entriesOf(ctx, s, c)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Tag.Seq == seq && e.Tag.Kind == kind {
			return r.open(ctx, s.sealer, c.name, e)
		}
	}
	return nil, nil
}
