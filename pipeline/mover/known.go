package mover

import (
	"fmt"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/index/dedup"
	"coffer/pipeline/stage"
)

// known finds the record of any group that may be referred to anew: of those on
// their way first, since a group leaves the flight only after the index has it.
type known struct {
	flight *stage.Flight
	index  *index.Index
}

// Group gives the record of group seq, as dedup.Source wants it.
func (k known) Group(seq chunkfmt.Seq) (chunkfmt.GroupRecord, chunkfmt.Location, bool, error) {
	if record, ok := k.flight.Record(seq); ok {
		at, _ := k.flight.Location(seq) // a hint: none is fine
		return record, at, true, nil
	}
	record, at, ok, err := k.index.Group(seq)
	if err != nil || !ok {
		return record, at, ok, err
	}
	gone, err := k.index.Gone(seq)
	return record, at, err == nil && !gone, err
}

// dropBad makes the blocks of damaged groups unknown, so that the next copy of
// the same content is stored, and gives those that it heals.
func dropBad(table *dedup.Table, x *index.Index) (*stage.Lost, error) {
	var bad []chunkfmt.Seq
	err := x.BadGroups(func(seq chunkfmt.Seq, _ string) bool {
		bad = append(bad, seq)
		return true
	})
	lost := &stage.Lost{}
	for _, seq := range bad {
		if err == nil {
			err = dropOne(table, lost, x, seq)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("leave out damaged groups: %w", err)
	}
	return lost, nil
}

func dropOne(table *dedup.Table, lost *stage.Lost, x *index.Index, seq chunkfmt.Seq) error {
	if gone, err := x.Gone(seq); err != nil || gone {
		return err // nothing of it is in the table
	}
	rec, _, ok, err := x.Group(seq)
	if err != nil {
		return err
	}
	healed, err := x.Healed(seq)
	if err != nil {
		return err
	}
	if ok {
		lost.Add(rec, healed)
	}
	return table.Drop(seq)
}
