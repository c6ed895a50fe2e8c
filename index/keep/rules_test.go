package keep

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // zones are the same wherever the test runs

	godiff "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"coffer/chunkfmt"
)

// archives makes one for each time, numbered from 1.
func archives(zone *time.Location, times ...string) []chunkfmt.ArchiveRecord {
	var all []chunkfmt.ArchiveRecord
	for i, text := range times {
		t, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
		if err != nil {
			panic(err)
		}
		all = append(all, chunkfmt.ArchiveRecord{Number: uint32(i + 1), Time: t.UnixNano()})
	}
	return all
}

func numbers(all []chunkfmt.ArchiveRecord) (n []uint32) {
	for _, a := range all {
		n = append(n, a.Number)
	}
	return n
}

func span(t *testing.T, text string) Span {
	t.Helper()
	s, err := ParseSpan(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRules takes archives at fixed times, and each rule by itself.
func TestRules(t *testing.T) {
	all := archives(time.UTC,
		"2023-12-31 23:30", // 1, a Sunday
		"2024-01-01 00:10", // 2, Monday of the first week
		"2024-01-31 12:00", // 3
		"2024-02-29 12:00", // 4
		"2024-03-30 10:00", // 5, a Saturday
		"2024-03-31 01:20", // 6, a Sunday
		"2024-03-31 01:40", // 7
		"2024-03-31 03:00", // 8
		"2024-04-01 00:00", // 9, a Monday
	)
	all[2].Label, all[4].Label = "before the move", "release"
	for _, c := range []struct {
		rules Rules
		gone  []uint32
	}{
		{Rules{Last: 2}, []uint32{1, 2, 3, 4, 5, 6, 7}},
		{Rules{Last: 100}, nil},
		{Rules{Hourly: 3}, []uint32{1, 2, 3, 4, 5, 6}},
		{Rules{Hourly: 100}, []uint32{6}},
		{Rules{Daily: 2}, []uint32{1, 2, 3, 4, 5, 6, 7}},
		{Rules{Daily: 3}, []uint32{1, 2, 3, 4, 6, 7}},
		{Rules{Weekly: 2}, []uint32{1, 2, 3, 4, 5, 6, 7}},
		{Rules{Weekly: 100}, []uint32{5, 6, 7}},
		{Rules{Monthly: 3}, []uint32{1, 2, 3, 5, 6, 7}},
		{Rules{Monthly: 100}, []uint32{2, 5, 6, 7}},
		{Rules{Yearly: 1}, []uint32{1, 2, 3, 4, 5, 6, 7, 8}},
		{Rules{Yearly: 5}, []uint32{2, 3, 4, 5, 6, 7, 8}},
		{Rules{Within: span(t, "21h")}, []uint32{1, 2, 3, 4, 5, 6, 7}},
		{Rules{Within: span(t, "1d")}, []uint32{1, 2, 3, 4, 5}},
		{Rules{Within: span(t, "2d")}, []uint32{1, 2, 3, 4}},
		{Rules{Within: span(t, "1m")}, []uint32{1, 2, 3, 4}},
		{Rules{Within: span(t, "3m")}, []uint32{1}},
		{Rules{Labels: []string{"release"}}, []uint32{1, 2, 3, 4, 6, 7, 8, 9}},
		{Rules{Last: 1, Labels: []string{"release", "before the move"}, Yearly: 2}, []uint32{2, 4, 6, 7, 8}},
	} {
		gone, err := c.rules.Forget(all, time.UTC)
		if err != nil {
			t.Errorf("%s: %v", c.rules.Encode(), err)
		}
		if diff := godiff.Diff(c.gone, numbers(gone)); diff != "" {
			t.Errorf("%s forgets (-want +got):\n%s", c.rules.Encode(), diff)
		}
	}
}

// TestZones: days are those of the zone, also where one has 23 or 25 hours.
func TestZones(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	all := archives(berlin, "2024-10-27 00:10", "2024-10-27 23:50", "2024-10-28 00:10", "2024-03-31 00:10", "2024-03-31 23:50")
	daily := Rules{Daily: 10}
	for zone, want := range map[*time.Location][]uint32{berlin: {1, 4}, time.UTC: {2}} {
		gone, err := daily.Forget(all, zone)
		if err != nil || !slices.Equal(numbers(gone), want) {
			t.Errorf("%v: %v, %v; want %v", zone, numbers(gone), err, want)
		}
	}
	// The hour from two to three comes twice.
	hours := make([]chunkfmt.ArchiveRecord, 6)
	start := time.Date(2024, 10, 27, 0, 0, 0, 0, time.UTC)
	for i := range hours {
		hours[i] = chunkfmt.ArchiveRecord{Number: uint32(i + 1), Time: start.Add(time.Duration(i) * 30 * time.Minute).UnixNano()}
	}
	hourly := Rules{Hourly: 10}
	if gone, err := hourly.Forget(hours, berlin); err != nil || !slices.Equal(numbers(gone), []uint32{1, 3, 5}) {
		t.Errorf("hours: %v, %v", numbers(gone), err)
	}
}

func TestRulesRefuse(t *testing.T) {
	all := archives(time.UTC, "2024-01-01 00:00")
	for _, r := range []Rules{{}, {Last: -1, Daily: 3}, {Labels: []string{"nobody has it"}}, {Labels: []string{""}}} {
		if gone, err := r.Forget(all, time.UTC); !errors.Is(err, ErrRules) {
			t.Errorf("%s forgets %v, %v", r.Encode(), numbers(gone), err)
		}
	}
	last := Rules{Last: 1}
	if gone, err := last.Forget(nil, time.UTC); err != nil || len(gone) != 0 {
		t.Errorf("of none: %v, %v", gone, err)
	}
	for _, text := range []string{``, `{}`, `{"last":-1}`, `{"last":1,"lunar":3}`, `{"within":"3x"}`, `[]`, `{"last":1.5}`} {
		if r, err := Decode([]byte(text)); !errors.Is(err, ErrRules) {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
}

func TestSpans(t *testing.T) {
	for text, want := range map[string]string{"": "", "1y2m3w4d5h": "1y2m25d5h", "14d": "14d", "2w": "14d", "36h": "36h", "0d": ""} {
		if s, err := ParseSpan(text); err != nil || s.String() != want {
			t.Errorf("%q: %q, %v; want %q", text, s, err, want)
		}
	}
	for _, text := range []string{"d", "1", "1d2d", "1h1d", "-1d", "1 d", "99999d", "1s", "1dd"} {
		if s, err := ParseSpan(text); !errors.Is(err, ErrRules) {
			t.Errorf("%q: %q, %v", text, s, err)
		}
	}
}

// plain is the rules once more, by definition: an archive is kept by a period if it is the newest of its
// period and fewer than n later periods have one.
func plain(r *Rules, all []chunkfmt.ArchiveRecord) map[uint32]bool {
	kept := map[uint32]bool{}
	later := func(a, b *chunkfmt.ArchiveRecord) bool {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Number, b.Number)) > 0
	}
	for i := range all {
		a := &all[i]
		count := func(key func(*chunkfmt.ArchiveRecord) string) int {
			periods := map[string]bool{}
			for k := range all {
				if later(&all[k], a) {
					periods[key(&all[k])] = true
				}
			}
			if periods[key(a)] {
				return math.MaxInt // it is not the newest of its own
			}
			return len(periods)
		}
		for _, p := range []struct {
			n   int
			key func(t time.Time, a *chunkfmt.ArchiveRecord) string
		}{
			{r.Last, func(_ time.Time, a *chunkfmt.ArchiveRecord) string { return fmt.Sprint(a.Number) }},
			{r.Hourly, func(t time.Time, _ *chunkfmt.ArchiveRecord) string { return t.Format("2006-01-02 15") }},
			{r.Daily, func(t time.Time, _ *chunkfmt.ArchiveRecord) string { return t.Format("2006-01-02") }},
			{r.Weekly, func(t time.Time, _ *chunkfmt.ArchiveRecord) string { return fmt.Sprint(t.ISOWeek()) }},
			{r.Monthly, func(t time.Time, _ *chunkfmt.ArchiveRecord) string { return t.Format("2006-01") }},
			{r.Yearly, func(t time.Time, _ *chunkfmt.ArchiveRecord) string { return t.Format("2006") }},
		} {
			if count(func(a *chunkfmt.ArchiveRecord) string { return p.key(time.Unix(0, a.Time).UTC(), a) }) < p.n {
				kept[a.Number] = true
			}
		}
	}
	return kept
}

func TestRulesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 6)
		r := Rules{
			Last: n.Draw(t, "last"), Hourly: n.Draw(t, "hourly"), Daily: n.Draw(t, "daily"),
			Weekly: n.Draw(t, "weekly"), Monthly: n.Draw(t, "monthly"), Yearly: n.Draw(t, "yearly"),
		}
		at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		var all []chunkfmt.ArchiveRecord
		for i := range rapid.IntRange(1, 60).Draw(t, "archives") {
			step := rapid.SampledFrom([]int{-30, 0, 1, 20, 60, 300, 1440, 4000, 50_000, 200_000}).Draw(t, "minutes")
			at = at.Add(time.Duration(step) * time.Minute)
			all = append(all, chunkfmt.ArchiveRecord{Number: uint32(i + 1), Time: at.UnixNano()})
		}
		gone, err := r.Forget(all, time.UTC)
		if r.Empty() {
			if !errors.Is(err, ErrRules) {
				t.Fatalf("no rules: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		kept := plain(&r, all)
		for _, a := range all {
			if forgotten := slices.ContainsFunc(gone, func(g chunkfmt.ArchiveRecord) bool { return g == a }); forgotten == kept[a.Number] {
				t.Fatalf("%s: archive %d of %v is forgotten: %v", r.Encode(), a.Number, time.Unix(0, a.Time).UTC(), forgotten)
			}
		}
		if back, err := Decode(r.Encode()); err != nil || back.Daily != r.Daily || back.Within != r.Within {
			t.Fatalf("came back as %+v, %v", back, err)
		}
	})
}
