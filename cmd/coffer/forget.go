package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
	"coffer/index/keep"
	"coffer/pipeline/mover"
)

type forgetOptions struct {
	volumeOptions
	rules   keep.Rules
	within  string
	request forgetRequest
	json    bool
	out     io.Writer
}

func newForget() *cobra.Command {
	var o forgetOptions
	cmd := &cobra.Command{
		Use:   "forget STORE|MOUNTPOINT [ARCHIVE…]",
		Short: "Forget archives of a volume, by name or by rules",
		Long: `Forget forgets archives: those that are named, or those that no rule keeps. An archive is kept if one of
the rules keeps it; a rule of a period keeps the newest archive of each of the last N periods that have one, in
this machine's time zone. Without names and rules, the policy of the volume says what is kept.

A policy is a set of rules that belongs to the volume and is applied whenever an archive is sealed:
--policy set makes the rules given the policy, --policy none ends it, --policy show prints it.

What is forgotten takes room until 'coffer prune'. --dry-run says which archives would go, and how much a
prune would give back then.`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.request.Archives, o.out = args[0], args[1:], cmd.OutOrStdout()
			o.notes = cmd.ErrOrStderr()
			return runForget(cmd.Context(), &o)
		},
	}
	flags := cmd.Flags()
	o.add(flags)
	o.addRules(flags)
	flags.StringVar(&o.request.Policy, "policy", "", "`set`, none or show: see above")
	flags.BoolVarP(&o.request.DryRun, "dry-run", "n", false, "change nothing; say what would go")
	flags.BoolVar(&o.json, "json", false, "print an object, for programs")
	return cmd
}

func (o *forgetOptions) addRules(flags *pflag.FlagSet) {
	for _, rule := range []struct {
		n    *int
		name string
		of   string
	}{
		{&o.rules.Last, "last", "archives"}, {&o.rules.Hourly, "hourly", "hours"}, {&o.rules.Daily, "daily", "days"},
		{&o.rules.Weekly, "weekly", "weeks"}, {&o.rules.Monthly, "monthly", "months"}, {&o.rules.Yearly, "yearly", "years"},
	} {
		flags.IntVar(rule.n, "keep-"+rule.name, 0, "keep the last `N` "+rule.of)
	}
	flags.StringVar(&o.within, "keep-within", "", "keep what is at most so much older than the newest archive, a `time` like 1y2m3w4d5h")
	flags.StringArrayVar(&o.rules.Labels, "keep-label", nil, "keep archives of this `label`")
}

// forgetRequest says what to forget.
type forgetRequest struct {
	Archives []string    `json:"archives,omitempty"`
	Rules    *keep.Rules `json:"rules,omitempty"`
	Policy   string      `json:"policy,omitempty"` // set, none, show or nothing
	DryRun   bool        `json:"dry_run,omitempty"`
}

// forgetAnswer says what was forgotten, or would be.
type forgetAnswer struct {
	Forgotten []archiveStatus `json:"forgotten"`
	Kept      int             `json:"kept"`
	Policy    *keep.Rules     `json:"policy,omitempty"` // of the volume, now
	// Prune is what a prune would give back; of a dry run.
	Prune *mover.Pruned `json:"prune,omitempty"`
}

func runForget(ctx context.Context, o *forgetOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	answer, err := o.ask(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return printObject(o.out, answer)
	}
	return o.print(answer)
}

// check makes the request of what was given.
func (o *forgetOptions) check() (err error) {
	r := &o.request
	if o.rules.Within, err = keep.ParseSpan(o.within); err != nil {
		return fmt.Errorf("%w: --keep-within: %w", errUsage, err)
	}
	if !o.rules.Empty() {
		if err := o.rules.Check(); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		r.Rules = &o.rules
	}
	switch {
	case !slices.Contains([]string{"", "set", "none", "show"}, r.Policy):
		return fmt.Errorf("%w: --policy %s: it is set, none or show", errUsage, r.Policy)
	case r.Policy != "" && len(r.Archives) > 0, r.Rules != nil && len(r.Archives) > 0:
		return fmt.Errorf("%w: either archives are named, or rules say which are kept", errUsage)
	case (r.Policy == "set") != (r.Rules != nil) && r.Policy != "":
		return fmt.Errorf("%w: --policy set needs rules, --policy %s takes none", errUsage, r.Policy)
	}
	return nil
}

// ask has the process forget that serves the volume, or does it here.
func (o *forgetOptions) ask(ctx context.Context) (answer forgetAnswer, err error) {
	m, err := o.mounted()
	if err != nil {
		return answer, err
	}
	if m != nil {
		err = said(m.Call(ctx, "forget", &o.request, &answer))
		return answer, err
	}
	if o.request.DryRun || o.request.Policy == "show" {
		r, err := openReading(ctx, &o.volumeOptions)
		if err != nil {
			return answer, err
		}
		answer, err = wouldForget(ctx, r, r.Index(), &o.request)
		return answer, errors.Join(err, r.Close())
	}
	err = o.writing(ctx, "a forget", func(v *volume) (err error) {
		answer, err = v.forget(ctx, &o.request)
		return err
	})
	return answer, err
}

// mounted finds the process that serves a volume, given by its mount point or its store; nil: there is none.
func (o *volumeOptions) mounted() (*mounted, error) {
	m, err := mountAt(o.store)
	if errors.Is(err, errNotMounted) {
		return mountedHere(o.store, o.name)
	}
	return m, err
}

