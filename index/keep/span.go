package keep

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
)

// Span is a length of time on the calendar. It is written like "1y2m3w4d5h": years, months,
// weeks, days and hours.
type Span struct{ years, months, days, hours int }

// units are the letters of a span, in their order, and what each adds.
var units = []struct {
	letter byte
	add    func(s *Span, n int)
	of     func(s *Span) int
}{
	{'y', func(s *Span, n int) { s.years += n }, func(s *Span) int { return s.years }},
	{'m', func(s *Span, n int) { s.months += n }, func(s *Span) int { return s.months }},
	{'w', func(s *Span, n int) { s.days += 7 * n }, func(*Span) int { return 0 }},
	{'d', func(s *Span, n int) { s.days += n }, func(s *Span) int { return s.days }},
	{'h', func(s *Span, n int) { s.hours += n }, func(s *Span) int { return s.hours }},
}

// ParseSpan reads what String writes; each unit once, in the order of their lengths. The
// empty text is no span. It fails with ErrRules.
func ParseSpan(text string) (Span, error) {
	var s Span
	rest, unit := text, 0
	for rest != "" {
		n, digits := 0, 0
		for ; digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9'; digits++ {
			if n = 10*n + int(rest[digits]-'0'); n > math.MaxInt16 {
				return Span{}, fmt.Errorf("%w: %q is too long a time", ErrRules, text)
			}
		}
		for unit < len(units) && (digits == len(rest) || units[unit].letter != rest[digits]) {
			unit++
		}
		if digits == 0 || unit == len(units) {
			return Span{}, fmt.Errorf("%w: %q is no time like 1y2m3w4d5h", ErrRules, text)
		}
		units[unit].add(&s, n)
		rest = rest[digits+1:]
		unit++
	}
	return s, nil
}

// String writes the span as ParseSpan reads it; weeks as days.
func (s Span) String() string {
	var b strings.Builder
	for _, u := range units {
		if n := u.of(&s); n != 0 {
			fmt.Fprintf(&b, "%d%c", n, u.letter)
		}
	}
	return b.String()
}

// before is the time that lies the span before t.
func (s Span) before(t time.Time) time.Time {
	return t.AddDate(-s.years, -s.months, -s.days).Add(-time.Duration(s.hours) * time.Hour)
}

// MarshalJSON implements json.Marshaler.
func (s Span) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Span) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	parsed, err := ParseSpan(text)
	*s = parsed
	return err
}
