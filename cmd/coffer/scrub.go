package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"coffer/media"
	"coffer/media/dir"
	"coffer/media/scrub"
)

type scrubOptions struct {
	store string
	rate  byteSize
	from  string
	json  bool
	out   io.Writer
	notes io.Writer
}

func newScrub() *cobra.Command {
	var o scrubOptions
	cmd := &cobra.Command{
		Use:   "scrub STORE",
		Short: "Read every byte of a store and check it, without a key",
		Long: `Scrub reads everything that a store holds and compares it with its checksums. It needs no key, changes
nothing, and may run while the store is mounted. What a crash left unfinished is not damage.

What it finds is printed as sentences, or with --json as one object a line: "finding" for each, and one
"result" at the end. Interrupted, it says with which --from it goes on.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out, o.notes = args[0], cmd.OutOrStdout(), cmd.ErrOrStderr()
			return runScrub(cmd.Context(), &o)
		},
	}
	flags := cmd.Flags()
	flags.Var(&o.rate, "rate", "`bytes` a second to read at most, like 20M (default: no limit)")
	flags.StringVar(&o.from, "from", "", "`position` that an interrupted scrub printed")
	flags.BoolVar(&o.json, "json", false, "print JSON, one object a line")
	return cmd
}

func runScrub(ctx context.Context, o *scrubOptions) (err error) {
	from, err := scrub.ParsePosition(o.from)
	if err != nil {
		return fmt.Errorf("%w: --from: %w", errUsage, err)
	}
	m, err := openMedium(o.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := looksLikeStore(ctx, m, o.store); err != nil {
		return err
	}
	result, err := scrub.Run(ctx, m, scrub.Options{Rate: int64(o.rate), From: from}, func(f scrub.Finding) {
		o.print(findingLine{Finding: jsonFinding(&f)}, fmt.Sprintf("%v.", &f))
	})
	r := jsonResult(&result)
	if err != nil {
		r.From = result.At.String()
	}
	o.print(findingLine{Result: &r}, fmt.Sprintf("%d objects, %s read: %s.", result.Objects, humanize.IBytes(uint64(result.Bytes)), found(result.Findings)))
	for _, name := range result.Foreign {
		fmt.Fprintf(o.notes, "%s is not part of the store and was not looked at.\n", name)
	}
	switch {
	case err != nil && result.At != (scrub.Position{}):
		return fmt.Errorf("%w; go on with --from %s", err, result.At)
	case err != nil:
		return err
	case result.Findings > 0:
		return fmt.Errorf("%s: %w", o.store, errFound)
	}
	return nil
}

func found(n int) string {
	switch n {
	case 0:
		return "all of it is as it was written"
	case 1:
		return "one place is damaged"
	}
	return fmt.Sprintf("%d places are damaged", n)
}

func (o *scrubOptions) print(line findingLine, sentence string) {
	if o.json {
		printJSON(o.out, line)
		return
	}
	fmt.Fprintln(o.out, sentence)
}

func printJSON(out io.Writer, line findingLine) {
	json.NewEncoder(out).Encode(line) // a reader who has gone away is not told
}

// findingLine is a line of what scrub and check print for programs.
type findingLine struct {
	Finding *findingJSON `json:"finding,omitempty"`
	Repair  *repairJSON  `json:"repair,omitempty"`
	Result  *resultJSON  `json:"result,omitempty"`
}

type findingJSON struct {
	Object    string      `json:"object"`
	Volume    string      `json:"volume,omitempty"`
	Chunk     string      `json:"chunk,omitempty"`
	Offset    int64       `json:"offset"`
	Length    int64       `json:"length"`
	Structure string      `json:"structure"`
	Kind      string      `json:"kind,omitempty"`
	Copy      bool        `json:"copy"`
	Numbers   [][2]string `json:"sequence_numbers,omitempty"` // first and last of ranges
	Cause     string      `json:"cause"`

	// Of check alone: groups that can't be read because of it, and files. Healed: nothing is lost by it.
	Groups []string          `json:"groups,omitempty"`
	Healed bool              `json:"healed,omitempty"`
	Files  []damagedFileJSON `json:"files,omitempty"`
}

type damagedFileJSON struct {
	Path     string   `json:"path"`
	Archives []string `json:"archives"` // names of those that have it so
	Now      bool     `json:"now"`      // it is so in the present
}

type resultJSON struct {
	Objects  int      `json:"objects"`
	Bytes    int64    `json:"bytes"`
	Findings int      `json:"findings"`
	Foreign  []string `json:"foreign,omitempty"`
	From     string   `json:"from,omitempty"` // where to go on, if it was interrupted

	// Of check alone: groups of data, those whose data was read, and those that can't be read.
	Groups int `json:"groups,omitempty"`
	Read   int `json:"read,omitempty"`
	Lost   int `json:"lost,omitempty"`
}

func jsonFinding(f *scrub.Finding) *findingJSON {
	j := &findingJSON{
		Object: f.Object, Volume: f.Volume, Offset: f.Offset, Length: f.Length,
		Structure: string(f.What), Copy: f.Copy(), Cause: f.Cause,
	}
	if f.Chunk != 0 {
		j.Chunk = f.Chunk.String()
	}
	if f.Kind != 0 {
		j.Kind = f.Kind.String()
	}
	for _, r := range f.Seqs {
		j.Numbers = append(j.Numbers, [2]string{r.First.String(), r.Last.String()})
	}
	return j
}

func jsonResult(r *scrub.Result) resultJSON {
	return resultJSON{Objects: r.Objects, Bytes: r.Bytes, Findings: r.Findings, Foreign: r.Foreign}
}

// openMedium opens the directory of a store.
func openMedium(store string) (*dir.Medium, error) {
	path, err := filepath.Abs(store)
	if err != nil {
		return nil, err
	}
	m, err := dir.Open(path, dir.Options{})
	if errors.Is(err, media.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: %w", store, media.ErrNoStore, err)
	}
	return m, err
}

// looksLikeStore keeps a scrub from calling whole what is no store at all. One whose two store files are
// damaged is a store still.
func looksLikeStore(ctx context.Context, m media.Medium, path string) error {
	_, err := media.OpenStore(ctx, m)
	if errors.Is(err, media.ErrNoStore) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