// writing opens the volume in this process, calls f, and closes it.
func (o *volumeOptions) writing(ctx context.Context, holder string, f func(*volume) error) error {
	s, err := openStore(ctx, o, o.unlocked)
	if err != nil {
		return err
	}
	// What was done when the user interrupts stays, so the session ends in order.
	lasting := context.WithoutCancel(ctx)
	v, err := openVolume(lasting, s, o, holder)
	if err != nil {
		return errors.Join(err, s.close())
	}
	return errors.Join(f(v), v.close(lasting))
}

// forgetIndex is what choosing archives needs of an index.
type forgetIndex interface {
	past.Index
	mover.KeepIndex
}

// chosen are the archives that a request means.
func chosen(x forgetIndex, r *forgetRequest) ([]chunkfmt.ArchiveRecord, error) {
	if r.Policy == "none" || r.Policy == "show" {
		return nil, nil
	}
	var named []chunkfmt.ArchiveRecord
	for _, what := range r.Archives {
		a, err := past.Find(x, what)
		if err != nil {
			return nil, fmt.Errorf("%w: %w: `coffer snapshots` lists what there is", errUsage, err)
		}
		if !slices.Contains(named, a) {
			named = append(named, a)
		}
	}
	rules := r.Rules
	if rules == nil && len(named) == 0 {
		policy, ok, err := mover.KeepOf(x)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%w: name archives, or give rules for what is kept; the volume has no policy", errUsage)
		}
		rules = &policy
	}
	if rules == nil {
		return named, nil
	}
	gone, err := mover.ForgottenBy(x, rules)
	if errors.Is(err, keep.ErrRules) {
		err = fmt.Errorf("%w: %w: to forget them all, name them", errUsage, err)
	}
	return gone, err
}

// answered says what is so when archives are forgotten.
func answered(x forgetIndex, gone []chunkfmt.ArchiveRecord, all int) (forgetAnswer, error) {
	answer := forgetAnswer{Forgotten: []archiveStatus{}, Kept: all - len(gone)}
	for i := range gone {
		answer.Forgotten = append(answer.Forgotten, archiveStatusOf(&gone[i]))
	}
	policy, ok, err := mover.KeepOf(x)
	if ok {
		answer.Policy = &policy
	}
	return answer, err
}

func countArchives(x past.Index) (n int, err error) {
	err = x.Archives(0, func(chunkfmt.ArchiveRecord) bool {
		n++
		return true
	})
	return n, err
}

// planner says what a prune would do.
type planner interface {
	PlanPrune(ctx context.Context, without ...uint32) (mover.Pruned, error)
}

// wouldForget answers without changing anything.
func wouldForget(ctx context.Context, p planner, x forgetIndex, r *forgetRequest) (answer forgetAnswer, err error) {
	gone, err := chosen(x, r)
	if err != nil {
		return answer, err
	}
	all, err := countArchives(x)
	if err != nil {
		return answer, err
	}
	if answer, err = answered(x, gone, all); err != nil || !r.DryRun {
		return answer, err
	}
	var without []uint32
	for i := range gone {
		without = append(without, gone[i].Number)
	}
	plan, err := p.PlanPrune(ctx, without...)
	answer.Prune = &plan
	return answer, err
}

// forget does what a request says.
func (v *volume) forget(ctx context.Context, r *forgetRequest) (answer forgetAnswer, err error) {
	x := v.source.Index()
	if r.DryRun || r.Policy == "show" {
		return wouldForget(ctx, v.source, x, r)
	}
	all, err := countArchives(x)
	if err != nil {
		return answer, err
	}
	gone, err := chosen(x, r)
	if err != nil {
		return answer, err
	}
	switch r.Policy {
	case "set":
		err = v.source.SetKeep(ctx, v.tree, r.Rules)
	case "none":
		err = v.source.SetKeep(ctx, v.tree, nil)
	}
	if err == nil {
		err = v.source.Forget(ctx, v.tree, gone)
	}
	if err != nil {
		return answer, err
	}
	v.forgotten(gone)
	return answered(x, gone, all)
}

func (o *forgetOptions) print(a forgetAnswer) error {
	w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	for _, gone := range a.Forgotten {
		fmt.Fprintf(w, "%s\t%s\n", gone.Name, printable(gone.Label))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var said []string
	switch {
	case o.request.Policy == "show" || o.request.Policy == "none":
	case o.request.DryRun:
		said = append(said, fmt.Sprintf("%d archives would be forgotten, %d kept; a prune would give back %s",
			len(a.Forgotten), a.Kept, humanize.IBytes(uint64(max(0, a.Prune.Bytes)))))
	default:
		said = append(said, fmt.Sprintf("%d archives are forgotten, %d kept", len(a.Forgotten), a.Kept))
	}
	if o.request.Policy != "" {
		policy := "the volume has no policy"
		if a.Policy != nil {
			policy = "the policy is to keep " + ruleText(a.Policy)
		}
		said = append(said, policy)
	}
	_, err := fmt.Fprintf(o.out, "%s.\n", capitalised(strings.Join(said, "; ")))
	return err
}

// ruleText says rules as the flags do.
func ruleText(r *keep.Rules) string {
	var parts []string
	for _, rule := range []struct {
		n    int
		name string
	}{{r.Last, "last"}, {r.Hourly, "hourly"}, {r.Daily, "daily"}, {r.Weekly, "weekly"}, {r.Monthly, "monthly"}, {r.Yearly, "yearly"}} {
		if rule.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", rule.name, rule.n))
		}
	}
	if within := r.Within.String(); within != "" {
		parts = append(parts, "within "+within)
	}
	for _, label := range r.Labels {
		parts = append(parts, "label "+printable(label))
	}
	return strings.Join(parts, ", ")
}

func capitalised(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
