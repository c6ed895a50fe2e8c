package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"coffer/fusefs/history"
	"coffer/fusefs/past"
)

func newHistory() *cobra.Command {
	var o readOptions
	cmd := &cobra.Command{
		Use:   "history STORE:/PATH",
		Short: "Show every version of a path in the archives of a volume",
		Long: `History lists the versions of whatever was at PATH in any archive, the oldest first, with the archive in
which each is seen first: also what it was called before, where it was moved to, and when it was deleted.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.place(cmd, args[0])
			return o.withReading(cmd.Context(), func(r *reading) error { return runHistory(cmd.Context(), &o, r) })
		},
	}
	o.addReading(cmd.Flags())
	cmd.Flags().BoolVar(&o.json, "json", false, "print an object a line, for programs")
	return cmd
}

// versionLine is what history --json prints.
type versionLine struct {
	Archive string `json:"archive,omitempty"` // none: since the last one
	Inode   uint64 `json:"inode"`
	history.Change
	Size  uint64    `json:"size"`
	Mtime time.Time `json:"mtime"`
}

func runHistory(ctx context.Context, o *readOptions, r *reading) error {
	out := bufio.NewWriter(o.out)
	enc := json.NewEncoder(out)
	err := history.Of(ctx, r.Index(), r.Groups(), o.path, func(v history.Version) error {
		line := versionLine{Inode: uint64(v.Ino), Change: v.Change, Size: v.Size, Mtime: goTime(v.Mtime)}
		if v.Archive != nil {
			line.Archive = past.Name(v.Archive)
		}
		if o.json {
			return enc.Encode(line)
		}
		if line.Archive == "" {
			line.Archive = "now"
		}
		_, err := fmt.Fprintf(out, "%-20s  %-7s  %12d  %s  %s\n", line.Archive, v.Kind, v.Size,
			line.Mtime.Local().Format("2006-01-02 15:04:05"), changeText(&v.Change))
		return err
	})
	return errors.Join(notThere(err), out.Flush())
}
