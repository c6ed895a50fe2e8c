package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize/english"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/keyring"
	"coffer/media/scrub"
	"coffer/pipeline/check"
	"coffer/pipeline/check/repair"
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

// repairer is a volume that is open for repair: nobody else writes it.
type repairer struct {
	*checkOptions
	opened *opened
	source *mover.Source
}

// repair puts right what was found, as far as that can be.
func (o *checkOptions) repair(ctx context.Context, s *opened, found []scrub.Finding, r *check.Result) (err error) {
	if err := o.mend(ctx, s); err != nil {
		return err
	}
	return s.session(ctx, &o.volumeOptions, "a repair", func(source *mover.Source) error {
		return (&repairer{o, s, source}).run(ctx, found, r.Amendments())
	})
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
	name, err = keyring.Mend(ctx, s.medium, o.key.used...)
	if errors.Is(err, keyring.ErrWrongKey) { // sealed before recovery keys opened them, or for a passphrase
		fmt.Fprintf(o.notes, "Not all sealed keys in the store were looked at: %v.\n", err)
		err = nil
	}
	o.repaired(repairJSON{Object: name, Fixed: 1}, name != "")
	return err
}

func (r *repairer) run(ctx context.Context, found []scrub.Finding, amendments []chunkfmt.Record) error {
	x := r.source.Index()
	amendments, err := check.Confirm(ctx, x, r.source.Groups(), amendments)
	if err == nil {
		err = r.source.Amend(ctx, amendments)
	}
	if err != nil {
		return err
	}
	v := repair.Volume{
		Store: r.opened.id, ID: r.opened.volume, Medium: r.opened.medium, Index: x, Groups: r.source.Groups(),
		Session: r.source.Session, Current: r.source.Ordinal(),
	}
	healed, err := repair.Heal(ctx, v)
	if err == nil {
		err = r.source.Amend(ctx, healed)
	}
	if err != nil {
		return err
	}
	r.repaired(repairJSON{Healed: len(healed)}, len(healed) > 0)
	var chunks []chunkfmt.ChunkID
	for _, f := range found {
		if f.Chunk != 0 {
			chunks = append(chunks, f.Chunk)
		}
	}
	if chunks, err = repair.Objects(x, chunks); err != nil {
		return err
	}
	err = repair.Chunks(ctx, v, chunks, func(d repair.Repair) {
		r.repaired(repairJSON{Object: d.Object, Fixed: d.Fixed, Void: d.Void, Left: d.Left}, true)
	})
	if errors.Is(err, repair.ErrUnable) {
		fmt.Fprintln(r.notes, "Chunks can be repaired only where the store is, not over the network.")
		return nil
	}
	if err != nil {
		return err
	}
	return r.source.Recatalog(ctx)
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
