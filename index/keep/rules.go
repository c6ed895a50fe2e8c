package keep

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"coffer/chunkfmt"
)

// Rules say which archives are kept: those that one of the rules keeps. The zero value
// has no rule. A rule of a period keeps the newest archive of each of the last so many
// periods that have one.
type Rules struct {
	Last    int      `json:"last,omitempty"` // archives
	Hourly  int      `json:"hourly,omitempty"`
	Daily   int      `json:"daily,omitempty"`
	Weekly  int      `json:"weekly,omitempty"` // from Monday on, as ISO 8601 has it
	Monthly int      `json:"monthly,omitempty"`
	Yearly  int      `json:"yearly,omitempty"`
	Within  Span     `json:"within,omitzero"` // before the newest archive
	Labels  []string `json:"labels,omitempty"`
}

// ErrRules: no rules, or such as would keep nothing.
var ErrRules = errors.New("bad keep rules")

// Empty says that there is no rule.
func (r *Rules) Empty() bool {
	return r.Last == 0 && r.Hourly == 0 && r.Daily == 0 && r.Weekly == 0 && r.Monthly == 0 && r.Yearly == 0 &&
		r.Within == Span{} && len(r.Labels) == 0
}

// Check fails with ErrRules if there is no rule, or one with a negative number.
func (r *Rules) Check() error {
	for _, n := range []int{r.Last, r.Hourly, r.Daily, r.Weekly, r.Monthly, r.Yearly} {
		if n < 0 {
			return fmt.Errorf("%w: keep %d", ErrRules, n)
		}
	}
	if r.Empty() {
		return fmt.Errorf("%w: there is none", ErrRules)
	}
	return nil
}

// periods are the rules that keep one archive of each period, and when a period begins.
func (r *Rules) periods() []period {
	return []period{
		{r.Hourly, func(t time.Time) time.Time {
			return t.Add(-time.Duration(t.Minute())*time.Minute - time.Duration(t.Second())*time.Second - time.Duration(t.Nanosecond()))
		}},
		{r.Daily, func(t time.Time) time.Time { return day(t, 0) }},
		{r.Weekly, func(t time.Time) time.Time { return day(t, (int(t.Weekday())+6)%7) }},
		{r.Monthly, func(t time.Time) time.Time { return day(t, t.Day()-1) }},
		{r.Yearly, func(t time.Time) time.Time { return day(t, t.YearDay()-1) }},
	}
}

type period struct {
	n     int
	begin func(time.Time) time.Time
}

// day is the beginning of the day that is so many days before that of t.
func day(t time.Time, before int) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day()-before, 0, 0, 0, 0, t.Location())
}

// Forget returns those of the archives that no rule keeps, by number. All archives of the
// volume must be given, in any order. Periods are those of the zone. It fails with ErrRules
// if that would be all of them: then the rules are not what somebody meant.
func (r *Rules) Forget(archives []chunkfmt.ArchiveRecord, zone *time.Location) ([]chunkfmt.ArchiveRecord, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	newest := slices.Clone(archives)
	slices.SortFunc(newest, func(a, b chunkfmt.ArchiveRecord) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(b.Number, a.Number))
	})
	keeps := r.periods()
	left, last := make([]int, len(keeps)), make([]time.Time, len(keeps))
	for k := range keeps {
		left[k] = keeps[k].n
	}
	var gone []chunkfmt.ArchiveRecord
	for i := range newest {
		a := &newest[i]
		at := time.Unix(0, a.Time).In(zone)
		kept := i < r.Last || slices.Contains(r.Labels, a.Label) && a.Label != "" ||
			r.Within != Span{} && !at.Before(r.Within.before(time.Unix(0, newest[0].Time).In(zone)))
		for k := range keeps {
			begin := keeps[k].begin(at)
			if left[k] > 0 && (i == 0 || !begin.Equal(last[k])) {
				left[k]--
				kept = true
			}
			last[k] = begin
		}
		if !kept {
			gone = append(gone, *a)
		}
	}
	if len(gone) == len(archives) && len(gone) > 0 {
		return nil, fmt.Errorf("%w: they would keep none of %d archives", ErrRules, len(gone))
	}
	slices.SortFunc(gone, func(a, b chunkfmt.ArchiveRecord) int { return cmp.Compare(a.Number, b.Number) })
	return gone, nil
}

// Encode gives the rules as Decode reads them.
func (r *Rules) Encode() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic("keep: " + err.Error()) // numbers and strings can always be written
	}
	return b
}

// Decode reads rules. It fails with ErrRules, also for a rule that it does not know: without
// it, more would be forgotten than is wanted.
func Decode(b []byte) (Rules, error) {
	var r Rules
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Rules{}, fmt.Errorf("%w: %w", ErrRules, err)
	}
	return r, r.Check()
}
