package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

type snapshotsOptions struct {
	volumeOptions
	json bool
	out  io.Writer
}

func newSnapshots() *cobra.Command {
	var o snapshotsOptions
	cmd := &cobra.Command{
		Use:   "snapshots STORE|MOUNTPOINT",
		Short: "List the archives of a volume",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out = args[0], cmd.OutOrStdout()
			return runSnapshots(cmd.Context(), &o)
		},
	}
	o.addReading(cmd.Flags())
	cmd.Flags().BoolVar(&o.json, "json", false, "print an array of archives, for programs")
	return cmd
}

// archiveStatus is an archive as snapshots --json prints it.
type archiveStatus struct {
	Name   string    `json:"name"`
	Number uint32    `json:"number"`
	Time   time.Time `json:"time"`
	Label  string    `json:"label,omitempty"`
	Files  uint64    `json:"files"`  // and directories and all else
	Bytes  uint64    `json:"bytes"`  // sizes of regular files
	Stored uint64    `json:"stored"` // added to the store since the archive before, in the session that sealed it
}

func archiveStatusOf(a *chunkfmt.ArchiveRecord) archiveStatus {
	return archiveStatus{
		Name: past.Name(a), Number: a.Number, Time: time.Unix(0, a.Time).UTC(), Label: a.Label,
		Files: a.Files, Bytes: a.Bytes, Stored: a.Stored,
	}
}

func archivesOf(x past.Index) ([]archiveStatus, error) {
	all := []archiveStatus{}
	err := x.Archives(0, func(a chunkfmt.ArchiveRecord) bool {
		all = append(all, archiveStatusOf(&a))
		return true
	})
	return all, err
}

func runSnapshots(ctx context.Context, o *snapshotsOptions) error {
	all, err := o.list(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return printObject(o.out, all)
	}
	w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tFILES\tBYTES\tSTORED\tLABEL")
	for _, a := range all {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", a.Name, a.Files, humanize.IBytes(a.Bytes), humanize.IBytes(a.Stored), printable(a.Label))
	}
	return w.Flush()
}

// list asks the process that serves the volume, or reads the store.
func (o *snapshotsOptions) list(ctx context.Context) ([]archiveStatus, error) {
	m, err := mountAt(o.store)
	if errors.Is(err, errNotMounted) {
		m, err = mountedHere(o.store, o.name)
	}
	if err != nil {
		return nil, err
	}
	if m != nil {
		return m.archives(ctx)
	}
	r, err := openReading(ctx, &o.volumeOptions)
	if err != nil {
		return nil, err
	}
	all, err := archivesOf(r.Index())
	return all, errors.Join(err, r.Close())
}
