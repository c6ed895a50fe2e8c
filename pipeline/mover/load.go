package mover

import (
	"context"
	"fmt"
	"slices"

	"coffer/chunkfmt"
	"coffer/index"
)

// Loaded says which checkpoint an index was made of.
type Loaded struct {
	Last   chunkfmt.Seq // its last piece
	Head   chunkfmt.Seq // the last batch that it knows of
	Pieces int
	Bytes  uint64 // of the image
}

// load makes the index of the newest checkpoint that is good, and notes which, and how many newer ones could
// not be used. Where there is none, the log has it all.
func (s *Source) load(ctx context.Context) error {
	all, err := s.log.sessions(ctx, 0)
	if err != nil {
		return err
	}
	l := &loading{Source: s, all: all, r: &replayer{log: s.log, slog: s.o.Log}}
	for i := len(all) - 1; i >= 0; i-- {
		found, err := l.find(ctx, all[i])
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			s.o.Log.Warn("the checkpoints of a session cannot be found", "session", all[i].ordinal, "cause", err)
			continue
		}
		for _, last := range found.ends() {
			used, err := l.try(ctx, found, last)
			if err == nil {
				s.loaded = used
				s.o.Log.Debug("the index was made of a checkpoint", "last piece", last.String(), "head", used.Head.String())
				return nil
			}
			if ctx.Err() != nil {
				return err
			}
			s.passed++
			s.o.Log.Warn("a checkpoint cannot be used, an older one or the log is", "last piece", last.String(), "cause", err)
		}
	}
	return nil
}

// loading is the search for a checkpoint. What is wrong with one is no reason not to open the volume, whatever
// it is: everything stands in the log too.
type loading struct {
	*Source
	all []*session
	r   *replayer
}

// found are the tags of a session's checkpoints.
type found struct {
	session *session
	tags    map[chunkfmt.Seq]placed
	all     bool // the data chunks were searched too
}

// ends are the last pieces, the newest first.
func (f *found) ends() (ends []chunkfmt.Seq) {
	for seq, p := range f.tags {
		if p.entry.Tag.Flags&chunkfmt.FlagMore == 0 {
			ends = append(ends, seq)
		}
	}
	slices.Sort(ends)
	slices.Reverse(ends)
	return ends
}

// find finds the checkpoints of a session: the directories of its mirror chunks tell of them, which hold
// nothing but metadata. A mirror is stable before a data chunk whose metadata it mirrors is left, so only the
// last one can have more; where the mirror has gaps, all of them are looked at.
func (l *loading) find(ctx context.Context, s *session) (*found, error) {
	f := &found{session: s, tags: map[chunkfmt.Seq]placed{}}
	whole := true
	var mirrored chunkfmt.Seq
	for i, c := range s.mirrors {
		d, err := l.look(ctx, f, c)
		if err != nil {
			return nil, err
		}
		for _, e := range d.entries {
			mirrored = max(mirrored, e.Tag.Seq)
		}
		// The last one of a session that crashed has no footer.
		whole = whole && c.id.Number() == uint32(i+1) && (d.footer || i == len(s.mirrors)-1 && !d.damaged)
		if !d.footer {
			mirrored = chunkfmt.MakeSeq(s.ordinal, chunkfmt.MaxNumber)
		}
	}
	if n := len(s.data); n > 0 {
		d, err := l.look(ctx, f, s.data[n-1])
		if err != nil {
			return nil, err
		}
		for _, e := range d.entries {
			mirrors := e.Tag.Kind != chunkfmt.KindData && e.Tag.Kind != chunkfmt.KindGone
			whole = whole && (!mirrors || e.Tag.Seq <= mirrored)
		}
	}
	if whole {
		return f, nil
	}
	return f, l.findAll(ctx, f)
}

// findAll looks at all data chunks.
func (l *loading) findAll(ctx context.Context, f *found) error {
	for _, c := range f.session.data {
		if _, err := l.look(ctx, f, c); err != nil {
			return err
		}
	}
	f.all = true
	return nil
}

