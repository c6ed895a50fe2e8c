package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"coffer/pipeline/mover"
)

type pruneOptions struct {
	volumeOptions
	request pruneRequest
	json    bool
	out     io.Writer
}

func newPrune() *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune STORE|MOUNTPOINT",
		Short: "Give back the room of what no archive needs any more",
		Long: `Prune takes from the store what neither the tree nor an archive refers to: what was deleted or overwritten
before it was in an archive, and what only archives had that are forgotten. What is needed of small files that share
a group is stored again where most of the group is not. If the volume is mounted, the process
that serves the mount does it, and nobody needs to stop.

It may be interrupted, or killed, at any time: nothing is lost, and the next mount or prune goes on. --dry-run
says what would come back.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out, o.notes = args[0], cmd.OutOrStdout(), cmd.ErrOrStderr()
			return runPrune(cmd.Context(), &o)
		},
	}
	flags := cmd.Flags()
	o.add(flags)
	flags.BoolVarP(&o.request.DryRun, "dry-run", "n", false, "change nothing; say what would come back")
	flags.BoolVar(&o.json, "json", false, "print an object, for programs")
	return cmd
}

// pruneRequest says how to prune.
type pruneRequest struct {
	DryRun bool `json:"dry_run,omitempty"`
}

func runPrune(ctx context.Context, o *pruneOptions) error {
	p, err := o.ask(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return printObject(o.out, p)
	}
	return o.print(p)
}

func (o *pruneOptions) print(p mover.Pruned) error {
	back := humanize.IBytes(uint64(max(0, p.Bytes)))
	groups, stored := p.Removed+p.Moved, "was"
	said := fmt.Sprintf("%d groups are removed; %d chunks were written anew, which gives back %s.", groups, p.Chunks, back)
	switch {
	case o.request.DryRun:
		said = fmt.Sprintf("%d groups would be removed and %d chunks written anew, which gives back %s.", groups, p.Chunks, back)
		stored = "would be"
	case !p.Until.IsZero():
		said = fmt.Sprintf("%d groups are removed. The server keeps them until its administrator approves, and until %v.",
			groups, p.Until.Format(time.DateTime))
	}
	if p.Moved > 0 {
		said += fmt.Sprintf("\nOf %d of them, which small files share, the little that is needed %s stored again with others.", p.Moved, stored)
	}
	if p.Left > 0 {
		said += fmt.Sprintf("\n%d chunks stay as they are: the log says why.", p.Left)
	}
	_, err := fmt.Fprintln(o.out, said)
	return err
}

// ask has the process prune that serves the volume, or does it here.
func (o *pruneOptions) ask(ctx context.Context) (p mover.Pruned, err error) {
	m, err := o.mounted()
	if err != nil {
		return p, err
	}
	if m != nil {
		err = said(m.Call(ctx, "prune", &o.request, &p))
		return p, err
	}
	if o.request.DryRun {
		r, err := openReading(ctx, &o.volumeOptions)
		if err != nil {
			return p, err
		}
		p, err = r.PlanPrune(ctx)
		return p, errors.Join(err, r.Close())
	}
	err = o.writing(ctx, "a prune", func(v *volume) (err error) {
		p, err = v.prune(ctx, &o.request)
		return err
	})
	return p, err
}

// prune does what a request says.
func (v *volume) prune(ctx context.Context, r *pruneRequest) (mover.Pruned, error) {
	if r.DryRun {
		return v.source.PlanPrune(ctx)
	}
	var p mover.Pruned
	err := v.care.alone(ctx, func(ctx context.Context) (err error) {
		p, err = v.source.Prune(ctx, v.tree)
		return err
	})
	return p, err
}
