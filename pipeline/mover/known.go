package mover

import (
	"fmt"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/index/dedup"
	"coffer/pipeline/stage"
)

// known finds the record of any group: of those on their way first, since a
// group leaves the flight only after the index has it.
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
	return k.index.Group(seq)
}

// dropBad makes the blocks of damaged groups unknown, so that the next copy of
// the same content is stored.
func dropBad(table *dedup.Table, x *index.Index) error {
	var drop error
	err := x.BadGroups(func(seq chunkfmt.Seq, _ string) bool {
		drop = table.Drop(seq)
		return drop == nil
	})
	if err == nil {
		err = drop
	}
	if err != nil {
		return fmt.Errorf("leave out damaged groups: %w", err)
	}
	return nil
}