// look notes the pieces of checkpoints in a chunk. Of two places of one the first counts.
func (l *loading) look(ctx context.Context, f *found, c chunk) (d *directory, err error) {
	err = l.log.following(ctx, c, func(now chunk) error {
		d, err = l.r.directory(ctx, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, e := range d.before(c) {
		if _, ok := f.tags[e.Tag.Seq]; !ok && e.Tag.Kind == chunkfmt.KindCheckpoint {
			f.tags[e.Tag.Seq] = placed{entry: e, name: d.name}
		}
	}
	return d, nil
}

// try makes the index of the checkpoint that ends with a piece.
func (l *loading) try(ctx context.Context, f *found, last chunkfmt.Seq) (*Loaded, error) {
	if _, err := l.pathFrom(ctx, f.session.ordinal); err != nil {
		return nil, err
	}
	payload, err := l.piece(ctx, f, last)
	if err != nil {
		return nil, err
	}
	h, records := chunkfmt.ParsePiece(payload)
	for _, err := range records {
		if err != nil {
			return nil, err
		}
	}
	seqs, err := l.pieces(ctx, f, &h, last)
	if err != nil {
		return nil, err
	}
	if err := l.onLog(ctx, &h); err != nil {
		return nil, err
	}
	payloads := inOrder(ctx, len(seqs), func(ctx context.Context, i int) ([]byte, error) {
		return l.piece(ctx, f, seqs[i])
	})
	x, err := index.Load(l.indexPath(), l.identity(), payloads)
	if err != nil {
		return nil, err
	}
	empty := l.index
	l.index = x
	return &Loaded{Last: last, Head: h.Head, Pieces: len(seqs), Bytes: h.Total}, empty.Close()
}

// pathFrom gives the sessions of the log from an ordinal on.
func (l *loading) pathFrom(ctx context.Context, ordinal uint32) ([]*session, error) {
	path, _, err := l.log.path(ctx, from(l.all, ordinal), ordinal)
	if err == nil && (len(path) == 0 || path[0].ordinal != ordinal) {
		err = fmt.Errorf("%w: its log does not contain session %d", ErrForked, ordinal)
	}
	return path, err
}

// onLog proves that the log holds the head that a checkpoint stands for.
func (l *loading) onLog(ctx context.Context, h *chunkfmt.PieceHeader) error {
	path, err := l.pathFrom(ctx, h.Head.Ordinal())
	if err != nil {
		return err
	}
	head := index.Head{Session: path[0].id, Ordinal: path[0].ordinal, Seq: h.Head, Chain: h.Chain}
	return l.r.verify(ctx, path, head)
}

// pieces lists the pieces of a checkpoint, of whose last one h is the header.
func (l *loading) pieces(
	ctx context.Context, f *found, h *chunkfmt.PieceHeader, last chunkfmt.Seq,
) (seqs []chunkfmt.Seq, err error) {
	for {
		seqs = seqs[:0]
		for seq := range f.tags {
			if seq >= h.First && seq <= last {
				seqs = append(seqs, seq)
			}
		}
		if len(seqs) == int(h.Part)+1 {
			slices.Sort(seqs)
			return seqs, nil
		}
		if f.all {
			return nil, fmt.Errorf("%w: %d of %d pieces are there", ErrDamaged, len(seqs), h.Part+1)
		}
		if err := l.findAll(ctx, f); err != nil {
			return nil, err
		}
	}
}

// piece reads a piece from one of its two places.
func (l *loading) piece(ctx context.Context, f *found, seq chunkfmt.Seq) ([]byte, error) {
	p := f.tags[seq]
	payload, err := l.log.open(ctx, f.session.sealer, p.name, p.entry)
	if err == nil || ctx.Err() != nil {
		return payload, err
	}
	l.o.Log.Warn("a piece of a checkpoint is damaged, its copy is used",
		"chunk", p.name, "seq", seq.String(), "cause", err)
	return l.r.payloadOf(ctx, f.session, seq, chunkfmt.KindCheckpoint)
}
