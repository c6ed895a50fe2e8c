package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
	"coffer/media"
	"coffer/media/scrub"
	"coffer/pipeline/check"
)

type checkOptions struct {
	volumeOptions
	data  percent
	rate  byteSize
	mends bool
	json  bool
	out   io.Writer
	notes io.Writer
}

func newCheck() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check STORE",
		Short: "Check that a volume is whole, and name the files that are not",
		Long: `Check compares a volume's log, index, catalog and chunks with one another: that all that files consist of is
there, and that all metadata is readable in both of its places. With --read-data it also reads the data of all files, or
of a random part of it, and compares each block with its fingerprint. It may run while the volume is mounted.

Damaged data is noted in the volume's log: the next copy of the same content is stored again, and heals every archive
that had it.

With --repair, what is found is put right as far as it can be: metadata from its other copy, data from wherever else the
volume has it. The volume must not be mounted. What is found is printed all the same; the exit code says whether anything
is left.

What is found is printed as sentences, or with --json as one object a line: "finding" for each, and one
"result" at the end.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out, o.notes = args[0], cmd.OutOrStdout(), cmd.ErrOrStderr()
			return runCheck(cmd.Context(), &o)
		},
	}
	flags := cmd.Flags()
	o.addReading(flags)
	flags.Var(&o.data, "read-data", "read data too, of all groups or of a random `percentage` of them")
	flags.Lookup("read-data").NoOptDefVal = "100%"
	flags.Var(&o.rate, "rate", "`bytes` a second to read at most, like 20M (default: no limit)")
	flags.BoolVar(&o.mends, "repair", false, "put right what can be")
	flags.BoolVar(&o.json, "json", false, "print JSON, one object a line")
	return cmd
}

func runCheck(ctx context.Context, o *checkOptions) (err error) {
	if o.mends {
		if m, err := mountedHere(o.store, o.name); err != nil {
			return err
		} else if m != nil {
			return fmt.Errorf("%s is mounted at %s: unmount it to repair it: %w", o.displayed(), m.MountPoint, media.ErrLocked)
		}
	}
	s, err := openStore(ctx, &o.volumeOptions, o.unlocked)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.medium.Close()) }()
	found, result, err := o.check(ctx, s)
	if err != nil {
		return err
	}
	if o.mends && (len(found) > 0 || len(result.Amendments()) > 0) {
		if err := o.repair(ctx, s, found, &result); err != nil {
			return err
		}
		// What is whole now, and what is not, is for another check to say.
		if _, result, err = o.check(ctx, s); err != nil {
			return err
		}
	}
	o.note(ctx, s, &result)
	if result.Findings > 0 {
		return fmt.Errorf("%s: %w", o.displayed(), errFound)
	}
	return nil
}

// check is one check, from beginning to end.
func (o *checkOptions) check(ctx context.Context, s *opened) (found []scrub.Finding, result check.Result, err error) {
	r, err := s.read(ctx, &o.volumeOptions)
	if err != nil {
		return nil, result, err
	}
	v := check.Volume{ID: s.volume, Medium: s.medium, Index: r.Index(), Groups: r.Groups(), Newest: r.Newest}
	result, err = check.Run(ctx, v, o.options(), func(f check.Finding) {
		found = append(found, f.Finding)
		o.report(f)
	})
	if err = errors.Join(err, r.Close()); err == nil {
		o.summary(&result)
	}
	return found, result, err
}

// note puts into the log what was found of data. That this fails changes nothing of what was found.
func (o *checkOptions) note(ctx context.Context, s *opened, r *check.Result) {
	records := r.Amendments()
	if len(records) == 0 {
		return
	}
	n, err := s.note(ctx, &o.volumeOptions, records)
	if n > 0 {
		fmt.Fprintf(o.notes, "The log says so of %d groups now; the next copy of what they hold is stored again.\n", n)
	}
	if err != nil {
		fmt.Fprintf(o.notes, "It could not be noted in the log, so that copies of the same content are not stored again: %v\n", err)
	}
}

func (o *checkOptions) options() check.Options {
	c := check.Options{Rate: int64(o.rate)}
	if o.data > 0 {
		c.Pick = func(chunkfmt.Seq) bool { return 100*rand.Float64() < float64(o.data) }
	}
	return c
}

func (o *checkOptions) report(f check.Finding) {
	if o.json {
		printJSON(o.out, findingLine{Finding: jsonDamage(&f)})
		return
	}
	fmt.Fprintf(o.out, "%v.\n", &f.Finding)
	if f.Healed {
		fmt.Fprintln(o.out, "    Nothing is lost by it.")
	}
	for _, file := range f.Files {
		fmt.Fprintf(o.out, "    %s, %s\n", printable(file.Path), when(&file))
	}
}

// when says in which archives a file is damaged.
func when(f *check.File) string {
	var parts []string
	switch n := len(f.Archives); {
	case n == 1:
		parts = append(parts, "in archive "+past.Name(&f.Archives[0]))
	case n > 1:
		parts = append(parts, fmt.Sprintf("in %d archives from %s to %s", n, past.Name(&f.Archives[0]), past.Name(&f.Archives[n-1])))
	}
	if f.Now {
		parts = append(parts, "as it is now")
	}
	if len(parts) == 0 {
		return "in no archive"
	}
	return strings.Join(parts, " and ")
}

func (o *checkOptions) summary(r *check.Result) {
	if o.json {
		printJSON(o.out, findingLine{Result: &resultJSON{Objects: r.Objects, Bytes: r.Bytes, Findings: r.Findings, Groups: r.Groups, Read: r.Read, Lost: r.Lost}})
		return
	}
	fmt.Fprintf(o.out, "%d groups of data, the contents of %d read; %s read: %s.\n",
		r.Groups, r.Read, humanize.IBytes(uint64(r.Bytes)), found(r.Findings))
	if r.Untold > 0 {
		fmt.Fprintf(o.out, "%d of these places are too many to be listed.\n", r.Untold)
	}
}

// jsonDamage is a finding with the files concerned.
func jsonDamage(f *check.Finding) *findingJSON {
	j := jsonFinding(&f.Finding)
	j.Healed = f.Healed
	for _, g := range f.Groups {
		j.Groups = append(j.Groups, g.String())
	}
	for _, file := range f.Files {
		d := damagedFileJSON{Path: file.Path, Now: file.Now, Archives: []string{}}
		for i := range file.Archives {
			d.Archives = append(d.Archives, past.Name(&file.Archives[i]))
		}
		j.Files = append(j.Files, d)
	}
	return j
}

// percent is a flag like 5% or 5, from 0 to 100.
type percent float64

// Set implements pflag.Value.
func (p *percent) Set(text string) error {
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(n >= 0 && n <= 100) {
		return fmt.Errorf("%q is no percentage", text)
	}
	*p = percent(n)
	return nil
}

// String implements pflag.Value.
func (p *percent) String() string { return strconv.FormatFloat(float64(*p), 'g', -1, 64) + "%" }

// Type implements pflag.Value.
func (p *percent) Type() string { return "percentage" }
