package stage

import (
	"fmt"

	"coffer/chunkfmt"
)

// lostBlocks bounds the blocks that Lost knows. What is beyond it heals on request and not by itself.
const lostBlocks = 1 << 17

// Lost knows the blocks that only damaged groups hold. The next copy of such a block heals the group: all that names
// it reads the block there. It belongs to one goroutine; the zero value knows none.
type Lost struct {
	blocks map[chunkfmt.BlockRecord][]lostPlace
	n      int
}

// lostPlace is where a lost block belongs.
type lostPlace struct {
	group  chunkfmt.Seq
	offset uint32
}

// Add adds the blocks of a damaged group but those that are healed.
func (l *Lost) Add(rec chunkfmt.GroupRecord, healed []chunkfmt.Healed) {
	if l.blocks == nil {
		l.blocks = map[chunkfmt.BlockRecord][]lostPlace{}
	}
	at := uint32(0)
	for _, b := range rec.Blocks {
		if _, ok := blockAt(healed, at); !ok && l.n < lostBlocks {
			l.blocks[b] = append(l.blocks[b], lostPlace{rec.Seq, at})
			l.n++
		}
		at += b.Length
	}
}

// find gives the records that heal all groups that have lost a block which is now at off in group seq. They are
// given once.
func (l *Lost) find(b chunkfmt.BlockRecord, seq chunkfmt.Seq, off uint32) (records []chunkfmt.Record) {
	if l == nil || l.n == 0 {
		return nil
	}
	places := l.blocks[b]
	for _, p := range places {
		h := chunkfmt.Healed{Offset: p.offset, Length: b.Length, Group: seq, GroupOffset: off}
		records = append(records, chunkfmt.Record{
			Op: chunkfmt.OpPut, Kind: chunkfmt.RecHealed, Key: chunkfmt.HealedKey(p.group, p.offset), Value: h.Append(nil),
		})
	}
	delete(l.blocks, b)
	l.n -= len(places)
	return records
}

// heal notes that a block of the volume is in a group that is whole.
func (k *pack) heal(b *Block, seq chunkfmt.Seq, off uint32) {
	k.healed = append(k.healed, k.w.cfg.Lost.find(chunkfmt.BlockRecord{Fingerprint: b.fp, Length: uint32(b.n)}, seq, off)...)
}

// trust does what a record of the batch says of a group that was found damaged, or whole again: no block that is
// written from now on refers to a damaged one.
func (k *pack) trust(r chunkfmt.Record) error {
	if r.Kind != chunkfmt.RecBad || k.w.cfg.Dedup == nil {
		return nil
	}
	seq, err := chunkfmt.ParseGroupKey(r.Key)
	if err != nil {
		return err
	}
	rec, _, ok, err := k.w.cfg.Groups.Group(seq)
	if err != nil {
		return fmt.Errorf("group %v: its record: %w", seq, err)
	}
	if r.Op == chunkfmt.OpDelete {
		if ok {
			k.w.cfg.Dedup.Add(rec)
		}
		return nil
	}
	if ok && k.w.cfg.Lost != nil {
		healed, err := k.w.cfg.Groups.cfg.Records.Healed(seq)
		if err != nil {
			return err
		}
		k.w.cfg.Lost.Add(rec, healed)
	}
	return k.w.cfg.Dedup.Drop(seq)
}
