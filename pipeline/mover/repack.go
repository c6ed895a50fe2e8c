package mover

import (
	"context"
	"errors"
	"fmt"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
	"coffer/pipeline/stage"
)

// What is moved by one batch at most.
const (
	moveBlocks = 4096
	moveBytes  = 8 << 20
)

// repack moves what is needed of groups of which less than half is needed into other groups, so that their room comes
// back. Where the medium is full it does as much as it can.
//
// Extents and archives go on naming the old groups. So nobody may come to refer to a block that is not moved: the
// groups leave the dedup table first, and are looked at again when all that was written until then is in the index; see
// Prune.
func (s *Source) repack(ctx context.Context, t Tree, p *Pruned) error {
	for after, more := chunkfmt.Seq(0), true; more; {
		found, err := s.index.Sparse(ctx, after)
		var full error
		if err == nil && found.Len() > 0 {
			full, err = s.move(ctx, t, found, p)
		}
		if err != nil {
			return err
		}
		if full != nil {
			s.o.Log.Info("groups of which little is needed stay: the medium is full", "cause", full)
			return nil
		}
		after, more = found.After()
	}
	return nil
}

// move moves the live blocks of groups, and says so if the medium was full before all were moved. Whatever goes wrong, the
// groups stay excluded from the table until another set is: a batch that was not waited for may come yet.
func (s *Source) move(ctx context.Context, t Tree, found *index.Sparse, p *Pruned) (full, err error) {
	if err := s.exclude(ctx, t, found.Has); err != nil {
		return nil, err
	}
	now, err := s.index.StillSparse(ctx, found)
	if err != nil {
		return nil, err
	}
	m := &moving{s: s, t: t, p: p, room: make([]byte, stage.SmallBlock)}
	now.Each(func(g index.SparseGroup) bool {
		err = m.add(ctx, &g)
		return err == nil
	})
	if errors.Is(err, media.ErrFull) && !m.unsure {
		full, err = err, nil
	}
	if err == nil {
		err = m.flush(ctx)
	}
	if err == nil {
		err = s.readmit(ctx, t, found.Len()-m.moved, found.Has)
	}
	return full, err
}

// moving gathers blocks for a batch that says where they are now.
type moving struct {
	s     *Source
	t     Tree
	p     *Pruned
	room  []byte
	round []movedGroup
	n     int // blocks of them
	bytes int
	// moved groups, of all rounds.
	moved int
	// unsure: a batch was not waited for to the end.
	unsure bool
}

// movedGroup is a group whose live blocks were written again.
type movedGroup struct {
	index.SparseGroup
	now   []*stage.Block
	moved bool // the log says so
}

// add writes the live blocks of a group again. A group that can't be read stays as it is.
func (m *moving) add(ctx context.Context, g *index.SparseGroup) error {
	to := movedGroup{SparseGroup: *g}
	for _, b := range g.Live {
		if int(b.Length) > len(m.room) {
			return nil // no group of many blocks has such a one
		}
		data := m.room[:b.Length]
		err := m.s.groups.ReadAt(ctx, g.Seq, data, b.Offset)
		if errors.Is(err, stage.ErrDamaged) && ctx.Err() == nil {
			m.s.o.Log.Warn("a group of which little is needed stays: it is damaged", "group", g.Seq.String(), "cause", err)
			return nil
		}
		if err != nil {
			return err
		}
		now, err := m.s.Collector().Put(ctx, data)
		if err != nil {
			return err
		}
		to.now = append(to.now, now)
		m.bytes += len(data)
	}
	m.round = append(m.round, to)
	if m.n += len(to.now); m.n >= moveBlocks || m.bytes >= moveBytes {
		return m.flush(ctx)
	}
	return nil
}

// flush has the log say where the blocks of the round are, and that their groups may go.
func (m *moving) flush(ctx context.Context) error {
	if m.n == 0 {
		return nil
	}
	m.unsure = true
	if err := m.t.Journal(ctx, m); err != nil {
		return err
	}
	m.unsure = false
	written := map[chunkfmt.Seq]int64{}
	for _, g := range m.round {
		if g.moved {
			m.moved++
			m.p.Moved++
		}
		for _, b := range g.now {
			seq, _, _, _ := b.Place()
			written[seq] += int64(b.Len())
		}
	}
	for seq, n := range written {
		rec, at, ok, err := m.s.index.Group(seq)
		if err != nil {
			return err
		}
		if ok && at.Length > 0 {
			n = n * int64(at.Length) / int64(rec.RawLen)
		}
		m.p.Bytes -= n
	}
	m.round, m.n, m.bytes = m.round[:0], 0, 0
	return nil
}

// Encode implements stage.BatchSource.
func (m *moving) Encode(w stage.RecordSink) error {
	for i := range m.round {
		if err := m.round[i].encode(w); err != nil {
			return err
		}
	}
	return nil
}

// encode gives the records of one group, unless one of its blocks has not become one again.
func (g *movedGroup) encode(w stage.RecordSink) error {
	for _, b := range g.now {
		if _, _, hole, ok := b.Place(); !ok || hole {
			return nil
		}
	}
	for i, b := range g.now {
		seq, off, _, _ := b.Place()
		for _, name := range g.Live[i].Names {
			h := chunkfmt.Healed{Offset: name.Offset, Length: g.Live[i].Length, Group: seq, GroupOffset: off}
			record := chunkfmt.Record{
				Op: chunkfmt.OpPut, Kind: chunkfmt.RecHealed,
				Key: chunkfmt.HealedKey(name.Group, name.Offset), Value: h.Append(nil),
			}
			if err := w.Add(record); err != nil {
				return err
			}
		}
	}
	r := chunkfmt.Removed{First: g.Seq, Last: g.Seq}
	g.moved = true
	return w.Add(chunkfmt.Record{
		Op: chunkfmt.OpPut, Kind: chunkfmt.RecMoved, Key: chunkfmt.RemovedKey(r.First), Value: r.Append(nil),
	})
}

// exclude makes groups unknown to the pipe, and returns when all is in the index that was found in them before.
func (s *Source) exclude(ctx context.Context, t Tree, has func(chunkfmt.Seq) bool) error {
	// Encode is called where the table is used, behind all blocks that were found in it before.
	return t.Journal(ctx, encode(func(stage.RecordSink) error {
		s.table.Exclude(has)
		return nil
	}))
}

// readmitMost bounds the groups that are made known again. Others are when the volume is opened next.
const readmitMost = 10_000

// readmit makes those n of the excluded groups known again that are not gone after all.
func (s *Source) readmit(ctx context.Context, t Tree, n int, has func(chunkfmt.Seq) bool) error {
	var again []chunkfmt.GroupRecord
	if n = min(n, readmitMost); n > 0 {
		err := s.index.Known(0, func(rec chunkfmt.GroupRecord, _ chunkfmt.Location) bool {
			if has(rec.Seq) {
				again = append(again, rec)
			}
			return len(again) < n
		})
		if err != nil {
			return fmt.Errorf("groups that stay: %w", err)
		}
	}
	return t.Journal(ctx, encode(func(stage.RecordSink) error {
		s.table.Exclude(nil)
		for _, rec := range again {
			s.table.Add(rec)
		}
		return nil
	}))
}
