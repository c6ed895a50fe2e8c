package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"coffer/fusefs/history"
)

func newDiff() *cobra.Command {
	var o readOptions
	cmd := &cobra.Command{
		Use:   "diff STORE[:/PATH] A [B]",
		Short: "Show what differs between two archives of a volume, or between one and now",
		Long: `Diff lists what was added (+), removed (-), changed (~) and renamed (>) below PATH from archive A to archive B,
or to what is there now, with the bytes of content that differ. It reads no content.`,
		Args: usage(cobra.RangeArgs(2, 3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.place(cmd, args[0])
			b := ""
			if len(args) == 3 {
				b = args[2]
			}
			return o.withReading(cmd.Context(), func(r *reading) error { return runDiff(cmd.Context(), &o, r, args[1], b) })
		},
	}
	o.addReading(cmd.Flags())
	cmd.Flags().BoolVar(&o.json, "json", false, "print an object a line, for programs")
	return cmd
}

func runDiff(ctx context.Context, o *readOptions, r *reading, from, to string) error {
	if from == "" {
		return fmt.Errorf("%w: no archive to compare with", errUsage)
	}
	a, err := r.at(from)
	if err != nil {
		return err
	}
	b, err := r.at(to)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(o.out)
	enc := json.NewEncoder(out)
	err = history.Diff(ctx, a, b, o.path, func(c history.Change) error {
		if o.json {
			return enc.Encode(c)
		}
		_, err := fmt.Fprintln(out, changeText(&c))
		return err
	})
	return errors.Join(notThere(err), out.Flush())
}

// changeText is a change on one line.
func changeText(c *history.Change) string {
	sign := map[history.Kind]string{
		history.Added: "+", history.Removed: "-", history.Changed: "~", history.Renamed: ">", history.Deleted: "-",
	}[c.Kind]
	text := fmt.Sprintf("%s %9s  ", sign, humanize.IBytes(c.Bytes))
	if c.From != "" {
		text += printable("/"+c.From) + " -> "
	}
	text += printable("/" + c.Path)
	if len(c.What) > 0 {
		text += "  (" + strings.Join(c.What, ", ") + ")"
	}
	return text
}
