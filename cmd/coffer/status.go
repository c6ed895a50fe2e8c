package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"coffer/pipeline"
	"coffer/pipeline/monitor"
)

type statusOptions struct {
	json bool
	out  io.Writer
}

func newStatus() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show mounts, servers, pipes, and what is on its way",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.out = cmd.OutOrStdout()
			return runStatus(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print an array of mounts and servers, for programs")
	return cmd
}

// printObject prints what a command answers with for programs.
func printObject(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// shown is the status of one process.
type shown interface{ print(io.Writer) error }

func runStatus(ctx context.Context, o statusOptions) error {
	clients, err := monitor.Mounts()
	if err != nil {
		return err
	}
	all := []shown{}
	for _, c := range clients {
		all = append(all, statusOf(ctx, c))
	}
	if o.json {
		return printObject(o.out, all)
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

// statusOf asks a process for its status. One that does not say is shown with the reason.
func statusOf(ctx context.Context, c *monitor.Client) shown {
	if c.Serves != "" {
		s := &serveStatus{Serves: c.Serves, Store: c.Store, Pid: c.Pid}
		if err := said(c.Call(ctx, "status", nil, s)); err != nil {
			s.LastError = err.Error()
		}
		return s
	}
	if c.ReadOnly {
		s := &readOnlyStatus{MountPoint: c.MountPoint, Store: c.Store, Volume: c.Volume, Pid: c.Pid, ReadOnly: true}
		if err := said(c.Call(ctx, "status", nil, s)); err != nil {
			s.LastError = err.Error()
		}
		return s
	}
	s := &mountStatus{MountPoint: c.MountPoint, Store: c.Store, Volume: c.Volume, Pid: c.Pid}
	if err := said(c.Call(ctx, "status", nil, s)); err != nil {
		s.LastError = err.Error()
	}
	return s
}

func (s *serveStatus) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, "%s serves %s, process %d, %d clients write\n", s.Serves, s.Store, s.Pid, len(s.Pipes))
	if s.LastError != "" {
		fmt.Fprintf(out, "  last error: %s\n", s.LastError)
	}
	for _, p := range s.Pipes {
		fmt.Fprintf(out, "  %s: %s; stable up to %v; last heard of %.0f s ago\n", p.Client, p.Holder, p.Acked, p.Silent)
		if err := printPipe(out, p.Pipe); err != nil {
			return err
		}
	}
	return err
}

func (s *mountStatus) print(out io.Writer) error {
	fmt.Fprintf(out, "%s: volume %s of %s, process %d\n", s.MountPoint, s.Volume, s.Store, s.Pid)
	fmt.Fprintf(out, "  in %s, %s of it known, stored %s, pending %s; %s free of %s\n",
		humanize.IBytes(s.BytesIn), humanize.IBytes(uint64(max(0, s.Duplicate))), humanize.IBytes(s.Stored), humanize.IBytes(uint64(max(0, s.Pending))),
		humanize.IBytes(s.Space.Free), humanize.IBytes(s.Space.Total))
	if s.LastError != "" {
		fmt.Fprintf(out, "  last error: %s\n", s.LastError)
	}
	if sp := s.Spool; sp != nil {
		waits := ""
		if sp.Waiting {
			waits = "; it is full, and writers wait"
		}
		fmt.Fprintf(out, "  spool %s: %s of %s, %s not on the server yet%s\n", sp.Dir, humanize.IBytes(uint64(max(0, sp.Used))),
			humanize.IBytes(uint64(sp.Limit)), humanize.IBytes(uint64(max(0, sp.Pending))), waits)
	}
	if w := s.Server; w != nil {
		state := "answers"
		if !w.Attached {
			state = "does not answer"
		}
		fmt.Fprintf(out, "  the server %s since %s; %d buffers under way over %d connections, %s sent more than once\n",
			state, w.Since.Format(time.TimeOnly), w.UnderWay, w.Agents, humanize.IBytes(uint64(w.Resent)))
	}
	return printPipe(out, s.Pipe)
}

func printPipe(out io.Writer, p pipeline.Status) error {
	fmt.Fprintf(out, "  pipe %s, %d of %d buffers free\n", p.Name, p.Free, p.Buffers)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tstage\tinstances\tqueue\theld\tallocated\tin\tout\t")
	for _, st := range p.Stages {
		fmt.Fprintf(w, "\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t\n", st.Name, st.Instances, st.Queue, st.Held, st.Allocated,
			humanize.IBytes(st.BytesIn), humanize.IBytes(st.BytesOut))
	}
	return w.Flush()
}
