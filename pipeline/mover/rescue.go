package mover

import (
	"context"
	"errors"
	"fmt"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline/stage"
)

// rescue stores anew the blocks of moved groups that can be read where they were only, as what they were moved to has been
// found damaged since: before they go. On a medium that is full, or if a server waits for approval, they stay for long.
func (s *Source) rescue(ctx context.Context, t Tree) error {
	endangered, err := s.endangered()
	if err != nil || len(endangered) == 0 {
		return err
	}
	var saved rescued
	flush := func() error {
		if len(saved) == 0 {
			return nil
		}
		s.o.Log.Warn("what was moved to groups that are damaged is stored again", "blocks", len(saved))
		err := t.Journal(ctx, saved)
		saved = nil
		return err
	}
	for _, e := range endangered {
		data := make([]byte, e.block.Length)
		err := s.groups.ReadAt(ctx, e.from, data, e.block.Offset)
		if errors.Is(err, stage.ErrDamaged) && ctx.Err() == nil {
			continue // it is too late
		}
		if err == nil {
			e.now, err = s.Collector().Put(ctx, data)
		}
		if errors.Is(err, media.ErrFull) {
			return errors.Join(err, flush())
		}
		if err != nil {
			return err
		}
		if saved = append(saved, e); len(saved) == moveBlocks {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// endangeredBlock is a block that was moved to a group that is damaged.
type endangeredBlock struct {
	from  chunkfmt.Seq // the group that was moved
	block chunkfmt.Healed
	now   *stage.Block // where it is stored anew
}

// mostEndangered bounds what is looked for at a time.
const mostEndangered = 1 << 17

// endangered finds the blocks of moved groups that were moved to groups which are damaged, and are nowhere else.
func (s *Source) endangered() (all []endangeredBlock, err error) {
	damaged := map[chunkfmt.Seq]bool{}
	err = s.index.BadGroups(func(seq chunkfmt.Seq, _ string) bool {
		damaged[seq] = true
		return true
	})
	if err != nil || len(damaged) == 0 {
		return nil, err
	}
	elsewhere := map[chunkfmt.Seq]map[uint32]bool{} // of damaged groups, the blocks that others hold
	err = s.index.HealedBlocks(func(from chunkfmt.Seq, b chunkfmt.Healed) bool {
		if damaged[from] {
			if elsewhere[from] == nil {
				elsewhere[from] = map[uint32]bool{}
			}
			elsewhere[from][b.Offset] = true
		}
		if damaged[b.Group] && len(all) < mostEndangered {
			all = append(all, endangeredBlock{from: from, block: b})
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	left := all[:0]
	for _, e := range all {
		gone, err := s.index.Gone(e.from)
		if err != nil {
			return nil, err
		}
		if gone && !elsewhere[e.block.Group][e.block.GroupOffset] {
			left = append(left, e)
		}
	}
	return left, nil
}

// rescued are blocks that were stored anew.
type rescued []endangeredBlock

// Encode implements stage.BatchSource.
func (r rescued) Encode(w stage.RecordSink) error {
	for _, e := range r {
		seq, off, hole, ok := e.now.Place()
		if !ok || hole {
			continue
		}
		h := chunkfmt.Healed{Offset: e.block.GroupOffset, Length: e.block.Length, Group: seq, GroupOffset: off}
		record := chunkfmt.Record{
			Op: chunkfmt.OpPut, Kind: chunkfmt.RecHealed,
			Key: chunkfmt.HealedKey(e.block.Group, h.Offset), Value: h.Append(nil),
		}
		if err := w.Add(record); err != nil {
			return fmt.Errorf("where a block is that was moved to group %v: %w", e.block.Group, err)
		}
	}
	return nil
}
