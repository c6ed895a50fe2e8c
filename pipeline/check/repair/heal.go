package repair

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"coffer/chunkfmt"
)

// healBlocks bounds the blocks that are looked for at a time, and so the memory; more take another pass over the index.
const healBlocks = 1 << 18

// healPlaces is how many groups that may hold a block are tried.
const healPlaces = 4

// Heal looks for blocks of damaged groups in other groups, and gives the records that the log is to have of those that
// it found, in groups that are whole.
func Heal(ctx context.Context, v Volume) (records []chunkfmt.Record, err error) {
	var bad []chunkfmt.Seq
	err = v.Index.BadGroups(func(seq chunkfmt.Seq, _ string) bool {
		bad = append(bad, seq)
		return true
	})
	h := &healer{Volume: v, bad: map[chunkfmt.Seq]bool{}, whole: map[chunkfmt.Seq]bool{}}
	for _, seq := range bad {
		h.bad[seq] = true
	}
	for err == nil && len(bad) > 0 {
		if bad, err = h.want(ctx, bad); err == nil {
			err = h.find()
		}
		if err == nil {
			err = h.settle(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("look for other places of damaged blocks: %w", err)
	}
	return h.records, nil
}

// healer is one run.
type healer struct {
	Volume
	bad     map[chunkfmt.Seq]bool
	whole   map[chunkfmt.Seq]bool // what is known of groups that were read
	wanted  map[chunkfmt.BlockRecord]*wanted
	records []chunkfmt.Record
}

// wanted is a block that can't be read.
type wanted struct {
	lost  []blockAt // where it belongs
	found []blockAt // where it may be
}

type blockAt struct {
	group  chunkfmt.Seq
	offset uint32
}

// want notes the blocks of damaged groups that can't be read, as many as there may be, and gives the groups that are left.
func (h *healer) want(ctx context.Context, bad []chunkfmt.Seq) ([]chunkfmt.Seq, error) {
	h.wanted = map[chunkfmt.BlockRecord]*wanted{}
	for len(bad) > 0 && len(h.wanted) < healBlocks {
		seq := bad[0]
		bad = bad[1:]
		rec, _, there, err := h.Index.Group(seq)
		if err != nil {
			return nil, err
		}
		if !there {
			continue
		}
		healed, err := h.Index.Healed(seq)
		if err != nil {
			return nil, err
		}
		at := uint32(0)
		for _, b := range rec.Blocks {
			i := slices.IndexFunc(healed, func(x chunkfmt.Healed) bool { return x.Offset == at })
			if i < 0 || h.Groups.ReadAt(ctx, seq, make([]byte, b.Length), at) != nil {
				w := h.wanted[b]
				if w == nil {
					w = &wanted{}
					h.wanted[b] = w
				}
				w.lost = append(w.lost, blockAt{seq, at})
			}
			at += b.Length
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return bad, nil
}

// find goes through all groups that stay.
func (h *healer) find() error {
	if len(h.wanted) == 0 {
		return nil
	}
	return h.Index.Known(0, func(g chunkfmt.GroupRecord, _ chunkfmt.Location) bool {
		if h.bad[g.Seq] {
			return true
		}
		at := uint32(0)
		for _, b := range g.Blocks {
			if w := h.wanted[b]; w != nil && len(w.found) < healPlaces {
				w.found = append(w.found, blockAt{g.Seq, at})
			}
			at += b.Length
		}
		return true
	})
}

// settle takes the first place of each block that is whole.
func (h *healer) settle(ctx context.Context) error {
	for b, w := range h.wanted {
		for _, p := range w.found {
			whole, err := h.isWhole(ctx, p.group)
			if err != nil {
				return err
			}
			if !whole {
				continue
			}
			for _, l := range w.lost {
				value := chunkfmt.Healed{Offset: l.offset, Length: b.Length, Group: p.group, GroupOffset: p.offset}
				h.records = append(h.records, chunkfmt.Record{
					Op: chunkfmt.OpPut, Kind: chunkfmt.RecHealed, Key: chunkfmt.HealedKey(l.group, l.offset), Value: value.Append(nil),
				})
			}
			break
		}
	}
	return nil
}

func (h *healer) isWhole(ctx context.Context, seq chunkfmt.Seq) (bool, error) {
	whole, known := h.whole[seq]
	if !known {
		whole = h.Groups.Whole(ctx, seq) == nil
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		h.whole[seq] = whole
	}
	return whole, nil
}

// Objects gives the chunks that a repair has to look at: those in which something was found, and those that hold groups
// that the log calls damaged.
func Objects(x Index, found []chunkfmt.ChunkID) ([]chunkfmt.ChunkID, error) {
	ids := map[chunkfmt.ChunkID]bool{}
	for _, id := range found {
		ids[id] = true
	}
	var bad []chunkfmt.Seq
	err := x.BadGroups(func(seq chunkfmt.Seq, _ string) bool {
		bad = append(bad, seq)
		return true
	})
	for _, seq := range bad {
		if err != nil {
			return nil, err
		}
		var at chunkfmt.Location
		if _, at, _, err = x.Group(seq); err == nil && at.Chunk != 0 {
			ids[at.Chunk] = true
		}
	}
	return slices.Sorted(maps.Keys(ids)), err
}
