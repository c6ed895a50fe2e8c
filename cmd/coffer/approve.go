package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"coffer/chunkfmt"
	"coffer/pipeline/channel"
	"coffer/pipeline/mover"
)

type approveOptions struct {
	store  string
	client string // empty: list what waits
	out    io.Writer
}

func newApprove() *cobra.Command {
	var o approveOptions
	cmd := &cobra.Command{
		Use:   "approve STORE [NAME]",
		Short: "Let an append-only machine's prune give back room, on the server",
		Long: `What a machine prunes that was invited with --append-only stays in the store until this command, run by the
user who serves the store, approves of it, and for the time of 'coffer serve --grace' after it came. Approve lets go
what the machine NAME has pruned so far; what it prunes later waits again. Without a name it lists what waits.

Ask the machine's owner first: a machine in somebody else's hands can prune too.`,
		Args: usage(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out = args[0], cmd.OutOrStdout()
			if len(args) > 1 {
				o.client = args[1]
			}
			return runApprove(cmd.Context(), &o)
		},
	}
	return cmd
}

func runApprove(ctx context.Context, o *approveOptions) (err error) {
	s, err := openServed(ctx, o.store, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.medium.Close()) }()
	removals, err := s.removals()
	if err != nil {
		return err
	}
	clients, err := s.registry.Clients()
	if err != nil {
		return err
	}
	if o.client == "" {
		return o.list(removals, clients)
	}
	n, known := 0, false
	for _, c := range clients {
		if c.Name != o.client {
			continue
		}
		known = true
		for _, text := range c.Volumes {
			k, err := approveVolume(removals, text)
			if err != nil {
				return err
			}
			n += k
		}
	}
	if !known {
		return fmt.Errorf("%s: %w", o.client, channel.ErrNoClient)
	}
	_, err = fmt.Fprintf(o.out, "%d removals of %s are approved.\n", n, o.client)
	return err
}

func approveVolume(removals *mover.Removals, text string) (int, error) {
	v, err := chunkfmt.ParseVolumeID(text)
	if err != nil {
		return 0, err
	}
	return removals.Approve(v)
}

func (o *approveOptions) list(removals *mover.Removals, clients []channel.Client) error {
	w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	for _, c := range clients {
		for _, text := range c.Volumes {
			v, err := chunkfmt.ParseVolumeID(text)
			if err != nil {
				return err
			}
			waiting, err := removals.Waiting(v)
			if err != nil {
				return err
			}
			for _, r := range waiting {
				note := "waits for approval"
				if r.Approved {
					note = "approved, in its time of grace"
				}
				fmt.Fprintf(w, "%s\tcame %s\t%s\n", c.Name, r.Arrived.Format(time.DateTime), note)
			}
		}
	}
	return w.Flush()
}
