package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

type statusOptions struct {
	json bool
	out  io.Writer
}

func newStatus() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show mounts, pipes, and what is on its way",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.out = cmd.OutOrStdout()
			return runStatus(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print an array of mounts, for programs")
	return cmd
}

func runStatus(ctx context.Context, o statusOptions) error {
	mounts, err := mounts()
	if err != nil {
		return err
	}
	all := []mountStatus{}
	for _, m := range mounts {
		s, err := m.status(ctx)
		if err != nil {
			s = mountStatus{MountPoint: m.MountPoint, Store: m.Store, Volume: m.Volume, Pid: m.Pid, LastError: err.Error()}
		}
		all = append(all, s)
	}
	if o.json {
		enc := json.NewEncoder(o.out)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(o.out, "Nothing is mounted.")
		return err
	}
	for _, s := range all {
		if err := s.print(o.out); err != nil {
			return err
		}
	}
	return nil
}

func (s *mountStatus) print(out io.Writer) error {
	fmt.Fprintf(out, "%s: volume %s of %s, process %d\n", s.MountPoint, s.Volume, s.Store, s.Pid)
	fmt.Fprintf(out, "  in %s, %s of it known, stored %s, pending %s; %s free of %s\n",
		humanize.IBytes(s.BytesIn), humanize.IBytes(uint64(max(0, s.Duplicate))), humanize.IBytes(s.Stored), humanize.IBytes(uint64(max(0, s.Pending))),
		humanize.IBytes(s.Space.Free), humanize.IBytes(s.Space.Total))
	if s.LastError != "" {
		fmt.Fprintf(out, "  last error: %s\n", s.LastError)
	}
	fmt.Fprintf(out, "  pipe %s, %d of %d buffers free\n", s.Pipe.Name, s.Pipe.Free, s.Pipe.Buffers)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tstage\tinstances\tqueue\theld\tallocated\tin\tout\t")
	for _, st := range s.Pipe.Stages {
		fmt.Fprintf(w, "\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t\n", st.Name, st.Instances, st.Queue, st.Held, st.Allocated,
			humanize.IBytes(st.BytesIn), humanize.IBytes(st.BytesOut))
	}
	return w.Flush()
}
