package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize/english"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/keyring"
	"coffer/media/scrub"
	"coffer/pipeline/check"
	"coffer/pipeline/check/repair"
	"coffer/pipeline/monitor"
	"coffer/pipeline/mover"
)

// repairJSON is a line of what check --repair prints for programs.
type repairJSON struct {
	Object string `json:"object,omitempty"` // absent: groups were healed
	Fixed  int    `json:"fixed,omitempty"`
	Void   int    `json:"void,omitempty"`
	Left   int    `json:"left,omitempty"`
	Healed int    `json:"healed_blocks,omitempty"`
}

// repair puts right what was found, as far as that can be.
func (o *checkOptions) repair(ctx context.Context, s *opened, found []scrub.Finding, r *check.Result) (err error) {
	if err := o.mend(ctx, s); err != nil {
		return err
	}
	options, err := s.moverOptions(&o.volumeOptions, "a repair")
	if err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(f scrub.Finding) bool { return f.What == check.OfIndex }) {
		if _, err := mover.Rebuild(ctx, options); err != nil {
			return err
		}
		o.repaired(repairJSON{Object: "index", Fixed: 1}, true)
	}
	source, err := mover.OpenSource(ctx, monitor.New(), options)
	if err != nil {
		return err
	}
	v := repair.Volume{
		Store: s.id, ID: s.volume, Medium: s.medium, Index: source.Index(), Groups: source.Groups(),
		Session: source.Session, Current: source.Ordinal(), Amend: source.Amend,
	}
	var chunks []chunkfmt.ChunkID
	for _, f := range found {
		if f.Chunk != 0 {
			chunks = append(chunks, f.Chunk)
		}
	}
	err = repair.Run(ctx, v, r.Amendments(), chunks, func(d repair.Repair) {
		o.repaired(repairJSON{Object: d.Object, Fixed: d.Fixed, Void: d.Void, Left: d.Left, Healed: d.Healed}, true)
	})
	if errors.Is(err, repair.ErrUnable) {
		fmt.Fprintln(o.notes, "Chunks can be repaired only where the store is, not over the network.")
		err = nil
	}
	if err == nil {
		err = source.Recatalog(ctx)
	}
	return errors.Join(err, endSource(ctx, source, err))
}

// mend puts the store's own files right.
func (o *checkOptions) mend(ctx context.Context, s *opened) error {
	if s.far != nil {
		return nil // they are the server's
	}
	name, err := media.MendStore(ctx, s.medium)
	if err != nil {
		return err
	}
	o.repaired(repairJSON{Object: name, Fixed: 1}, name != "")
	if there, err := keyring.Exists(ctx, s.medium); err != nil || !there {
		return err
	}
	if len(o.key.used) == 0 {
		fmt.Fprintln(o.notes, "The sealed keys in the store were not looked at: the recovery key does not open them.")
		return nil
	}
	name, err = keyring.Mend(ctx, s.medium, o.key.used...)
	o.repaired(repairJSON{Object: name, Fixed: 1}, name != "")
	return err
}

// repaired tells of a repair, if there was one.
func (o *checkOptions) repaired(r repairJSON, was bool) {
	switch {
	case !was:
	case o.json:
		printJSON(o.out, findingLine{Repair: &r})
	case r.Object == "":
		fmt.Fprintf(o.out, "Of what was lost, %s found elsewhere.\n", english.Plural(r.Healed, "block was", "blocks were"))
	default:
		text := fmt.Sprintf("%s: put right in %s", r.Object, english.Plural(r.Fixed, "place", ""))
		if r.Void > 0 {
			text += fmt.Sprintf(", %s there given up", english.Plural(r.Void, "group", ""))
		}
		if r.Left > 0 {
			text += fmt.Sprintf("; %s as damaged as before", english.Plural(r.Left, "place is", "places are"))
		}
		fmt.Fprintln(o.out, text+".")
	}
}
